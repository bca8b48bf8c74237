package methods_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/recipes"
)

// TestRecipeKeys holds recipes to the methods: they name every method that can be trained, and give it no key that its
// adapter_config.json does not have.
func TestRecipeKeys(t *testing.T) {
	var choices []string
	for _, k := range recipes.Keys() {
		if k.Path == "method.type" {
			choices = k.Choices
		}
	}
	for _, m := range methods.All {
		if slices.Contains(choices, m.Name) == slices.Contains(untrainable, m.Name) {
			t.Errorf("method.type: %q is a choice: %v, want the opposite", m.Name, slices.Contains(choices, m.Name))
		}
		if slices.Contains(untrainable, m.Name) {
			continue
		}
		c, ok := m.New().(interface{ Settings() []peft.Setting })
		if !ok {
			continue // lora's own test has its keys
		}
		for _, k := range recipes.Keys() {
			name := k.CalledBy(m.Name)
			if name == "" || !strings.HasPrefix(k.Path, "method.") || k.Path == "method.adapter" {
				continue
			}
			if !slices.ContainsFunc(c.Settings(), func(s peft.Setting) bool { return s.Key == name }) {
				t.Errorf("%s goes to %s as %q, which it does not have", k.Path, m.Name, name)
			}
		}
	}
}
