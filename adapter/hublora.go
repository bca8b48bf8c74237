package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// hubLora are the library's low-rank changes of projections: LoRA, DoRA, VeRA and IA3, with the shapes and rules of its files.
//
//	y = base(x) + s·x·Aᵀ·Bᵀ           composition_mode add; s = alpha/r, or a gate σ(x·w + b), averaged over the segment
//	y = base(x)∘(s·B)                 composition_mode scale; s = alpha, or the gate
//	y = (base(x) + s·x·Aᵀ·Bᵀ)∘m/‖W + B·A‖    use_dora: the bias is scaled, too, and gradients flow through the lengths
//	B·A = V_B·B·V_D·A                 vera_d, vera_b: A and B are shared and frozen, the square V_D [r, r], V_B [out, out] are trained
//
// Where queries, keys and values are one projection, A [n·r, in] and B [·, r] hold n of them one below the other.
type hubLora struct {
	attention, intermediate, output bool
	leaveOut                        []int
	rank, alpha                     int
	dropout                         float64
	matrices                        []string
	mode, init                      string
	gated, dora                     bool
	d, b                            optional // vera_d, vera_b
}

func newHubLora() hubMethod {
	return &hubLora{attention: true, leaveOut: []int{}, rank: 8, alpha: 8, matrices: []string{"q", "v"}, mode: "add", init: "lora"}
}

var loraDefaults = peft.Object{"alpha": 8, "architecture": "lora", "attn_matrices": []any{"q", "v"}, "composition_mode": "add", "dropout": 0.0,
	"dtype": nil, "init_weights": "lora", "init_weights_seed": nil, "intermediate_lora": false, "leave_out": []any{}, "output_lora": false, "r": 8,
	"selfattn_lora": true, "use_dora": false, "use_gating": false, "vera_b": nil, "vera_d": nil}

// optional is a number that may be null.
type optional struct {
	set   bool
	value float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional) UnmarshalJSON(b []byte) error {
	o.set = true
	return json.Unmarshal(b, &o.value)
}

// Value is the JSON value.
func (o *optional) Value() any {
	if !o.set {
		return nil
	}
	return o.value
}

// Settings implements hubMethod.
func (c *hubLora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "selfattn_lora", To: &c.attention}, {Key: "intermediate_lora", To: &c.intermediate}, {Key: "output_lora", To: &c.output},
		{Key: "leave_out", To: &c.leaveOut}, {Key: "r", To: &c.rank, Min: 1, Max: 1 << 16}, {Key: "alpha", To: &c.alpha},
		{Key: "dropout", To: &c.dropout, Min: 0, Max: 1}, {Key: "attn_matrices", To: &c.matrices}, {Key: "composition_mode", To: &c.mode},
		{Key: "init_weights", To: &c.init}, {Key: "use_gating", To: &c.gated}, {Key: "use_dora", To: &c.dora},
		{Key: "vera_d", To: &c.d, Want: "a number"}, {Key: "vera_b", To: &c.b, Want: "a number"}}
}

// check implements hubMethod.
func (c *hubLora) check() []error {
	errs := []error{peft.CheckSettings(c.Settings()), oneOf("composition_mode", c.mode, "add", "scale"), oneOf("init_weights", c.init, names(loraStarts)...)}
	for _, m := range c.matrices {
		errs = append(errs, oneOf("attn_matrices", m, "q", "k", "v"))
	}
	if c.mode == "scale" && (c.rank != 1 || c.dora || c.vera() || c.dropout != 0) {
		errs = append(errs, errors.New("adapter: composition_mode is \"scale\", want r 1, no dropout, no use_dora, no vera_d and no vera_b"))
	}
	if c.gated && c.dora {
		errs = append(errs, errors.New("adapter: use_gating and use_dora are both true, want one of them"))
	}
	return errs
}

func (c *hubLora) vera() bool { return c.d.set || c.b.set }

// loraStart are the initial values of A and B, of which A reads n columns.
type loraStart struct {
	name string
	a    func(n int) tuner.Draw
	b    tuner.Draw
}

