package methods_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// TestDefaultTargets attaches methods to encoder-decoders without target_modules: PEFT's choices by model_type.
func TestDefaultTargets(t *testing.T) {
	small := map[string]string{"vblora": `{"num_vectors": 5, "vector_length": 2}`, "adalora": `{"target_r": 2, "init_r": 3}`}
	for _, c := range []struct{ model, method, want string }{
		{"t5", "lora", "q v"}, {"t5", "adalora", "k o q v wi wo"}, {"t5", "vblora", "k o q v wi wo"}, {"t5", "ia3", "k v wo"}, {"t5", "ln_tuning", "final_layer_norm layer_norm"},
		{"t5 1.1", "adalora", "k o q v wo"}, {"t5 1.1", "ia3", "k v wo"},
		{"mt5", "lora", "q v"}, {"mt5", "adalora", "k o q v wi_0 wi_1 wo"}, {"mt5", "ia3", "k v wi_1"},
		{"bart", "lora", "q_proj v_proj"}, {"bart", "adalora", "fc1 fc2 k_proj out_proj q_proj v_proj"}, {"bart", "ia3", "fc2 q_proj v_proj"},
		{"bart", "ln_tuning", "encoder_attn_layer_norm final_layer_norm self_attn_layer_norm"}, {"bart", "beft", "v_proj"},
	} {
		i := slices.IndexFunc(modeltest.Tiny, func(x modeltest.Config) bool { return x.Name == c.model })
		base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[i]))
		method, err := methods.Lookup(c.method)
		if err != nil {
			t.Fatal(err)
		}
		cfg := method.New()
		if s := small[c.method]; s != "" {
			if err := cfg.Parse([]byte(`{"peft_type": "` + method.Type + `", ` + s[1:])); err != nil {
				t.Fatal(err)
			}
			cfg.Shared().FromFile = false
		}
		a, err := cfg.Attach(base.Model, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Errorf("%s on %s: %v", c.method, c.model, err)
			continue
		}
		if got := strings.Join(ends(base, a), " "); got != c.want {
			t.Errorf("%s on %s goes to %s, want %s", c.method, c.model, got, c.want)
		}
	}
}

// ends are the last parts of the names of what an adapter changes, sorted.
func ends(base *modeltest.Base, a peft.Adapter) (list []string) {
	add := func(module string) {
		if end := module[strings.LastIndexByte(module, '.')+1:]; !slices.Contains(list, end) {
			list = append(list, end)
		}
	}
	for name := range a.Params() {
		for s := range base.Slots() {
			if strings.HasPrefix(name, peft.Prefix+s.Name+".") {
				add(s.Name)
			}
		}
		for _, v := range base.Vectors() {
			if norm := v.Name[:strings.LastIndexByte(v.Name, '.')]; strings.HasPrefix(name, peft.Prefix+norm+".") {
				add(norm)
			}
		}
	}
	slices.Sort(list)
	return list
}
