package interchange

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/graft-ml/graft/model"
)

// arch is what llama.cpp calls the parts of an architecture.
type arch struct {
	name       string   // general.architecture
	modelTypes []string // of config.json
	layer      string   // what comes before a layer's number in Hugging Face's names
	parts      [][2]string
	others     [][2]string
	// permutes says that rows of queries and keys go by neighbours instead of halves.
	permutes bool
}

// Parts of a layer, and what is outside of layers: Hugging Face's name, llama.cpp's.
var (
	llamaParts = [][2]string{{"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"}, {"self_attn.o_proj", "attn_output"},
		{"mlp.gate_proj", "ffn_gate"}, {"mlp.up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}}
	phi3Parts = [][2]string{{"self_attn.qkv_proj", "attn_qkv"}, {"self_attn.o_proj", "attn_output"}, {"mlp.gate_up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}}
	gpt2Parts = [][2]string{{"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"}, {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}}
	ends      = [][2]string{{"model.embed_tokens", tokenEmbedding}, {"lm_head", "output"}}
	gpt2Ends  = [][2]string{{"transformer.wte", tokenEmbedding}, {"lm_head", "output"}}
)

// archs are the architectures whose names are known. llama.cpp calls Mistral "llama", too.
var archs = []arch{
	{name: "llama", modelTypes: []string{"llama", "mistral"}, layer: "model.layers.", parts: llamaParts, others: ends, permutes: true},
	{name: "qwen2", modelTypes: []string{"qwen2"}, layer: "model.layers.", parts: llamaParts, others: ends},
	{name: "qwen3", modelTypes: []string{"qwen3"}, layer: "model.layers.", parts: llamaParts, others: ends},
	{name: "gemma", modelTypes: []string{"gemma"}, layer: "model.layers.", parts: llamaParts, others: ends},
	{name: "gemma2", modelTypes: []string{"gemma2"}, layer: "model.layers.", parts: llamaParts, others: ends},
	{name: "gemma3", modelTypes: []string{"gemma3_text"}, layer: "model.layers.", parts: llamaParts, others: ends},
	{name: "phi3", modelTypes: []string{"phi3"}, layer: "model.layers.", parts: phi3Parts, others: ends},
	{name: "gpt2", modelTypes: []string{"gpt2"}, layer: "transformer.h.", parts: gpt2Parts, others: gpt2Ends},
}

// archOf finds the architecture of a base.
func archOf(base *model.Config) (*arch, error) {
	var known []string
	for i := range archs {
		if slices.Contains(archs[i].modelTypes, base.ModelType) {
			return &archs[i], nil
		}
		known = append(known, archs[i].modelTypes...)
	}
	return nil, fmt.Errorf("model_type is %q, want one of %s: llama.cpp's names for others are not known", base.ModelType, strings.Join(known, ", "))
}

// archNamed finds the architecture of a file, which must be the base's if that is known.
func archNamed(name string, base *model.Config) (*arch, error) {
	var known []string
	for i := range archs {
		x := &archs[i]
		known = append(known, x.name)
		if x.name != name {
			continue
		}
		if base != nil && !slices.Contains(x.modelTypes, base.ModelType) {
			return nil, fmt.Errorf("%s is %q, and the base's model_type %q", keyArch, name, base.ModelType)
		}
		return x, nil
	}
	return nil, fmt.Errorf("%s is %q, want one of %s", keyArch, name, strings.Join(known, ", "))
}

// toGGUF is the stem of llama.cpp's names for a module.
func (x *arch) toGGUF(module string) (string, error) {
	for _, p := range x.others {
		if p[0] == module {
			return p[1], nil
		}
	}
	if rest, ok := strings.CutPrefix(module, x.layer); ok {
		number, part, _ := strings.Cut(rest, ".")
		for _, p := range x.parts {
			if p[0] == part {
				return "blk." + number + "." + p[1], nil
			}
		}
	}
	return "", fmt.Errorf("%q has no name in llama.cpp's %s", module, x.name)
}

var blockName = regexp.MustCompile(`^blk\.(\d{1,6})\.(.+)$`)

// toHF is the module of a stem.
func (x *arch) toHF(stem string) (string, error) {
	for _, p := range x.others {
		if p[1] == stem {
			return p[0], nil
		}
	}
	if m := blockName.FindStringSubmatch(stem); m != nil {
		for _, p := range x.parts {
			if p[1] == m[2] {
				return x.layer + m[1] + "." + p[0], nil
			}
		}
	}
	return "", fmt.Errorf("tensor %q is no part of llama.cpp's %s", stem, x.name)
}

// heads is by how many heads the rows of a stem are permuted; 0 = they are not, -1 = they are, and the base is not known.
func (x *arch) heads(stem string, base *model.Config) int {
	query, key := strings.HasSuffix(stem, ".attn_q"), strings.HasSuffix(stem, ".attn_k")
	switch {
	case !x.permutes || !query && !key:
		return 0
	case base == nil:
		return -1
	case query:
		return base.NumAttentionHeads
	}
	return base.NumKeyValueHeads
}
