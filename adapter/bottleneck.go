package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// bottleneck is the family of small networks at the end of a branch [houlsby2019, pfeiffer2020, he2021]: x is the residual stream
// [T, C], h what the branch gave, LN the model's own norm after the sum, if there is one.
//
//	up(z) = scaling·(act(z·W_downᵀ + b_down)·W_upᵀ + b_up)
//	h = LN(x + h)                    original_ln_before; up to here h is also the inner residual r, or from here on
//	h = up(h) + r                    in sequence
//	h = h + up(x)                    is_parallel
//	y = LN(x + h)                    original_ln_after
//
// W_down [C/reduction_factor, C], W_up [C, C/reduction_factor]. ln_before norms what is read, ln_after what is written, a gate
// σ(z·w + b), averaged over the segment, multiplies it.
//
// References: [houlsby2019] Parameter-Efficient Transfer Learning for NLP, arXiv 1902.00751; [pfeiffer2020] AdapterFusion, arXiv
// 2005.00247; [he2021] Towards a Unified View of Parameter-Efficient Transfer Learning, arXiv 2110.04366; the library's
// methods/modeling.py.
type bottleneck struct {
	attention, output, cross bool // mh_adapter, output_adapter, cross_adapter
	factor                   factors
	act                      string
	lnBefore, lnAfter        bool // the model's own norm: original_ln_before, original_ln_after
	normBefore, normAfter    bool // norms of the adapter: ln_before, ln_after
	residualFirst            peft.Word
	innerFirst               bool // adapter_residual_before_ln
	parallel, gated          bool
	scaling                  scaling
	init                     string
	leaveOut                 []int
	dropout, depth           float64
	bijection                string  // inv_adapter
	bijectionFactor          float64 // inv_adapter_reduction_factor
	phm                      phm
}

func newBottleneck() hubMethod {
	return &bottleneck{output: true, factor: factors{all: 16}, act: "relu", lnAfter: true, residualFirst: "true", scaling: scaling{value: 1}, init: "bert", leaveOut: []int{},
		phm: phm{dim: 4, factored: true, sharedRule: true, ruleInit: "normal", ruleRange: 1e-4, learn: true, rank: 1, bias: true}}
}

var bottleneckDefaults = peft.Object{"adapter_residual_before_ln": false, "cross_adapter": false, "dropout": 0.0, "factorized_phm_W": true,
	"factorized_phm_rule": false, "hypercomplex_nonlinearity": "glorot-uniform", "init_weights": "bert", "init_weights_seed": nil,
	"inv_adapter": nil, "inv_adapter_reduction_factor": nil, "is_parallel": false, "learn_phm": true, "leave_out": []any{}, "ln_after": false,
	"ln_before": false, "mh_adapter": false, "non_linearity": "relu", "original_ln_after": true, "original_ln_before": false,
	"output_adapter": true, "phm_bias": true, "phm_c_init": "normal", "phm_dim": 4, "phm_init_range": 0.0001, "phm_layer": false, "phm_rank": 1,
	"reduction_factor": 16, "residual_before_ln": true, "scaling": 1.0, "shared_W_phm": false, "shared_phm_rule": true, "stochastic_depth": 0.0,
	"use_gating": false}

// Settings implements hubMethod.
func (c *bottleneck) Settings() []peft.Setting {
	return append([]peft.Setting{
		{Key: "mh_adapter", To: &c.attention}, {Key: "output_adapter", To: &c.output}, {Key: "cross_adapter", To: &c.cross},
		{Key: "reduction_factor", To: &c.factor, Want: "a number or an object of numbers by layer"}, {Key: "non_linearity", To: &c.act},
		{Key: "original_ln_before", To: &c.lnBefore}, {Key: "original_ln_after", To: &c.lnAfter},
		{Key: "ln_before", To: &c.normBefore}, {Key: "ln_after", To: &c.normAfter},
		{Key: "residual_before_ln", To: &c.residualFirst, Want: `true, false or "post_add"`}, {Key: "adapter_residual_before_ln", To: &c.innerFirst},
		{Key: "is_parallel", To: &c.parallel}, {Key: "use_gating", To: &c.gated},
		{Key: "scaling", To: &c.scaling, Want: `a number, "learned" or "channel"`}, {Key: "init_weights", To: &c.init},
		{Key: "leave_out", To: &c.leaveOut}, {Key: "dropout", To: &c.dropout, Min: 0, Max: 1}, {Key: "stochastic_depth", To: &c.depth, Min: 0, Max: 1},
		{Key: "inv_adapter", To: &c.bijection}, {Key: "inv_adapter_reduction_factor", To: (*orNull)(&c.bijectionFactor), Want: "a number"},
	}, c.phm.settings()...)
}

