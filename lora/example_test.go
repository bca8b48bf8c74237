package lora_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// A LoRA goes to two projections of each layer and is taken off again.
func Example() {
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}`))
	check(err)
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	check(err)

	cfg := lora.New()
	cfg.Rank, cfg.Alpha, cfg.TargetModules = 4, 8, peft.Names{List: []string{"q_proj", "down_proj"}}
	a, err := cfg.Attach(m, rand.New(rand.NewPCG(3, 4)))
	check(err)
	for name, p := range a.Params() {
		fmt.Println(name, p.Shape())
	}
	a.Detach()
	// Output:
	// base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight [4 16]
	// base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight [16 4]
	// base_model.model.model.layers.0.mlp.down_proj.lora_A.weight [4 24]
	// base_model.model.model.layers.0.mlp.down_proj.lora_B.weight [16 4]
	// base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight [4 16]
	// base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight [16 4]
	// base_model.model.model.layers.1.mlp.down_proj.lora_A.weight [4 24]
	// base_model.model.model.layers.1.mlp.down_proj.lora_B.weight [16 4]
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
