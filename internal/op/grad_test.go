package op_test

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// weight is a trainable projection of the plainest kind, for tests.
type weight struct{ w *nn.Param } // [out, in]

func newWeight(rng *rand.Rand, out, in int) *weight { return &weight{param(rng, out, in)} }

func param(rng *rand.Rand, rows, cols int) *nn.Param {
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32(rng.NormFloat64()) / 2
	}
	return op.NewParam(v, rows, cols)
}

func (l *weight) view() kernel.Mat { t := op.Of(l.w); return t.View() }

func (l *weight) Dims() (in, out int) { m := l.view(); return m.Cols, m.Rows }

func (l *weight) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	kernel.MatMul(y, x.Mat, l.view(), kernel.MatMulOpts{TransB: true})
	return nil
}

func (l *weight) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	w := l.view()
	kernel.MatMul(kernel.NewMat(op.GradOf(l.w), w.Rows, w.Cols), dy, x.Mat, kernel.MatMulOpts{TransA: true, Add: true})
	if dx.Rows > 0 {
		kernel.MatMul(dx, dy, w, kernel.MatMulOpts{Add: true})
	}
}

func (l *weight) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) { yield("weight", l.w) }
}

func (l *weight) Size() (rows, dim int) { m := l.view(); return m.Rows, m.Cols }

func (l *weight) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	for t, id := range ids {
		copy(y.Row(t), l.view().Row(int(id)))
	}
}

func (l *weight) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {
	m := l.view()
	g := kernel.NewMat(op.GradOf(l.w), m.Rows, m.Cols)
	for t, id := range ids {
		kernel.Add(g.Row(int(id)), dy.Row(t))
	}
}

// segments of 3 and 4 rows: T is 7.
var segments = []op.Segment{{Start: 0, End: 3}, {Start: 3, End: 7}}
var positions = []int32{0, 1, 2, 0, 1, 2, 3}

func newPass() *op.Pass {
	p := op.NewPass(segments, positions, kernel.ModeF32, op.NewArena())
	p.Grad = true
	return p
}

// operator is one row of the table: inputs are parameters, so that their gradients can be looked at.
type operator struct {
	name  string
	build func(rng *rand.Rand) (params []*nn.Param, run func(p *op.Pass) mat.Tensor)
}

const rows = 7

var heads = op.Heads{Query: 4, KeyValue: 2, Dim: 6}

// grouped has a layout of its own: query heads beside their key and value head.
var grouped = op.Heads{Query: 4, KeyValue: 2, Dim: 6, Grouped: true}

// activation is the row of an element-wise function.
func activation(a op.Activation) func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	return func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Activate(p, input(p, x), a) }
	}
}

func vector(p *nn.Param) *op.Vector { return &op.Vector{Value: op.Data(p), Param: p} }

// input passes a parameter through an embedding, so that the operator under test reads a value of the graph.
func input(p *op.Pass, x *nn.Param) mat.Tensor {
	ids := make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	return op.Embed(p, &weight{x}, ids)
}

// product is the formula x·W∘y.
type product struct{ w *nn.Param }

func (f *product) Params() []*nn.Param { return []*nn.Param{f.w} }

func (f *product) Forward(p *op.Pass, y kernel.Mat, x []kernel.Mat) any {
	kernel.MatMul(y, x[0], op.Of(f.w).View(), kernel.MatMulOpts{})
	for i := range y.Rows {
		kernel.Mul(y.Row(i), x[1].Row(i))
	}
	return nil
}

func (f *product) Backward(p *op.Pass, dx []kernel.Mat, dy kernel.Mat, x []kernel.Mat, _ any) {
	w, xw, d := op.Of(f.w).View(), kernel.NewMat(make([]float32, dy.Rows*dy.Cols), dy.Rows, dy.Cols), kernel.NewMat(make([]float32, dy.Rows*dy.Cols), dy.Rows, dy.Cols)
	kernel.MatMul(xw, x[0], w, kernel.MatMulOpts{})
	for i := range dy.Rows {
		kernel.AxpyMul(dx[1].Row(i), 1, dy.Row(i), xw.Row(i))
		kernel.AxpyMul(d.Row(i), 1, dy.Row(i), x[1].Row(i))
	}
	kernel.MatMul(dx[0], d, w, kernel.MatMulOpts{TransB: true, Add: true})
	kernel.MatMul(kernel.NewMat(op.GradOf(f.w), w.Rows, w.Cols), x[0], d, kernel.MatMulOpts{TransA: true, Add: true})
}

