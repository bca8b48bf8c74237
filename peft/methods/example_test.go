package methods_test

import (
	"fmt"
	"log"
	"math/rand/v2"
	"os"

	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// An adapter is saved as PEFT saves it, and loaded whatever its method. One that was never trained is refused.
func Example() {
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}`))
	must(err)
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	must(err)
	dir, err := os.MkdirTemp("", "adapter")
	must(err)
	defer os.RemoveAll(dir)

	cfg := lora.New()
	cfg.Rank, cfg.Alpha, cfg.TargetModules = 4, 8, peft.Names{List: []string{"q_proj", "v_proj"}}
	a, err := cfg.Attach(m, rand.New(rand.NewPCG(3, 4)))
	must(err)
	must(peft.Save(dir, cfg, a))
	a.Detach()

	_, _, err = methods.Load(dir, m, peft.Allow{})
	fmt.Println("refused:", err != nil)
	again, a, err := methods.Load(dir, m, peft.Allow{Idle: true})
	must(err)
	fmt.Println(peft.NumParams(a), "parameters on", again.(*lora.Config).TargetModules)
	// Output:
	// refused: true
	// 448 parameters on ["q_proj" "v_proj"]
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