func (s loraStart) id() string { return s.name }

// loraStarts are what init_weights may be.
var loraStarts = []loraStart{
	{"lora", tuner.Kaiming, tuner.Zeros},
	{"bert", narrow, tuner.Normal(0, 0.02)},
	{"ia3", func(int) tuner.Draw { return tuner.Fill(1) }, tuner.Fill(1)},
	{"vera", func(n int) tuner.Draw { return tuner.Uniform(math.Sqrt(6 / float64(n))) }, nil},
}

// piece is a run of columns of what a projection writes.
type piece struct {
	lo, hi  int
	changed bool
}

// target is a projection to change.
type target struct {
	slot   *layer.Slot
	pieces []piece
}

// attach implements hubMethod.
func (c *hubLora) attach(b *hubBuilder) error {
	var shared *veraShared
	for _, l := range b.layers {
		if slices.Contains(c.leaveOut, l.index) {
			continue
		}
		list, err := c.targets(l.block)
		if err != nil {
			return err
		}
		for _, t := range list {
			if c.vera() && shared == nil {
				shared = c.shareVera(b, t)
			}
			if err := c.at(b, t, shared); err != nil {
				return err
			}
		}
	}
	return nil
}

// targets are the projections of a layer that the settings name. In a gated MLP the library calls what writes the branch
// "intermediate", and what is gated "output".
func (c *hubLora) targets(block *layer.Block) (list []target, err error) {
	if c.attention {
		if list, err = c.attentionTargets(block.Attention); err != nil {
			return nil, err
		}
	}
	slots := projections(block.MLP)
	m, ok := block.MLP.(*layer.MLP)
	if !ok && (c.intermediate || c.output) {
		return nil, fmt.Errorf("adapter: intermediate_lora and output_lora need plain MLPs, got %q", slots[0].Name)
	}
	if !ok {
		return list, nil
	}
	intermediate, output := m.In[0], m.Down
	if m.Gated {
		intermediate, output = m.Down, m.In[len(m.In)-1]
	}
	if c.intermediate {
		list = append(list, whole(intermediate))
	}
	if c.output {
		list = append(list, whole(output))
	}
	return list, nil
}

// whole is a target of which all columns are changed.
func whole(s *layer.Slot) target {
	_, out := s.Dims()
	return target{s, []piece{{0, out, true}}}
}

// attentionTargets are the projections of queries, keys and values that attn_matrices names.
func (c *hubLora) attentionTargets(b layer.Branch) (list []target, err error) {
	a, ok := b.(*layer.Attention)
	slots := projections(b)
	switch {
	case ok && len(a.In) == 1 && a.Grouped, ok && len(a.In) == 1 && c.dora:
		return nil, fmt.Errorf("adapter: attn_matrices: %q holds queries, keys and values in one, which these settings cannot take apart", a.In[0].Name)
	case ok && len(a.In) == 1:
		at, t := 0, target{slot: a.In[0]}
		for i, n := range []int{a.Query * a.Dim, a.KeyValue * a.Dim, a.KeyValue * a.Dim} {
			t.pieces = append(t.pieces, piece{at, at + n, slices.Contains(c.matrices, "qkv"[i:i+1])})
			at += n
		}
		return []target{t}, nil
	}
	for i, key := range []string{"q", "k", "v"} {
		if slices.Contains(c.matrices, key) {
			list = append(list, whole(slots[i]))
		}
	}
	return list, nil
}

// changed counts the pieces that are changed and their columns.
func (t *target) changed() (n, columns int) {
	for _, p := range t.pieces {
		if p.changed {
			n++
			columns += p.hi - p.lo
		}
	}
	return n, columns
}

// veraShared are the frozen factors of all targets.
type veraShared struct {
	a, b    *peft.Buffer // [r, in], [out, r]
	in, out int
}

// shareVera makes the factors in the shape that the first target has.
func (c *hubLora) shareVera(b *hubBuilder, t target) *veraShared {
	in, out := t.slot.Dims()
	s := find(loraStarts, c.init)
	drawB := s.b
	if drawB == nil {
		drawB = s.a(c.rank)
	}
	at := b.tensors(b.path("shared_parameters") + "." + b.name + ".")
	return &veraShared{at.buffer("lora_A", s.a(in), c.rank, in), at.buffer("lora_B", drawB, out, c.rank), in, out}
}