// prefixed is attention where each segment has the prefix of a number, 3 or 5 rows long, or none (−1).
func prefixed(h op.Heads, s op.AttentionSpec, first, second int) func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	return func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		wide := 4 * h.KeyValue * h.Dim // of two layers
		x, a, b := param(rng, rows, h.Columns()), param(rng, 3, wide), param(rng, 5, wide)
		return []*nn.Param{x, a, b}, func(p *op.Pass) mat.Tensor {
			list := []mat.Tensor{op.LookUp(p, op.Rows{Table: &weight{a}, IDs: []int32{0, 1, 2}}), op.LookUp(p, op.Rows{Table: &weight{b}, IDs: []int32{0, 1, 2, 3, 4}})}
			p.Prefixes = pick(list, first, second)
			return op.Attention(p, input(p, x), s)
		}
	}
}

// again is attention and a projection of which only the result is kept, with prefixes of the pass, twice; or that of attention, too.
func again(attended bool) func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	return func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		params, attend := prefixed(heads, op.AttentionSpec{Heads: heads, Causal: true, Scale: .7}, 0, 1)(rng)
		in, out := newWeight(rng, heads.Columns(), heads.Query*heads.Dim), newWeight(rng, 5, heads.Query*heads.Dim)
		return append(params, in.w, out.w), func(p *op.Pass) mat.Tensor {
			p.KeepAttention = attended
			x := attend(p)
			for layer, w := range []*weight{in, out} {
				x = op.Recompute(p, x, func(p *op.Pass, x mat.Tensor) mat.Tensor {
					x = op.Project(p, x, w)
					if layer == 0 {
						x = op.Attention(p, x, op.AttentionSpec{Heads: heads, Causal: true, Scale: .3, Prefix: 1})
					}
					return op.Activate(p, x, op.SiLU)
				})
			}
			return x
		}
	}
}

// behind is attention of two segments that come after the same one, with a window or without.
func behind(h op.Heads, s op.AttentionSpec) func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	return func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, h.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			p.Segments = []op.Segment{{End: 3}, {Start: 3, End: 5, After: 1}, {Start: 5, End: 7, After: 1}}
			return op.Attention(p, input(p, x), s)
		}
	}
}

// across is attention of two segments to sources of 2 and 5 rows, in the upper of two layers.
func across(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	q, m := param(rng, rows, heads.Query*heads.Dim), param(rng, rows, 4*heads.KeyValue*heads.Dim)
	return []*nn.Param{q, m}, func(p *op.Pass) mat.Tensor {
		p.Memory, p.Sources = input(p, m), []op.Segment{{End: 2}, {Start: 2, End: 7}}
		return op.Attention(p, input(p, q), op.AttentionSpec{Heads: heads, Scale: .7, Cross: true, Layer: 1})
	}
}

// distant is attention whose scores have a term from a table of three kinds of distances.
func distant(s op.AttentionSpec) func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	return func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, table := param(rng, rows, heads.Columns()), param(rng, 3, heads.Query)
		return []*nn.Param{x, table}, func(p *op.Pass) mat.Tensor {
			s := s
			s.Distances = op.LookUp(p, op.Rows{Table: &weight{table}, IDs: []int32{0, 1, 2}})
			s.Row = func(d int) int { return min(max(d+1, 0), 2) }
			return op.Attention(p, input(p, x), s)
		}
	}
}

// pick lists elements of a list by number, nil for −1.
func pick(list []mat.Tensor, numbers ...int) []mat.Tensor {
	out := make([]mat.Tensor, len(numbers))
	for i, n := range numbers {
		if n >= 0 {
			out[i] = list[n]
		}
	}
	return out
}

