package lora

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// AdaLoRA is a branch in the form of a singular value decomposition, whose ranks are spent where they matter [zhang2023]:
//
//	y = base(x) + s·((x·Aᵀ)∘e)·Bᵀ     s = lora_alpha/(init_r + 1e-5), A [r, in], e [r], B [out, r]
//
// A and B are kept near orthonormal by a penalty on the loss; allocator.go has the schedule of the ranks. e starts at zero.
//
// References: [zhang2023] AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, arXiv 2303.10512.
var AdaLoRA = (&tuner.Kind{Type: "ADALORA", Name: "adalora", Targets: adaloraTargets,
	New: func() tuner.Options {
		return &adalora{target: 8, first: 12, every: 1, beta1: 0.85, beta2: 0.85, orth: 0.5, alpha: 8, init: true}
	},
	Defaults: adaloraDefaults()}).Method()

// adaloraDefaults are LoRA's keys and AdaLoRA's own.
func adaloraDefaults() peft.Object {
	o := defaults()
	maps.Copy(o, peft.Object{"target_r": 8, "init_r": 12, "tinit": 0, "tfinal": 0, "deltaT": 1, "beta1": 0.85, "beta2": 0.85,
		"orth_reg_weight": 0.5, "total_step": nil, "rank_pattern": nil})
	return o
}

type adalora struct {
	target, first        int // target_r, init_r
	warm, final, every   int // tinit, tfinal, deltaT
	total                total
	beta1, beta2         float64
	orth, alpha, dropout float64
	init                 bool
	masks                masks
}

func (o *adalora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "target_r", To: &o.target, Min: 1, Max: maxRank}, {Key: "init_r", To: &o.first, Min: 1, Max: maxRank},
		{Key: "tinit", To: &o.warm, Max: math.MaxInt32}, {Key: "tfinal", To: &o.final, Max: math.MaxInt32}, {Key: "deltaT", To: &o.every, Min: 1, Max: math.MaxInt32},
		{Key: "total_step", To: &o.total, Want: "a whole number"}, {Key: "beta1", To: &o.beta1}, {Key: "beta2", To: &o.beta2},
		{Key: "orth_reg_weight", To: &o.orth, Max: math.MaxFloat32}, {Key: "lora_alpha", To: &o.alpha}, {Key: "lora_dropout", To: &o.dropout, Max: 0.999},
		{Key: "init_lora_weights", To: &o.init}, {Key: "rank_pattern", To: &o.masks, Want: "an object of lists of true and false"}}
}

func (o *adalora) Check() error {
	if o.beta1 <= 0 || o.beta1 >= 1 || o.beta2 <= 0 || o.beta2 >= 1 {
		return fmt.Errorf("adalora: beta1 is %g and beta2 is %g, want both between 0 and 1", o.beta1, o.beta2)
	}
	return nil
}

// CheckTraining reports budgets that cannot be.
func (o *adalora) CheckTraining() error {
	if o.target > o.first {
		return fmt.Errorf("adalora: target_r is %d and init_r is %d, want target_r no larger", o.target, o.first)
	}
	return nil
}

// triplet is one target's branch.
type triplet struct {
	name    string // of the slot
	a, e, b *nn.Param
}

// Bank makes the maker, which knows all targets.
func (o *adalora) Bank(*tuner.Bank) (tuner.Maker, error) { return &allocator{adalora: o}, nil }

// rank is how much of a target is kept in the file; the scale stays that of init_r.
func (o *adalora) rank(name string) (int, error) {
	mask, ok := o.masks[name+".lora_E"]
	if !ok {
		return o.first, nil
	}
	if len(mask) > maxRank {
		return 0, errors.New("its rank_pattern is too long")
	}
	n := 0
	for _, keep := range mask {
		if keep {
			n++
		}
	}
	return n, nil
}

