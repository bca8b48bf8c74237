package merge

import (
	"strconv"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
)

// layer parts a tensor's name at the number of its layer, the first part of digits: "model.layers", 3, "mlp.up_proj.weight".
// ok is false for tensors of no layer.
func layer(name string) (stack string, index int, rest string, ok bool) {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if n, err := strconv.Atoi(p); err == nil && n >= 0 && i > 0 && i+1 < len(parts) {
			return strings.Join(parts[:i], "."), n, strings.Join(parts[i+1:], "."), true
		}
	}
	return "", 0, "", false
}

// inLayer is the name of a tensor in another layer.
func inLayer(stack string, index int, rest string) string {
	return stack + "." + strconv.Itoa(index) + "." + rest
}

// stacks counts the layers of each stack of a checkpoint: one for most models, encoder and decoder for some.
func stacks(c *checkpoint.Checkpoint) map[string]int {
	n := map[string]int{}
	for _, name := range c.Names() {
		if stack, index, _, ok := layer(name); ok {
			n[stack] = max(n[stack], index+1)
		}
	}
	return n
}

// isEmbedding tells whether a tensor of no layer is read before the first one.
func isEmbedding(name string) bool {
	return !ends(name, heads) && (strings.Contains(name, "emb") || ends(name, []string{"wte.weight", "wpe.weight"}))
}