// factors is reduction_factor: a number, or numbers by layer with one for the others.
type factors struct {
	all float64            // 0 = there is none for the others
	by  map[string]float64 // nil = one number
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *factors) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &f.all) == nil {
		f.by = nil
		return nil
	}
	*f = factors{}
	if err := json.Unmarshal(b, &f.by); err != nil {
		return err
	}
	f.all = f.by["default"]
	return nil
}

// Value is the JSON value.
func (f *factors) Value() any {
	if f.by == nil {
		return number(f.all)
	}
	o := map[string]any{}
	for k, v := range f.by {
		o[k] = number(v)
	}
	return o
}

// number is a whole number as one.
func number(v float64) any {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return int(v)
	}
	return v
}

// of is the number for a layer.
func (f *factors) of(i int) (float64, error) {
	v, ok := f.by[strconv.Itoa(i)]
	if !ok {
		v = f.all
	}
	if !(v > 0) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("adapter: reduction_factor of layer %d is %g, want more than 0 (give a \"default\" for the layers that it does not name)", i, v)
	}
	return v, nil
}

// width is the number of rows of a bottleneck of n columns.
func width(n int, factor float64) int { return int(max(1, min(math.Floor(float64(n)/factor), 1<<30))) }

// scaling is a number, or "learned" or "channel".
type scaling struct {
	value float64
	word  string
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *scaling) UnmarshalJSON(b []byte) error {
	*s = scaling{}
	if json.Unmarshal(b, &s.value) == nil {
		return nil
	}
	return json.Unmarshal(b, &s.word)
}

// Value is the JSON value.
func (s *scaling) Value() any {
	if s.word != "" {
		return s.word
	}
	return s.value
}

// orNull is a number that is null as long as it is 0.
type orNull float64

// Value is the JSON value.
func (v *orNull) Value() any {
	if *v == 0 {
		return nil
	}
	return number(float64(*v))
}

// check implements hubMethod.
func (c *bottleneck) check() []error {
	errs := []error{peft.CheckSettings(c.Settings()), oneOf("non_linearity", c.act, names(activations)...), oneOf("init_weights", c.init, names(starts)...),
		oneOf("residual_before_ln", string(c.residualFirst), "true", "false", "post_add"), oneOf("scaling", c.scaling.word, "", "learned", "channel"),
		oneOf("inv_adapter", c.bijection, "", "nice")}
	if c.cross {
		errs = append(errs, errors.New("adapter: cross_adapter is true, want false: there is no cross attention"))
	}
	if c.bijection != "" && !(c.bijectionFactor > 0) {
		errs = append(errs, fmt.Errorf("adapter: inv_adapter_reduction_factor is %g, want more than 0", c.bijectionFactor))
	}
	if c.phm.on {
		errs = append(errs, c.phm.check()...)
	}
	return errs
}

// activation is an activation by a name of the library.
type activation struct {
	name string
	op.Activation
}

func (a activation) id() string { return a.name }

// activations are what non_linearity may be.
var activations = []activation{
	{"relu", op.ReLU}, {"swish", op.SiLU}, {"silu", op.SiLU}, {"gelu", op.GELU}, {"gelu_new", op.GELUTanh}, {"gelu_fast", op.GELUTanh},
	{"gelu_pytorch_tanh", op.GELUTanh}, {"tanh", op.Tanh}, {"leakyrelu", leakyReLU},
}

// leakyReLU is max(x, x/100).
var leakyReLU = op.Activation{Name: "leakyrelu",
	Forward: func(y, x []float32) {
		for i, v := range x {
			y[i] = max(v, 0.01*v)
		}
	},
	Backward: func(dx, dy, x []float32) {
		for i, v := range x {
			if dx[i] = dy[i]; v <= 0 {
				dx[i] *= 0.01
			}
		}
	}}

// start are the initial values of weights that read n columns: of the way down and of the way up.
type start struct {
	name     string
	down, up func(n int) tuner.Draw
}

func (s start) id() string { return s.name }

// starts are what init_weights may be.
var starts = []start{
	{"bert", narrow, narrow},
	{"mam_adapter", tuner.Kaiming, func(int) tuner.Draw { return tuner.Zeros }},
	{"houlsby", narrower, narrower},
}

func narrow(int) tuner.Draw { return tuner.Normal(0, 0.02) }

