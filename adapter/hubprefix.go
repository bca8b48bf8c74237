package adapter

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/mat"
)

// hubPrefix is the library's prefix tuning: n virtual keys and values before those of every text, which keeps its positions.
//
//	KV = act(E·W₀ᵀ + b₀)·W₂ᵀ + b₂     E [n, C], or KV itself if flat; KV [n, L·2·K·D]
//
// L are the layers that leave_out leaves. A gate σ(h·w + b) of what a layer's attention reads, averaged over the segment, multiplies
// its keys and values: one for both, or if not shared_gating one for each.
type hubPrefix struct {
	flat, gated, sharedGate bool
	encoder, cross          bool // encoder_prefix, cross_prefix: of encoder-decoders
	length, width           int  // prefix_length, bottleneck_size
	act                     string
	dropout                 float64
	leaveOut                []int
}

func newHubPrefix() hubMethod {
	return &hubPrefix{sharedGate: true, encoder: true, cross: true, length: 30, width: 512, act: "tanh", leaveOut: []int{}}
}

var prefixDefaults = peft.Object{"architecture": "prefix_tuning", "bottleneck_size": 512, "cross_prefix": true, "dropout": 0.0, "encoder_prefix": true,
	"flat": false, "init_weights_seed": nil, "leave_out": []any{}, "non_linearity": "tanh", "prefix_length": 30, "shared_gating": true, "use_gating": false}

// Settings implements hubMethod.
func (c *hubPrefix) Settings() []peft.Setting {
	return []peft.Setting{{Key: "flat", To: &c.flat}, {Key: "use_gating", To: &c.gated}, {Key: "shared_gating", To: &c.sharedGate},
		{Key: "encoder_prefix", To: &c.encoder}, {Key: "cross_prefix", To: &c.cross}, {Key: "prefix_length", To: &c.length, Min: 1, Max: 1 << 16},
		{Key: "bottleneck_size", To: &c.width, Min: 1, Max: 1 << 20}, {Key: "non_linearity", To: &c.act}, {Key: "dropout", To: &c.dropout, Min: 0, Max: 1},
		{Key: "leave_out", To: &c.leaveOut}}
}

// check implements hubMethod.
func (c *hubPrefix) check() []error {
	return []error{peft.CheckSettings(c.Settings()), oneOf("non_linearity", c.act, names(activations)...)}
}

// prefixed is prefix tuning in its places.
type prefixed struct {
	*hubPrefix
	layers  int // all of the model
	places  []int
	wide    int // K·D
	table   func(t *tape.Tape) *tape.Node
	stream  uint64
	trained *hubTensors
}

// attach implements hubMethod.
func (c *hubPrefix) attach(b *hubBuilder) error {
	m, err := b.prompted()
	if err != nil {
		return err
	}
	s := m.PromptShape()
	x := &prefixed{hubPrefix: c, layers: s.Layers, wide: s.KeyValueHeads * s.HeadDim, stream: b.stream()}
	var list, out []*layer.Attention
	for i, l := range b.m.Layers() {
		a, ok := l.Attention.(*layer.Attention)
		if !ok {
			return fmt.Errorf("adapter: prefix_tuning: the attention of layer %d takes no keys and values from elsewhere", i)
		}
		list = append(list, a)
		if slices.Contains(c.leaveOut, i) {
			out = append(out, a)
			continue
		}
		x.places = append(x.places, i)
	}
	if len(x.places) == 0 {
		return nil
	}
	x.tensors(b, list, s.HiddenSize)
	if c.gated {
		for _, i := range x.places {
			x.gate(b, list[i], i, s.HiddenSize)
		}
	}
	b.place(func() { m.SetPrompter(x); bare(out, true) }, func() { m.SetPrompter(nil); bare(out, false) }, func() bool { return false })
	return nil
}

// bare lets attentions see no prefix, or see it again.
func bare(list []*layer.Attention, yes bool) {
	for _, a := range list {
		a.Bare = yes
	}
}

// above is the name of the module that an attention's projections lie in.
func above(a *layer.Attention) string { return a.In[0].Name[:strings.LastIndexByte(a.In[0].Name, '.')] }

