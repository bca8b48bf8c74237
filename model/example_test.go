package model_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
)

// A model of random weights scores the tokens that may follow two texts, which lie end to end in one pass.
func Example() {
	c, err := model.ParseConfig([]byte(`{"model_type": "qwen2", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}`))
	if err != nil {
		log.Fatal(err)
	}
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2))) // or model.Load(checkpoint) for trained ones
	if err != nil {
		log.Fatal(err)
	}
	tokens := []int32{1, 7, 9, 1, 30}
	segments := []op.Segment{{Start: 0, End: 3}, {Start: 3, End: 5}}
	p := op.NewPass(segments, []int32{0, 1, 2, 0, 1}, kernel.ModeF32, op.NewArena())
	logits := m.Logits(p, m.Hidden(p, tokens), []int{2, 4}) // after the last token of each
	fmt.Println(logits.Rows, "rows of", logits.Cols, "scores")

	n := 0
	for range m.Slots() {
		n++
	}
	fmt.Println(n, "places that a method may change, the last one", m.Head().Name)
	// Output:
	// 2 rows of 32 scores
	// 16 places that a method may change, the last one lm_head
}