// recalled is recall where each segment has the memory of a number, or none (−1).
func recalled(h op.Heads, numbers ...int) func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
	return func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		step := h.Dim + 1
		wide := 2 * h.KeyValue * step
		x := param(rng, rows, h.Columns())
		kv, gates := []*nn.Param{param(rng, 3, wide), param(rng, 5, wide)}, []*nn.Param{param(rng, 1, 1), param(rng, 1, 1)}
		return append(append([]*nn.Param{x}, kv...), gates...), func(p *op.Pass) mat.Tensor {
			memories := []*op.Memory{
				{KV: op.LookUp(p, op.Rows{Table: &weight{kv[0]}, IDs: []int32{0, 1, 2}}), Values: h.KeyValue * step, Step: step, Gate: gates[0]},
				{KV: op.LookUp(p, op.Rows{Table: &weight{kv[1]}, IDs: []int32{0, 1, 2, 3, 4}}), Keys: h.KeyValue * step, Step: step, Gate: gates[1]}}
			list := make([]*op.Memory, len(numbers))
			for i, n := range numbers {
				if n >= 0 {
					list[i] = memories[n]
				}
			}
			return op.Recall(p, input(p, x), h, .7, list)
		}
	}
}

var operators = []operator{
	{"embed with repeated ids", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		w := newWeight(rng, 5, 3)
		return []*nn.Param{w.w}, func(p *op.Pass) mat.Tensor { return op.Embed(p, w, []int32{1, 4, 1, 0, 2, 1, 3}) }
	}},
	{"rms norm", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, w := param(rng, rows, 5), param(rng, 1, 5)
		return []*nn.Param{x, w}, func(p *op.Pass) mat.Tensor { return op.RMSNorm(p, input(p, x), vector(w), 1e-5) }
	}},
	{"rms norm with a shifted weight", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, w := param(rng, rows, 5), param(rng, 1, 5)
		return []*nn.Param{x, w}, func(p *op.Pass) mat.Tensor {
			return op.Normalize(p, input(p, x), op.Norm{Weight: vector(w), Plus: 1, Eps: 1e-5})
		}
	}},
	{"layer norm", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, w, b := param(rng, rows, 5), param(rng, 1, 5), param(rng, 1, 5)
		return []*nn.Param{x, w, b}, func(p *op.Pass) mat.Tensor {
			return op.Normalize(p, input(p, x), op.Norm{Kind: op.Center, Weight: vector(w), Bias: vector(b), Eps: 1e-5})
		}
	}},
	{"layer norm of two parts, one without a weight", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, w, b := param(rng, rows, 13), param(rng, 1, 3), param(rng, 1, 5)
		return []*nn.Param{x, w, b}, func(p *op.Pass) mat.Tensor {
			return op.NormalizeParts(p, input(p, x), op.Part{Norm: op.Norm{Kind: op.Center, Weight: vector(w), Eps: 1e-3}, At: 1, Width: 3, Count: 2},
				op.Part{Norm: op.Norm{Kind: op.Center, Bias: vector(b), Eps: 1e-3}, At: 7, Width: 5, Count: 1})
		}
	}},
	{"embeddings and positions, scaled", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		w, q := newWeight(rng, 5, 3), newWeight(rng, 7, 3)
		return []*nn.Param{w.w, q.w}, func(p *op.Pass) mat.Tensor {
			return op.EmbedSum(p, 1.7, op.Rows{Table: w, IDs: []int32{1, 4, 1, 0, 2, 1, 3}}, op.Rows{Table: q, IDs: []int32{2, 3, 4, 2, 3, 4, 5}})
		}
	}},
	{"sum, scaled, and a fork", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, a, b := param(rng, rows, 5), newWeight(rng, 5, 5), newWeight(rng, 5, 5)
		return []*nn.Param{x, a.w, b.w}, func(p *op.Pass) mat.Tensor {
			h := input(p, x)
			k := op.Fork(p, h)
			return op.ProjectAdd(p, op.Project(p, h, a), b, op.Add(p, k, op.Activate(p, op.Project(p, k, b), op.GELU), .7))
		}
	}},
	{"three projections side by side", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, a, b, c := param(rng, rows, 5), newWeight(rng, 3, 5), newWeight(rng, 2, 5), newWeight(rng, 11, 5)
		return []*nn.Param{x, a.w, b.w, c.w}, func(p *op.Pass) mat.Tensor { return op.Project(p, input(p, x), a, b, c) }
	}},
	{"projection with residual", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, r, a := param(rng, rows, 5), param(rng, rows, 3), newWeight(rng, 3, 5)
		return []*nn.Param{x, r, a.w}, func(p *op.Pass) mat.Tensor { return op.ProjectAdd(p, input(p, x), a, input(p, r)) }
	}},
	{"head norm", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, q, k := param(rng, rows, heads.Columns()), param(rng, 1, heads.Dim), param(rng, 1, heads.Dim)
		return []*nn.Param{x, q, k}, func(p *op.Pass) mat.Tensor {
			return op.NormalizeParts(p, input(p, x), op.Part{Norm: op.Norm{Weight: vector(q), Eps: 1e-5}, Width: heads.Dim, Count: heads.Query},
				op.Part{Norm: op.Norm{Weight: vector(k), Eps: 1e-5}, At: heads.Query * heads.Dim, Width: heads.Dim, Count: heads.KeyValue})
		}
	}},
	{"rotary, part of a head, scaled", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, heads.Columns())
		r := &op.Rope{Frequencies: []float64{1, .3}, Scale: 1.2}
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Rotary(p, input(p, x), heads, r.Angles(p)) }
	}},
	{"attention", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, heads.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: heads, Causal: true, Scale: .7})
		}
	}},
	{"rotary, neighbours, groups of heads", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, grouped.Columns())
		r := &op.Rope{Frequencies: []float64{1, .3}, Scale: 1, Interleaved: true}
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Rotary(p, input(p, x), grouped, r.Angles(p)) }
	}},
	{"attention, groups of heads, biased", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, grouped.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: grouped, Causal: true, Scale: .7, Bias: op.NewALiBi(4)})
		}
	}},
	{"attention, both ways, capped", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, heads.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: heads, Scale: .7, SoftCap: 1.1})
		}
	}},
	{"attention, both ways in a window of 2", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, heads.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: heads, Scale: .7, Window: 2, SoftCap: 3, Bias: op.NewALiBi(4)})
		}
	}},
	{"attention in a window of 2", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, heads.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: heads, Causal: true, Scale: .7, Window: 2})
		}
	}},
	{"attention by content and distance", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		h := op.Heads{Query: 3, KeyValue: 3, Dim: 2}
		x, r := param(rng, rows, h.Columns()), newWeight(rng, rows, 12)
		return []*nn.Param{x, r.w}, func(p *op.Pass) mat.Tensor {
			return op.Disentangled(p, input(p, x), op.Embed(p, r, []int32{0, 1, 2, 3, 4}), op.DisentangledSpec{Heads: h, Scale: .7, Keys: true, Queries: true,
				DistanceRows: func(d int) int { return min(max(d+2, 0), 4) }})
		}
	}},
	{"attention by content and distance, stacked", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		h := op.Heads{Query: 3, KeyValue: 3, Dim: 2}
		x, r := param(rng, rows, h.Columns()), newWeight(rng, rows, h.Columns())
		return []*nn.Param{x, r.w}, func(p *op.Pass) mat.Tensor {
			rel := op.LookUp(p, op.Rows{Table: r, IDs: []int32{0, 1, 2, 3, 4}})
			return op.Disentangled(p, op.Stack(p, input(p, x), rel), nil, op.DisentangledSpec{Heads: h, Scale: .7, Keys: true, Queries: true,
				DistanceRows: func(d int) int { return min(max(d+2, 0), 4) }})
		}
	}},
	{"attention by content and keys' distance", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		h := op.Heads{Query: 3, KeyValue: 3, Dim: 2}
		x, r := param(rng, rows, h.Columns()), newWeight(rng, rows, 6)
		return []*nn.Param{x, r.w}, func(p *op.Pass) mat.Tensor {
			return op.Disentangled(p, input(p, x), op.Embed(p, r, []int32{0, 1, 2, 3, 4}), op.DisentangledSpec{Heads: h, Scale: .7, Queries: true,
				DistanceRows: func(d int) int { return min(max(d+2, 0), 4) }})
		}
	}},
	{"gate", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 10)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Gate(p, input(p, x), op.SiLU) }
	}},
	{"gate put together", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 10)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Gate(p, input(p, x), op.GELUTanh) }
	}},
	{"results alone kept, the rest computed again", again(false)},
	{"results of blocks and of attention kept, the rest computed again", again(true)},
	{"rows put where they are", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			return op.Spread(p, op.Take(p, input(p, x), []int{1, 2, 5}), []int{0, 4, 6}, 8)
		}
	}},
	{"attention behind a beginning that two share", behind(heads, op.AttentionSpec{Heads: heads, Causal: true, Scale: .7})},
	{"attention behind a shared beginning within a window, heads in groups", behind(grouped, op.AttentionSpec{Heads: grouped, Causal: true, Scale: .7, Window: 3})},
	{"attention with prefixes of two lengths", prefixed(heads, op.AttentionSpec{Heads: heads, Causal: true, Scale: .7, Prefix: 1}, 0, 1)},
	{"attention across to a source", across},
	{"attention with a table of distances, both ways", distant(op.AttentionSpec{Heads: heads, Scale: .7})},
	{"attention with a table of distances, causal, capped", distant(op.AttentionSpec{Heads: heads, Causal: true, Scale: .7, SoftCap: 1.1})},
	{"attention with one prefix, groups of heads, biased, in a window", prefixed(grouped, op.AttentionSpec{Heads: grouped, Causal: true, Scale: .7, Window: 4, Bias: op.NewALiBi(4)}, 0, 0)},
	{"attention with a prefix of the second segment, both ways", prefixed(heads, op.AttentionSpec{Heads: heads, Scale: .7, SoftCap: 1.1}, -1, 1)},
	{"attention with a prefix of each segment in one value", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, pre := param(rng, rows, heads.Columns()), param(rng, 2*2, 2*heads.KeyValue*heads.Dim)
		return []*nn.Param{x, pre}, func(p *op.Pass) mat.Tensor {
			v := op.LookUp(p, op.Rows{Table: &weight{pre}, IDs: []int32{0, 1, 2, 3}})
			p.Prefixes = []mat.Tensor{v, v}
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: heads, Scale: .7, Layer: 3, Stacked: 2})
		}
	}},
	{"attention with padding", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, heads.Columns())
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			p.Segments = []op.Segment{{End: 3, Pads: 1}, {Start: 3, End: 7, Pads: 2}}
			return op.Attention(p, input(p, x), op.AttentionSpec{Heads: heads, Scale: .7})
		}
	}},
	{"a formula", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, y, w := param(rng, rows, 3), param(rng, rows, 5), param(rng, 3, 5)
		return []*nn.Param{x, y, w}, func(p *op.Pass) mat.Tensor { return op.Compute(p, &product{w}, rows, 5, input(p, x), input(p, y)) }
	}},
	{"two attentions with parts of one prefix", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, pre := param(rng, rows, heads.Columns()), param(rng, 3, 4*heads.KeyValue*heads.Dim)
		w := newWeight(rng, heads.Columns(), heads.Query*heads.Dim)
		return []*nn.Param{x, pre, w.w}, func(p *op.Pass) mat.Tensor {
			e := op.LookUp(p, op.Rows{Table: &weight{pre}, IDs: []int32{0, 1, 2}})
			p.Prefixes = []mat.Tensor{e, e}
			s := op.AttentionSpec{Heads: heads, Causal: true, Scale: .7}
			y := op.Attention(p, input(p, x), s)
			s.Layer = 1
			return op.Attention(p, op.Project(p, y, w), s)
		}
	}},
	{"rows put before segments, and rows taken", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, a, b := param(rng, rows, 5), param(rng, 2, 5), param(rng, 3, 5)
		return []*nn.Param{x, a, b}, func(p *op.Pass) mat.Tensor {
			first := []mat.Tensor{op.LookUp(p, op.Rows{Table: &weight{a}, IDs: []int32{0, 1}}), op.LookUp(p, op.Rows{Table: &weight{b}, IDs: []int32{0, 1, 2}})}
			return op.Take(p, op.Insert(p, input(p, x), first, 1.3), []int{0, 1, 3, 4, 11, 7, 6})
		}
	}},
	{"one row put before all segments", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, a := param(rng, rows, 5), param(rng, 2, 5)
		return []*nn.Param{x, a}, func(p *op.Pass) mat.Tensor {
			e := op.LookUp(p, op.Rows{Table: &weight{a}, IDs: []int32{1}})
			return op.Insert(p, input(p, x), []mat.Tensor{e, e}, 1)
		}
	}},
	{"rows put in the place of others", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, part := param(rng, rows, 5), param(rng, 3, 5)
		return []*nn.Param{x, part}, func(p *op.Pass) mat.Tensor {
			return op.Place(p, input(p, x), op.LookUp(p, op.Rows{Table: &weight{part}, IDs: []int32{0, 1, 2}}), []int{5, 0, 3})
		}
	}},
	{"recall of one memory by both segments", recalled(heads, 0, 0)},
	{"recall by the second segment, groups of heads", recalled(grouped, -1, 0)},
	{"recall of two memories", recalled(heads, 0, 1)},
	{"LSTM in both directions", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		way := func() op.LSTM {
			return op.LSTM{In: param(rng, 12, 5), Hidden: param(rng, 12, 3), InBias: param(rng, 1, 12), HiddenBias: param(rng, 1, 12)}
		}
		a, b := way(), way()
		return []*nn.Param{x, a.In, a.Hidden, a.InBias, a.HiddenBias, b.In, b.Hidden, b.InBias, b.HiddenBias}, func(p *op.Pass) mat.Tensor {
			return op.BiLSTM(p, input(p, x), a, b)
		}
	}},
	{"dropout", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor {
			p.Train, p.Seed = true, 7
			return op.Dropout(p, input(p, x), .3, 1)
		}
	}},
	{"tanh", activation(op.Tanh)},
	{"silu", activation(op.SiLU)},
	{"gelu", activation(op.GELU)},
	{"gelu with tanh", activation(op.GELUTanh)},
	{"tanh", activation(op.Tanh)},
	{"picked rows, one twice", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Gather(p, input(p, x), []int{3, 0, 3}) }
	}},
	{"neighbours", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.Neighbours(p, input(p, x), 3) }
	}},
	{"means of segments", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x := param(rng, rows, 5)
		return []*nn.Param{x}, func(p *op.Pass) mat.Tensor { return op.SegmentMean(p, input(p, x)) }
	}},
	{"mixture of three experts, the best two", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, r := param(rng, rows, 5), newWeight(rng, 3, 5)
		for i := range op.Data(r.w) {
			op.Data(r.w)[i] *= 3 // no two logits so close that a small step swaps them
		}
		params, s := []*nn.Param{x, r.w}, op.MixtureSpec{Router: r, TopK: 2, Activation: op.SiLU}
		for range 3 {
			g, u, d := newWeight(rng, 2, 5), newWeight(rng, 2, 5), newWeight(rng, 5, 2)
			params, s.Experts = append(params, g.w, u.w, d.w), append(s.Experts, op.Expert{Gate: g, Up: u, Down: d})
		}
		return params, func(p *op.Pass) mat.Tensor { return op.Mixture(p, input(p, x), s) }
	}},
	{"norm, projections, rotary, attention, projection, gate in a row", func(rng *rand.Rand) ([]*nn.Param, func(p *op.Pass) mat.Tensor) {
		x, w, q := param(rng, rows, 5), param(rng, 1, 5), newWeight(rng, heads.Columns(), 5)
		o, g := newWeight(rng, 5, heads.Query*heads.Dim), newWeight(rng, 6, 5)
		r := &op.Rope{Frequencies: []float64{1, .5, .2}, Scale: 1}
		return []*nn.Param{x, w, q.w, o.w, g.w}, func(p *op.Pass) mat.Tensor {
			h := input(p, x)
			y := op.Rotary(p, op.Project(p, op.RMSNorm(p, h, vector(w), 1e-5), q), heads, r.Angles(p))
			h = op.ProjectAdd(p, op.Attention(p, y, op.AttentionSpec{Heads: heads, Causal: true, Scale: .5}), o, h)
			return op.Gate(p, op.Project(p, h, g), op.SiLU)
		}
	}},
}