// narrower is N(0, 0.01²) within two deviations.
func narrower(int) tuner.Draw {
	return func(x []float32, rng *rand.Rand) {
		for i := range x {
			v := rng.NormFloat64()
			for math.Abs(v) > 2 {
				v = rng.NormFloat64()
			}
			x[i] = float32(0.01 * v)
		}
	}
}

// row is a row of a table that is looked up by a name.
type row interface{ id() string }

// names lists the names of a table.
func names[T row](table []T) (list []string) {
	for _, r := range table {
		list = append(list, r.id())
	}
	return list
}

// find is the row of a name, which is there.
func find[T row](table []T, name string) (found T) {
	for _, r := range table {
		if r.id() == name {
			return r
		}
	}
	return found
}

// attach implements hubMethod.
func (c *bottleneck) attach(b *hubBuilder) error {
	shared, err := c.phm.shared(b, c)
	if err != nil {
		return err
	}
	for _, l := range b.layers {
		if slices.Contains(c.leaveOut, l.index) {
			continue
		}
		for _, e := range []struct {
			on  bool
			at  string
			end *layer.End
		}{{c.attention, l.attention, &l.block.AttentionEnd}, {c.output, l.output, &l.block.MLPEnd}} {
			if !e.on {
				continue
			}
			if err := b.take(e.end, *e.end == nil, e.at+" has a bottleneck"); err != nil {
				return err
			}
			x, err := c.at(b, e.at+"."+b.name+".", l.index, shared)
			if err != nil {
				return err
			}
			end := e.end
			b.place(func() { *end = x.end }, func() { *end = nil }, x.idle)
		}
	}
	if c.bijection != "" {
		return c.invertible(b)
	}
	return nil
}

// dense is a linear map of rows on a tape.
type dense func(t *tape.Tape, x *tape.Node) *tape.Node

// placed is a bottleneck at one place.
type placed struct {
	*bottleneck
	activation op.Activation
	before     *op.Norm // of what is read; nil = none
	after      *op.Norm
	down, up   dense
	gate       dense // [T, C] -> [T, 1], or nil
	scale      func(t *tape.Tape, x *tape.Node) *tape.Node
	stream     uint64
	idle       func() bool
	trained    *hubTensors
}

// at makes the tensors of one place.
func (c *bottleneck) at(b *hubBuilder, name string, index int, shared *phmShared) (*placed, error) {
	f, err := c.factor.of(index)
	if err != nil {
		return nil, err
	}
	n, w := b.hidden, width(b.hidden, f)
	x := &placed{bottleneck: c, activation: find(activations, c.act).Activation, stream: b.stream(), trained: b.tensors(name)}
	t, first := x.trained, 0
	if c.normBefore {
		first = 1
		x.before = t.norm("adapter_norm_before", n)
		t.second("adapter_norm_before", "adapter_down.0") // the library registers it twice
	}
	down := fmt.Sprintf("adapter_down.%d", first)
	if c.phm.on {
		if err := c.phm.divides(n, w); err != nil {
			return nil, err
		}
		x.down, x.up = c.phm.dense(t, down, "down", n, w, shared), c.phm.dense(t, "adapter_up", "up", w, n, shared)
	} else {
		start := find(starts, c.init)
		x.down, x.up = t.linear(down, w, n, start.down(n)), t.linear("adapter_up", n, w, start.up(w))
	}
	x.scale, x.idle = c.scaler(t, n), t.zeros("adapter_up", c)
	if c.normAfter {
		x.after = t.norm("adapter_norm_after", n)
	}
	if c.gated {
		x.gate = t.linear("gate", 1, n, tuner.Normal(0, 0.02))
	}
	return x, nil
}

// scaler multiplies by the constant, by one trained number or by one for each column.
func (c *bottleneck) scaler(t *hubTensors, n int) func(t *tape.Tape, x *tape.Node) *tape.Node {
	switch c.scaling.word {
	case "learned":
		s := t.param("scaling", tuner.Fill(1), 1)
		return func(t *tape.Tape, x *tape.Node) *tape.Node {
			return t.MulCols(x, t.Gather(t.Param(s), 1, x.Cols, make([]int, x.Cols)))
		}
	case "channel":
		s := t.param("scaling", tuner.Fill(1), n)
		return func(t *tape.Tape, x *tape.Node) *tape.Node { return t.MulCols(x, t.Param(s)) }
	}
	return func(t *tape.Tape, x *tape.Node) *tape.Node { return scaled(t, float32(c.scaling.value), x) }
}

func scaled(t *tape.Tape, f float32, x *tape.Node) *tape.Node {
	if f == 1 {
		return x
	}
	return t.Scale(f, x)
}