// tensors makes those of the prefix, which files have under the name of every layer and under one beside the layers.
func (x *prefixed) tensors(b *hubBuilder, list []*layer.Attention, hidden int) {
	end := ".prefix_tunings." + b.name + ".self_prefix."
	x.trained = b.tensors(above(list[0]) + ".prefix_tuning.pool" + end)
	others := []string{b.path("prefix_tuning") + end}
	for _, a := range list[1:] {
		others = append(others, above(a)+".prefix_tuning.pool"+end)
	}
	t, cols := x.trained, len(x.places)*2*x.wide
	if x.flat {
		kv := t.param("control_trans", tuner.Normal(0, 1), x.length*cols)
		x.table = func(t *tape.Tape) *tape.Node { return t.Reshape(t.Param(kv), x.length, cols) }
	} else {
		e := t.param("wte.weight", tuner.Normal(0, 1), x.length, hidden)
		down, up := t.plain("control_trans.0", x.width, hidden), t.plain("control_trans.2", cols, x.width)
		act := find(activations, x.act).Activation
		x.table = func(t *tape.Tape) *tape.Node { return up(t, t.Activate(down(t, t.Param(e)), act)) }
	}
	for name := range b.bank.Params() {
		tail, ok := strings.CutPrefix(name, t.prefix)
		for _, o := range others {
			if ok {
				b.twice = append(b.twice, second{name, o + tail})
			}
		}
	}
}

// plain is a linear map as torch draws it: everything within 1/√in.
func (t *hubTensors) plain(name string, out, in int) dense {
	draw := tuner.Uniform(1 / math.Sqrt(float64(in)))
	w, b := t.param(name+".weight", draw, out, in), t.param(name+".bias", draw, out)
	return func(t *tape.Tape, x *tape.Node) *tape.Node { return t.AddRow(t.MatMulT(x, t.Param(w)), 1, t.Param(b)) }
}

// Prompts implements layer.Prompter: all segments get the same. Layers that are left out have columns that nobody reads.
func (x *prefixed) Prompts(p *op.Pass) []layer.Prompt {
	f := &tape.Formula{Trained: x.trained.all(), Record: func(t *tape.Tape, p *op.Pass, _ []*tape.Node) *tape.Node {
		return t.Columns(t.Dropout(p, x.stream, x.table(t), x.dropout), x.columns(), ones(2*x.layers*x.wide))
	}}
	kv := f.Compute(p, x.length, 2*x.layers*x.wide)
	list := make([]layer.Prompt, len(p.Segments))
	for i := range list {
		list[i] = layer.Prompt{KeyValues: kv, Still: true}
	}
	return list
}

// columns says which column of the prefix each column of all layers has.
func (x *prefixed) columns() []int {
	from := make([]int, 2*x.layers*x.wide)
	for k, i := range x.places {
		for j := range 2 * x.wide {
			from[2*i*x.wide+j] = 2*k*x.wide + j
		}
	}
	return from
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// Leads implements layer.Prompter.
func (x *prefixed) Leads() bool { return false }

// NumVirtualTokens implements layer.Prompter: the text loses no positions.
func (x *prefixed) NumVirtualTokens() int { return 0 }

// gate makes the gate of one layer.
func (x *prefixed) gate(b *hubBuilder, a *layer.Attention, i, hidden int) {
	n := 2
	if x.sharedGate {
		n = 1
	}
	ts := b.tensors(above(a) + ".prefix_tuning.prefix_gates." + b.name)
	ts.prefix += "."
	w, bias := ts.param("weight", tuner.Normal(0, 0.02), n, hidden), ts.param("bias", tuner.Uniform(1/math.Sqrt(float64(hidden))), n)
	f := &tape.Formula{Trained: ts.all(), Record: func(t *tape.Tape, p *op.Pass, in []*tape.Node) *tape.Node {
		g := t.Means(t.Sigmoid(t.AddRow(t.MatMulT(in[1], t.Param(w)), 1, t.Param(bias))), ranges(p.Segments))
		kv := t.Part(in[0], 0, x.length, 2*i*x.wide, 2*(i+1)*x.wide)
		halves := []*tape.Node{}
		for h := range 2 {
			rows := t.Part(kv, 0, x.length, h*x.wide, (h+1)*x.wide)
			var stack []*tape.Node
			for s := range p.Segments {
				stack = append(stack, t.MulRows(rows, t.Gather(g, x.length, 1, slices.Repeat([]int{s*n + min(h, n-1)}, x.length))))
			}
			halves = append(halves, t.Stack(stack...))
		}
		return t.Beside(halves...)
	}}
	gate := func(p *op.Pass, h mat.Tensor) (mat.Tensor, int, mat.Tensor) {
		h = op.Fork(p, h)
		k := slices.IndexFunc(p.Prefixes, func(v mat.Tensor) bool { return v != nil })
		return f.Compute(p, len(p.Segments)*x.length, 2*x.wide, p.Prefixes[k], h), x.length, h
	}
	b.place(func() { a.Gate = gate }, func() { a.Gate = nil }, func() bool { return false })
}

// ranges are the rows of segments.
func ranges(segments []op.Segment) [][2]int {
	list := make([][2]int, len(segments))
	for i, seg := range segments {
		list[i] = [2]int{seg.Start, seg.End}
	}
	return list
}