// run computes Σ c∘y for fixed numbers c, and if asked the gradients of all parameters.
func run(params []*nn.Param, build func(p *op.Pass) mat.Tensor, grad bool) (sum float64, grads [][]float32) {
	p := newPass()
	y := build(p)
	v := op.Of(y)
	c := p.Arena.NewTensor(v.View().Rows, v.View().Cols)
	for i := range c.Values() {
		c.Values()[i] = float32(math.Sin(float64(3*i + 1)))
		sum += float64(c.Values()[i]) * float64(v.Values()[i])
	}
	if !grad {
		return sum, nil
	}
	for _, q := range params {
		q.ZeroGrad()
	}
	y.AccGrad(c)
	if err := ag.Backward(y); err != nil {
		panic(err)
	}
	for _, q := range params {
		grads = append(grads, slices.Clone(op.GradOf(q)))
	}
	return sum, grads
}

func TestGradients(t *testing.T) {
	for _, o := range operators {
		t.Run(o.name+" matches central differences", func(t *testing.T) {
			params, build := o.build(rand.New(rand.NewPCG(1, 2)))
			_, grads := run(params, build, true)
			for k, q := range params {
				compare(t, fmt.Sprintf("parameter %d", k), op.Data(q), grads[k], func() float64 { s, _ := run(params, build, false); return s })
			}
		})
	}
}

