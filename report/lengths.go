package report

import (
	"fmt"
	"math/bits"

	"github.com/graft-ml/graft/metric"
)

// lengths is the section about examples of different lengths.
var lengths = Section{Name: "lengths", Title: "By length", Make: func(in *Input) (any, []Block, error) {
	buckets := in.buckets()
	t := Table{Head: []string{"tokens", "examples", in.baseName(), "fine-tuned"}}
	var fig bars
	for _, b := range buckets {
		name := fmt.Sprintf("%d–%d", b.From, b.UpTo)
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(b.Examples), decimals(b.BaseLoss), decimals(b.Loss)})
		fig.add(name, b.BaseLoss, b.Loss)
	}
	return buckets, []Block{Figure{SVG: fig.svg("Loss per target by length", []string{in.baseName(), "fine-tuned"}), Alt: "loss per target by length"}, t}, nil
}}

// bucket is the examples of some lengths.
type bucket struct {
	From     int     `json:"from"` // tokens
	UpTo     int     `json:"up_to"`
	Examples int     `json:"examples"`
	BaseLoss float64 `json:"base_loss"`
	Loss     float64 `json:"loss"` // per target
}

// buckets doubles the length from one to the next; those without examples are left out.
func (in *Input) buckets() []bucket {
	var base, tuned [33]metric.Loss
	var examples [33]int
	for i := range in.Set {
		k := bits.Len(uint(max(len(in.Set[i].IDs), 1) - 1))
		base[k].Merge(in.Base.Examples[i])
		tuned[k].Merge(in.Tuned.Examples[i])
		examples[k]++
	}
	var list []bucket
	for k, n := range examples {
		if n > 0 {
			list = append(list, bucket{1<<k/2 + 1, 1 << k, n, base[k].PerToken(), tuned[k].PerToken()})
		}
	}
	return list
}