// lowRank are the tensors of one target.
type lowRank struct {
	*hubLora
	target
	a, b   *nn.Param
	length *nn.Param // of DoRA, [out, 1]
	d, vb  *nn.Param // of VeRA
	shared *veraShared
	gate   dense // [T, in] -> [T, pieces that are changed], or nil
}

// at makes the tensors of one target.
func (c *hubLora) at(b *hubBuilder, t target, shared *veraShared) error {
	site, n, cols := b.bank.Site(t.slot), 0, 0
	if n, cols = t.changed(); n == 0 {
		return nil
	}
	if shared != nil && (shared.in != site.In || shared.out != site.Out || len(t.pieces) > 1) {
		return fmt.Errorf("adapter: vera_d and vera_b: %q is [%d, %d], want all targets [%d, %d]", t.slot.Name, site.Out, site.In, shared.out, shared.in)
	}
	x := &lowRank{hubLora: c, target: t, shared: shared}
	ts := b.tensors(t.slot.Name + ".loras." + b.name + ".")
	s := find(loraStarts, c.init)
	drawB := s.b
	if drawB == nil {
		drawB = s.a(c.rank)
	}
	switch {
	case c.mode == "scale":
		x.b = ts.param("lora_B", drawB, cols, 1)
	case shared != nil:
		x.vb, x.d = ts.param("vera_B", diagonal(c.b.value, site.Out), site.Out, site.Out), ts.param("vera_D", diagonal(c.d.value, c.rank), c.rank, c.rank)
	default:
		x.a, x.b = ts.param("lora_A", s.a(site.In), n*c.rank, site.In), ts.param("lora_B", drawB, cols, c.rank)
	}
	if c.dora {
		x.length = ts.param("m.weight", lengths(t.slot.Base), site.Out, 1)
	}
	if c.gated {
		x.gate = ts.linear("gate", n, site.In, tuner.Normal(0, 0.02))
	}
	site.Read(ts.all()...)
	placed := site.Place(&tuner.Layer{Apply: x.apply, Across: c.gated}, b.stream())
	idle := placed.Idle
	if c.gated {
		idle = func() bool { return false }
	} else {
		b.deltas = append(b.deltas, placed)
	}
	b.place(placed.Attach, placed.Detach, idle)
	return nil
}

// diagonal is v on the diagonal of [n, n].
func diagonal(v float64, n int) tuner.Draw {
	return func(x []float32, _ *rand.Rand) {
		for i := range n {
			x[i*n+i] = float32(v)
		}
	}
}

// lengths are those of the rows of a weight [out, in].
func lengths(f *layer.Frozen) tuner.Draw {
	return func(x []float32, _ *rand.Rand) {
		sums, row := make([]float64, len(x)), make([]float32, f.W.Cols)
		for i := range f.W.Rows {
			f.W.Row(row, i)
			for j, v := range row {
				at := i
				if f.Transposed {
					at = j
				}
				sums[at] += float64(v) * float64(v)
			}
		}
		for i, s := range sums {
			x[i] = float32(math.Sqrt(s))
		}
	}
}

// apply is what the projection then computes.
func (x *lowRank) apply(c *tuner.Call, in *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
	y := base(in)
	if x.mode == "scale" {
		return x.scaled(c, in, y)
	}
	add := x.added(c, c.Dropout(in, x.dropout))
	if x.gate != nil {
		add = c.Mul(add, x.gates(c, in))
	} else {
		add = scaled(c.Tape, float32(x.alpha)/float32(x.rank), add)
	}
	y = c.Add(y, 1, add)
	if x.length != nil {
		y = c.MulCols(y, x.stretch(c))
	}
	return y
}