// compare holds a gradient against (f(x+h) − f(x−h)) / 2h.
func compare(t *testing.T, what string, x, grad []float32, f func() float64) {
	t.Helper()
	const h = 1e-2
	for i := range x {
		keep := x[i]
		x[i] = keep + h
		up := f()
		x[i] = keep - h
		down := f()
		x[i] = keep
		want := (up - down) / (2 * h)
		// float32 values of size 1 over a difference of 2e-2, and h² times the third derivative.
		if d := math.Abs(want - float64(grad[i])); d > 3e-3+5e-3*math.Abs(want) {
			t.Errorf("%s[%d]: gradient %g, central difference %g", what, i, grad[i], want)
		}
	}
}

func TestCrossEntropy(t *testing.T) {
	targets := []int32{3, op.Ignore, 0, 5, op.Ignore, 1, 5}
	weights := []float32{1, 9, .5, 2, 9, 1, .25}
	for _, smoothing := range []float64{0, .1} {
		t.Run(fmt.Sprintf("gradients match central differences with smoothing %g", smoothing), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, 6))
			x, head := param(rng, rows, 5), newWeight(rng, 7, 5)
			params := []*nn.Param{x, head.w}
			loss := func(grad bool) float64 {
				for _, q := range params {
					q.ZeroGrad() // the head's gradients are added while the loss is computed
				}
				p := newPass()
				p.Grad = grad
				y, sums := op.CrossEntropy(p, input(p, x), head, op.CrossEntropySpec{Targets: targets, Weights: weights, Scale: .3, Smoothing: smoothing})
				if sums.Targets != 5 || math.Abs(sums.Weight-4.75) > 1e-9 {
					t.Fatalf("sums %+v, want 5 targets of weight 4.75", sums)
				}
				if grad {
					if err := ag.Backward(y); err != nil {
						t.Fatal(err)
					}
				}
				return .3 * sums.Loss
			}
			loss(true)
			var grads [][]float32
			for _, q := range params {
				grads = append(grads, slices.Clone(op.GradOf(q)))
			}
			for k, q := range params {
				compare(t, fmt.Sprintf("parameter %d", k), op.Data(q), grads[k], func() float64 { return loss(false) })
			}
		})
	}
}

