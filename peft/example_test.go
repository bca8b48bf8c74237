package peft_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// A selection finds the modules that an adapter_config.json means, and says what comes close when it means none.
func ExampleSelection() {
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}`))
	if err != nil {
		log.Fatal(err)
	}
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		log.Fatal(err)
	}
	s := peft.Selection{TargetModules: peft.Names{List: []string{"q_proj", "mlp.up_proj"}}, LayersToTransform: []int{1}}
	slots, _, err := s.Select(m)
	for _, slot := range slots {
		fmt.Println(slot.Name)
	}
	fmt.Println(err)
	_, _, err = peft.Selection{TargetModules: peft.Names{List: []string{"qproj"}}}.Select(m)
	fmt.Println(err)
	// Output:
	// model.layers.1.self_attn.q_proj
	// model.layers.1.mlp.up_proj
	// <nil>
	// peft: target_modules ["qproj"] match no module; close names: q_proj
}

// A shelf holds adapters of one model. Each sequence of a batch names its own, or none.
func ExampleShelf() {
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}`))
	if err != nil {
		log.Fatal(err)
	}
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		log.Fatal(err)
	}
	shelf := peft.NewShelf(m)
	for i, name := range []string{"formal", "short"} {
		cfg := lora.New()
		cfg.Init, cfg.TargetModules.Pattern = "false", peft.AllLinear // random, as if it were trained; shelf.Load takes one from a folder
		if _, err := shelf.Attach(name, cfg, rand.New(rand.NewPCG(3, uint64(i)))); err != nil {
			log.Fatal(err)
		}
	}
	formal, err := shelf.Get("formal")
	if err != nil {
		log.Fatal(err)
	}
	both, err := shelf.Set(peft.Use{Name: "formal", Scale: 1}, peft.Use{Name: "short", Scale: 0.5})
	if err != nil {
		log.Fatal(err)
	}
	tokens := []int32{3, 1, 4, 3, 1, 4, 3, 1, 4} // the same text three times: by the model alone, with one adapter, with two
	pass := op.NewPass([]op.Segment{{Start: 0, End: 3}, {Start: 3, End: 6, Adapter: 1}, {Start: 6, End: 9, Adapter: 2}}, []int32{0, 1, 2, 0, 1, 2, 0, 1, 2}, kernel.ModeF32, op.NewArena())
	if err := pass.Route([]op.Overlay{formal, both}); err != nil {
		log.Fatal(err)
	}
	logits := m.Logits(pass, m.Hidden(pass, tokens), []int{2, 5, 8})
	alone := op.NewPass([]op.Segment{{End: 3}}, []int32{0, 1, 2}, kernel.ModeF32, op.NewArena())
	want := formal.Model.Logits(alone, formal.Model.Hidden(alone, tokens[:3]), []int{2})
	fmt.Println(shelf.Names(), both.Name)
	fmt.Printf("as alone within %.0e: %v\n", 1e-5, near(logits.Row(1), want.Row(0)))
	fmt.Println("the others differ:", !near(logits.Row(0), want.Row(0)) && !near(logits.Row(2), want.Row(0)))
	// Output:
	// [formal short] formal+short
	// as alone within 1e-05: true
	// the others differ: true
}

func near(a, b []float32) bool {
	for i := range a {
		if d := a[i] - b[i]; d > 1e-5 || d < -1e-5 {
			return false
		}
	}
	return true
}