// added is x·Aᵀ·Bᵀ, piece by piece.
func (x *lowRank) added(c *tuner.Call, in *tape.Node) *tape.Node {
	if x.shared != nil {
		return c.MatMulT(c.MatMulT(c.MatMulT(c.MatMulT(in, x.frozen(c, x.shared.a)), c.Param(x.d)), x.frozen(c, x.shared.b)), c.Param(x.vb))
	}
	a, b := c.Param(x.a), c.Param(x.b)
	var list []*tape.Node
	n, at := 0, 0
	for _, p := range x.pieces {
		w := p.hi - p.lo
		if !p.changed {
			list = append(list, c.Const(kernel.NewMat(make([]float32, in.Rows*w), in.Rows, w)))
			continue
		}
		list = append(list, c.MatMulT(c.MatMulT(in, c.Part(a, n*x.rank, (n+1)*x.rank, 0, a.Cols)), c.Part(b, at, at+w, 0, x.rank)))
		n, at = n+1, at+w
	}
	return c.Beside(list...)
}

func (x *lowRank) frozen(c *tuner.Call, b *peft.Buffer) *tape.Node {
	return c.Const(kernel.NewMat(b.Data, b.Shape[0], b.Shape[1]))
}

// spread says for each column that is written which of n numbers it has: of the pieces that are changed, one each or one for
// every column; negative for the others.
func (x *lowRank) spread(each bool) (from []int) {
	n, at := 0, 0
	for _, p := range x.pieces {
		for range p.hi - p.lo {
			switch {
			case !p.changed:
				from = append(from, -1)
			case each:
				from = append(from, at)
				at++
			default:
				from = append(from, n)
			}
		}
		if p.changed {
			n++
		}
	}
	return from
}

// gates are the gates of each row and column, [T, out]; 0 where nothing is changed.
func (x *lowRank) gates(c *tuner.Call, in *tape.Node) *tape.Node {
	g := segmentGates(c.Tape, c.Segments(), x.gate(c.Tape, in))
	cols := x.spread(false)
	from := make([]int, 0, in.Rows*len(cols))
	for t := range in.Rows {
		for _, k := range cols {
			if k >= 0 {
				k += t * g.Cols
			}
			from = append(from, k)
		}
	}
	return c.Gather(g, in.Rows, len(cols), from)
}

// scaled multiplies what the pieces write by B.
func (x *lowRank) scaled(c *tuner.Call, in, y *tape.Node) *tape.Node {
	from := x.spread(true)
	rest := kernel.NewMat(make([]float32, len(from)), 1, len(from))
	for i, k := range from {
		if k < 0 {
			rest.Data[i] = 1
		}
	}
	l := c.Add(c.Gather(c.Param(x.b), 1, len(from), from), 1, c.Const(rest))
	if x.gate == nil {
		return c.MulCols(y, scaled(c.Tape, float32(x.alpha), l))
	}
	g := x.gates(c, in)
	ones := kernel.NewMat(make([]float32, g.Rows*g.Cols), g.Rows, g.Cols)
	for t := range g.Rows {
		copy(ones.Row(t), rest.Data)
	}
	return c.Mul(c.MulCols(y, l), c.Add(g, 1, c.Const(ones)))
}

// stretch is m/‖W + B·A‖ of each column.
func (x *lowRank) stretch(c *tuner.Call) *tape.Node {
	var v *tape.Node
	if x.shared != nil {
		v = c.MatMul(c.MatMul(c.MatMul(c.Param(x.vb), x.frozen(c, x.shared.b)), c.Param(x.d)), x.frozen(c, x.shared.a))
	} else {
		v = c.MatMul(c.Param(x.b), c.Param(x.a))
	}
	v = c.Add(v, 1, c.Weight())
	ones := kernel.NewMat(make([]float32, v.Cols), v.Cols, 1)
	for i := range ones.Data {
		ones.Data[i] = 1
	}
	squares := c.MatMul(c.Mul(v, v), c.Const(ones))
	inverse := c.Map(squares, func(s float64) float64 { return 1 / math.Sqrt(s) }, func(s float64) float64 { return -0.5 / (s * math.Sqrt(s)) })
	return c.Mul(c.Param(x.length), inverse)
}