// TestScoreCap checks the gradients through a head whose logits are scaled and capped.
func TestScoreCap(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	x, head := param(rng, rows, 5), newWeight(rng, 7, 5)
	params := []*nn.Param{x, head.w}
	loss := func(grad bool) float64 {
		for _, q := range params {
			q.ZeroGrad() // the head's gradients are added while the loss is computed
		}
		p := newPass()
		p.Grad = grad
		y, sums := op.CrossEntropy(p, input(p, x), &op.Score{Projection: head, Scale: 1.3, Cap: 1.5},
			op.CrossEntropySpec{Targets: []int32{3, op.Ignore, 0, 5, 2, 1, 5}, Scale: .3})
		if grad {
			if err := ag.Backward(y); err != nil {
				t.Fatal(err)
			}
		}
		return .3 * sums.Loss
	}
	loss(true)
	grads := [][]float32{slices.Clone(op.GradOf(x)), slices.Clone(op.GradOf(head.w))}
	for k, q := range params {
		compare(t, fmt.Sprintf("parameter %d", k), op.Data(q), grads[k], func() float64 { return loss(false) })
	}
}

// TestALiBi checks the slopes of a number of heads that is no power of two, as the authors' code gives them.
func TestALiBi(t *testing.T) {
	want := []float32{0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125}
	if got := op.NewALiBi(6).Slopes; !slices.Equal(got, want) {
		t.Errorf("NewALiBi(6).Slopes = %v, want %v", got, want)
	}
}