// Layer implements tuner.Maker.
func (l *allocator) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r, err := l.rank(s.Slot.Name)
	if err != nil {
		return nil, err
	}
	if r == 0 { // nothing is left, but the file has its empty tensors
		for name, shape := range map[string][]int{"lora_A": {0, s.In}, "lora_E": {0, 1}, "lora_B": {s.Out, 0}} {
			s.Buffer(name, tuner.Zeros, shape...)
		}
		return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node { return c.Lazy(x.Rows, s.Out, func(kernel.Mat) {}) }}, nil
	}
	first, values := tuner.Normal(0, 0.02), tuner.Zeros
	if !l.init {
		first, values = tuner.Normal(0, 1), tuner.Normal(0, 1)
	}
	t := &triplet{name: s.Slot.Name, a: s.Param("lora_A", first, r, s.In), e: s.Param("lora_E", values, r, 1), b: s.Param("lora_B", first, s.Out, r)}
	l.list = append(l.list, t)
	scale := float32(l.alpha / (float64(l.first) + 1e-5))
	if l.alpha <= 0 {
		scale = float32(float64(r) / (float64(l.first) + 1e-5))
	}
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		h := c.MulCols(c.MatMulT(c.Dropout(x, l.dropout), c.Param(t.a)), c.Param(t.e))
		return c.Scale(scale, c.MatMulT(h, c.Param(t.b)))
	}, Penalty: func(c *tuner.Call) *tape.Node {
		away := func(cov *tape.Node) *tape.Node { return c.Norm(c.Add(cov, -1, c.Eye(1, r))) }
		a, b := c.Param(t.a), c.Transpose(c.Param(t.b))
		return c.Scale(float32(l.orth/2), c.Add(away(c.MatMulT(a, a)), 1, away(c.MatMulT(b, b))))
	}}, nil
}

// total is total_step: null until training says how many steps there are.
type total int

// Value is the JSON value.
func (t *total) Value() any {
	if *t == 0 {
		return nil
	}
	return int(*t)
}

// masks is rank_pattern as AdaLoRA has it: which ranks of "<slot>.lora_E" are kept.
type masks map[string][]bool

// Value is the JSON value.
func (m *masks) Value() any {
	if *m == nil {
		return nil
	}
	o := map[string]any{}
	for name, mask := range *m {
		l := make([]any, len(mask))
		for i, keep := range mask {
			l[i] = keep
		}
		o[name] = l
	}
	return o
}

// Stored implements tuner.Storer: ranks that were given up are left out of the file.
func (l *allocator) Stored() (tuner.Options, map[string]*nn.Param) {
	if !slices.ContainsFunc(l.kept, func(k []float32) bool { return slices.Contains(k, 0) }) {
		return nil, nil
	}
	o := *l.adalora
	if o.masks = maps.Clone(o.masks); o.masks == nil { // of targets that had nothing left at the start
		o.masks = masks{}
	}
	tensors := map[string]*nn.Param{}
	for i, t := range l.list {
		mask := make([]bool, len(l.kept[i]))
		for k, v := range l.kept[i] {
			mask[k] = v != 0
		}
		o.masks[t.name+".lora_E"] = mask
		at := peft.Prefix + t.name + "."
		tensors[at+"lora_A"], tensors[at+"lora_E"], tensors[at+"lora_B"] = rowsOf(t.a, mask), rowsOf(t.e, mask), colsOf(t.b, mask)
	}
	return &o, tensors
}

// rowsOf keeps some rows of a matrix.
func rowsOf(p *nn.Param, mask []bool) *nn.Param {
	m := op.Of(p).View()
	var data []float32
	n := 0
	for i, keep := range mask {
		if keep {
			data = append(data, m.Row(i)...)
			n++
		}
	}
	return op.NewParam(data, n, m.Cols)
}

// colsOf keeps some columns of a matrix.
func colsOf(p *nn.Param, mask []bool) *nn.Param {
	m := op.Of(p).View()
	var data []float32
	for i := range m.Rows {
		for k, v := range m.Row(i) {
			if mask[k] {
				data = append(data, v)
			}
		}
	}
	return op.NewParam(data, m.Rows, len(data)/max(1, m.Rows))
}
