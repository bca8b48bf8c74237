package lora

import (
	"errors"
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// SHiRA trains r·(in + out) single elements of the weight, which are chosen at random [bhardwaj2024]:
//
//	ΔW[i_k, j_k] = w_k
//
// References: [bhardwaj2024] Sparse High Rank Adapters, arXiv 2406.13175.
var SHiRA = (&tuner.Kind{Type: "SHIRA", Name: "shira", New: func() tuner.Options { return &shira{r: 32, mask: "random", init: true} },
	Defaults: peft.Object{"fan_in_fan_out": false, "init_weights": true, "mask_type": "random", "modules_to_save": nil, "r": 32,
		"random_seed": nil, "target_modules": nil}}).Method()

type shira struct {
	r    int
	mask string
	init bool
}

func (o *shira) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "mask_type", To: &o.mask},
		{Key: "init_weights", To: &o.init}}
}

func (o *shira) Check() error { return nil }

// CheckTraining reports masks that graft cannot draw.
func (o *shira) CheckTraining() error {
	if o.mask != "random" {
		return fmt.Errorf("shira: mask_type is %q, want \"random\"", o.mask)
	}
	return nil
}

func (o *shira) Layer(s *tuner.Site) (*tuner.Layer, error) {
	n := o.r * (s.In + s.Out)
	if n > s.In*s.Out {
		return nil, fmt.Errorf("r %d makes %d elements, want at most the %d that there are", o.r, n, s.In*s.Out)
	}
	start := tuner.Zeros
	if !o.init {
		start = tuner.Normal(0, 1)
	}
	w := s.Param("shira_weight", start, n)
	places := make([]int, 0, 2*n) // rows, then columns, in the order of the matrix
	chosen := o.choose(s, n)
	for _, k := range chosen {
		places = append(places, k/s.In)
	}
	for _, k := range chosen {
		places = append(places, k%s.In)
	}
	s.Whole("shira_indices", places, 2, n).Check = func() error { return within(places, n, s.Out, s.In) }
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		return sparse(c, x, c.Param(w), places[:n], places[n:], s.Out)
	}}, nil
}

// choose draws n different elements in ascending order: Floyd's way, which needs no more memory than they.
func (o *shira) choose(s *tuner.Site, n int) []int {
	all := s.In * s.Out
	taken := make(map[int]bool, n)
	list := make([]int, 0, n)
	for j := all - n; j < all; j++ {
		k := s.Rand().IntN(j + 1)
		if taken[k] {
			k = j
		}
		taken[k] = true
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// within checks places that came from a file.
func within(places []int, n, rows, cols int) error {
	for k, i := range places {
		if i < 0 || k < n && i >= rows || k >= n && i >= cols {
			return errors.New("a place lies outside of the weight")
		}
	}
	return nil
}

// sparse is x·ΔWᵀ of a ΔW with elements w at (rows, cols).
func sparse(c *tuner.Call, x, w *tape.Node, rows, cols []int, out int) *tape.Node {
	return c.Op(x.Rows, out, func(y kernel.Mat) {
		u, v := x.Value(), w.Value().Data
		kernel.Split(y.Rows, 1, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				from, to := u.Row(t), y.Row(t)
				for k, i := range rows {
					to[i] += v[k] * from[cols[k]]
				}
			}
		})
	}, func(dy kernel.Mat) {
		u, v := x.Value(), w.Value().Data
		if x.Needs() {
			dx := x.Grad()
			kernel.Split(dy.Rows, 1, func(lo, hi int) {
				for t := lo; t < hi; t++ {
					from, to := dy.Row(t), dx.Row(t)
					for k, i := range rows {
						to[cols[k]] += v[k] * from[i]
					}
				}
			})
		}
		g := w.Grad().Data
		kernel.Split(len(rows), 256, func(lo, hi int) {
			for k := lo; k < hi; k++ {
				for t := range dy.Rows {
					g[k] += dy.Row(t)[rows[k]] * u.Row(t)[cols[k]]
				}
			}
		})
	}, x, w)
}