// TestSegments checks that rows of one segment know nothing of another.
func TestSegments(t *testing.T) {
	params, build := operators[len(operators)-1].build(rand.New(rand.NewPCG(3, 4)))
	before := slices.Clone(op.Of(build(newPass())).Values())
	x := op.Data(params[0])
	for i := range 3 * 5 { // the first segment
		x[i] += 1
	}
	after := op.Of(build(newPass())).Values()
	n := len(before) / rows
	if !slices.Equal(before[3*n:], after[3*n:]) {
		t.Error("the second segment changed with the first")
	}
	if slices.Equal(before[:3*n], after[:3*n]) {
		t.Error("the first segment did not change with its input")
	}
}

// TestThreads checks that results and gradients have the same bits for every GOMAXPROCS.
func TestThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, o := range operators {
		var sum float64
		var grads [][]float32
		for i, n := range []int{1, 2, 4} {
			runtime.GOMAXPROCS(n)
			params, build := o.build(rand.New(rand.NewPCG(1, 2)))
			s, g := run(params, build, true)
			if i == 0 {
				sum, grads = s, g
				continue
			}
			if s != sum {
				t.Errorf("%s: result differs with %d threads", o.name, n)
			}
			for k := range g {
				if !slices.Equal(g[k], grads[k]) {
					t.Errorf("%s: gradient %d differs with %d threads", o.name, k, n)
				}
			}
		}
	}
}

// TestArena checks that a second pass of the same shape allocates no new buffers and that nothing stays out.
func TestArena(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // workers take scratch of their own
	_, build := operators[len(operators)-1].build(rand.New(rand.NewPCG(3, 4)))
	arena := op.NewArena()
	step := func() {
		p := op.NewPass(segments, positions, kernel.ModeF32, arena)
		p.Grad = true
		y := build(p)
		c := arena.NewTensor(rows, 3)
		copy(c.Values(), op.Of(y).Values())
		y.AccGrad(c)
		if err := ag.Backward(y); err != nil {
			t.Fatal(err)
		}
		arena.Reset()
	}
	step()
	peak := arena.PeakBytes()
	for range 3 {
		step()
	}
	if arena.PeakBytes() != peak {
		t.Errorf("peak grew from %d to %d bytes", peak, arena.PeakBytes())
	}
}
