package task_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
)

// The mean loss of a batch whose second sequence has one target. A model that knows nothing is as good as a guess: ln 32.
func Example() {
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32, "initializer_range": 0.001}`))
	check(err)
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	check(err)

	set := data.Set{
		{IDs: []int32{1, 7, 9, 2}, Loss: []data.Span{{Start: 1, End: 4, Weight: 1}}},
		{IDs: []int32{1, 30, 2}, Loss: []data.Span{{Start: 2, End: 3, Weight: 1}}},
	}
	b := set.Batch([]int32{0, 1})
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	causal, err := task.Lookup("causal-lm")
	check(err)
	_, sums, err := causal.Loss(m, p, b, task.LossOptions{Scale: 1})
	check(err)
	fmt.Printf("%d targets, mean loss %.1f\n", sums.Targets, sums.Loss/sums.Weight)
	// Output: 4 targets, mean loss 3.5
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
