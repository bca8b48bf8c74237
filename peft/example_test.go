package peft_test

import (
	"fmt"
	"log"
	"math/rand/v2"

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
