package lora

import (
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// VBLoRA composes the factors of all targets of pieces of one bank of vectors [li2024]:
//
//	y = base(x) + x·Aᵀ·Bᵀ     each piece of A and B is Σ_k softmax(top k logits)_k · bank_k
//
//	bank [num_vectors, length]   logits of A [r, in/length, num_vectors], of B [out/length, r, num_vectors]
//
// References: [li2024] VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks, arXiv 2405.15179.
var VBLoRA = (&tuner.Kind{Type: "VBLORA", Name: "vblora", Targets: vbloraTargets,
	New: func() tuner.Options { return &vblora{r: 4, vectors: 256, length: 256, top: 2, bound: 0.02, std: 0.1} },
	Defaults: peft.Object{"bias": "none", "exclude_modules": nil, "fan_in_fan_out": false, "init_logits_std": 0.1, "init_vector_bank_bound": 0.02,
		"layers_pattern": nil, "layers_to_transform": nil, "modules_to_save": nil, "num_vectors": 256, "r": 4, "save_only_topk_weights": false,
		"target_modules": nil, "topk": 2, "vblora_dropout": 0.0, "vector_length": 256}}).Method()

type vblora struct {
	r, vectors, length, top int
	bound, std, dropout     float64
}

func (o *vblora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "num_vectors", To: &o.vectors, Min: 1, Max: maxRank},
		{Key: "vector_length", To: &o.length, Min: 1, Max: maxRank}, {Key: "topk", To: &o.top, Min: 1, Max: maxRank},
		{Key: "init_vector_bank_bound", To: &o.bound}, {Key: "init_logits_std", To: &o.std}, {Key: "vblora_dropout", To: &o.dropout, Max: 0.999}}
}

func (o *vblora) Check() error {
	if o.top > o.vectors {
		return fmt.Errorf("vblora: topk is %d and num_vectors is %d, want topk no larger", o.top, o.vectors)
	}
	return nil
}

// vbBank holds the shared vectors.
type vbBank struct {
	*vblora
	bank *nn.Param
}

// Bank makes the vectors.
func (o *vblora) Bank(b *tuner.Bank) (tuner.Maker, error) {
	return &vbBank{o, b.Param("base_model.vblora_vector_bank", tuner.Uniform(o.bound), o.vectors, o.length)}, nil
}

func (o *vbBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	if s.In%o.length != 0 || s.Out%o.length != 0 {
		return nil, fmt.Errorf("vector_length %d does not divide its %d inputs and %d outputs", o.length, s.In, s.Out)
	}
	la := s.Param("vblora_logits_A", tuner.Normal(0, o.std), o.r, s.In/o.length, o.vectors)
	lb := s.Param("vblora_logits_B", tuner.Normal(0, o.std), s.Out/o.length, o.r, o.vectors)
	order := make([]int, s.Out*o.r) // B's pieces [out/length, r, length] as [out, r]
	for k := range order {
		i, j := k/o.r, k%o.r
		order[k] = (i/o.length*o.r+j)*o.length + i%o.length
	}
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		bank := c.Param(o.bank)
		a := c.Reshape(c.MatMul(o.mix(c, c.Param(la)), bank), o.r, s.In)
		b := c.Gather(c.MatMul(o.mix(c, c.Param(lb)), bank), s.Out, o.r, order)
		return c.MatMulT(c.MatMulT(c.Dropout(x, o.dropout), a), b)
	}}, nil
}

// mix is the softmax over the largest logits of every row, zero elsewhere.
func (o *vbBank) mix(c *tuner.Call, logits *tape.Node) *tape.Node {
	var y *tape.Node
	y = c.Op(logits.Rows, logits.Cols, func(m kernel.Mat) {
		for i := range m.Rows {
			row := logits.Value().Row(i)
			best := o.best(row)
			w := make([]float32, len(best))
			for k, j := range best {
				w[k] = row[j]
			}
			kernel.SoftmaxRow(w)
			for k, j := range best {
				m.Row(i)[j] = w[k]
			}
		}
	}, func(dy kernel.Mat) { // of a softmax, where its weights are
		for i := range dy.Rows {
			w, d, g := y.Value().Row(i), dy.Row(i), logits.Grad().Row(i)
			dot := kernel.Dot(w, d)
			for j, v := range w {
				g[j] += v * (d[j] - dot)
			}
		}
	}, logits)
	return y
}

// best are the places of the largest numbers.
func (o *vbBank) best(row []float32) []int {
	at := make([]int, len(row))
	for i := range at {
		at[i] = i
	}
	slices.SortStableFunc(at, func(i, j int) int {
		switch {
		case row[i] > row[j]:
			return -1
		case row[i] < row[j]:
			return 1
		}
		return 0
	})
	return at[:o.top]
}
