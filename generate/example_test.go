package generate_test

import (
	"context"
	"fmt"
	"log"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/recipes"
)

// Two prompts are continued at once by the small base inside the program, as each would be alone.
func Example() {
	base, err := checkpoint.OpenFS(recipes.Quickstart()) // or checkpoint.Open("models/llama"), mapped
	check(err)
	defer base.Close()
	m, err := model.Load(base)
	check(err)
	o := generate.Options{MaxNewTokens: 8, Temperature: 0.8, TopP: 0.95, Seed: 1}
	out, err := generate.Tokens(context.Background(), generate.NewSession(m, kernel.ModeF32), [][]int32{{5, 6, 7}, {8}}, o, nil)
	check(err)
	fmt.Println(len(out), "continuations of", len(out[0]), "and", len(out[1]), "tokens")
	// Output: 2 continuations of 8 and 8 tokens
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
