package layer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

const (
	rows = 7
	in   = 5
	out  = 3
)

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// frozen is a projection of 5 inputs to 3 outputs, stored either way.
func frozen(rng *rand.Rand, transposed bool) *Frozen {
	r, c := out, in
	if transposed {
		r, c = in, out
	}
	return &Frozen{W: kernel.FrozenF32(normal(rng, r*c), r, c), Bias: normal(rng, out), Transposed: transposed}
}

func pass() *op.Pass {
	p := op.NewPass([]op.Segment{{End: rows}}, make([]int32, rows), kernel.ModeF32, op.NewArena())
	p.Grad = true
	return p
}

func forward(q op.Projection, x kernel.Mat) kernel.Mat {
	y := kernel.NewMat(make([]float32, rows*out), rows, out)
	q.Forward(pass(), y, op.NewInput(x))
	return y
}

// naive is x·Wᵀ + b in float64.
func naive(f *Frozen, x kernel.Mat) []float32 {
	w := make([][]float32, f.W.Rows)
	for i := range w {
		w[i] = make([]float32, f.W.Cols)
		f.W.Row(w[i], i)
	}
	var y []float32
	for t := range rows {
		for o := range out {
			sum := float64(f.Bias[o])
			for k := range in {
				if f.Transposed {
					sum += float64(x.Row(t)[k]) * float64(w[k][o])
				} else {
					sum += float64(x.Row(t)[k]) * float64(w[o][k])
				}
			}
			y = append(y, float32(sum))
		}
	}
	return y
}

// TestProjections holds frozen and trainable projections, stored either way, to the formula and to central differences.
func TestProjections(t *testing.T) {
	for _, transposed := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(1, 2))
		base := frozen(rng, transposed)
		x, dy := kernel.NewMat(normal(rng, rows*in), rows, in), kernel.NewMat(normal(rng, rows*out), rows, out)
		for name, q := range map[string]op.Projection{"frozen": base, "trainable": NewTrainable(base)} {
			t.Run(fmt.Sprintf("%s, transposed %v", name, transposed), func(t *testing.T) {
				if i, o := q.Dims(); i != in || o != out {
					t.Errorf("Dims() = %d, %d, want %d, %d", i, o, in, out)
				}
				check.Close(t, "y", forward(q, x).Data, naive(base, x), 1e-5, 1e-5) // float32 sums of 5 terms
				loss := func() (sum float64) {
					for i, v := range forward(q, x).Data {
						sum += float64(v) * float64(dy.Data[i])
					}
					return sum
				}
				dx := kernel.NewMat(slices.Repeat([]float32{1}, rows*in), rows, in) // what is there already stays
				q.Backward(pass(), dx, dy, op.NewInput(x), nil)
				for i := range dx.Data {
					dx.Data[i]--
				}
				check.Slope(t, "x", x.Data, dx.Data, rng, loss)
				for name, p := range q.Params() {
					check.Slope(t, name, op.Data(p), op.GradOf(p), rng, loss)
				}
			})
		}
	}
}

// TestTrainableIsACopy trains the copy and looks at the original.
func TestTrainableIsACopy(t *testing.T) {
	base := frozen(rand.New(rand.NewPCG(1, 2)), false)
	row, bias := make([]float32, in), slices.Clone(base.Bias)
	base.W.Row(row, 1)
	q := NewTrainable(base)
	for _, p := range q.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i]++
		}
	}
	after := make([]float32, in)
	if base.W.Row(after, 1); !slices.Equal(row, after) || !slices.Equal(bias, base.Bias) {
		t.Error("training the copy changed the base")
	}
	x := kernel.NewMat(make([]float32, rows*in), rows, in)
	if y := forward(q, x); y.Row(0)[0] != bias[0]+1 {
		t.Errorf("y = %g, want the trained bias %g", y.Row(0)[0], bias[0]+1)
	}
}

// TestTables looks rows up, frozen and trainable, and adds the gradients of ids that come again.
func TestTables(t *testing.T) {
	const num, dim = 5, 3
	w := kernel.FrozenF32(normal(rand.New(rand.NewPCG(1, 2)), num*dim), num, dim)
	trainable := NewTrainable(&Frozen{W: w})
	ids := []int32{4, 0, 4, 2}
	want := make([]float32, len(ids)*dim)
	for i, id := range ids {
		w.Row(want[i*dim:(i+1)*dim], int(id))
	}
	dy := kernel.NewMat([]float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, len(ids), dim)
	for name, table := range map[string]op.Lookup{"frozen": &Table{W: w}, "trainable": trainable} {
		if r, d := table.Size(); r != num || d != dim {
			t.Errorf("%s: Size() = %d, %d, want %d, %d", name, r, d, num, dim)
		}
		y := kernel.NewMat(make([]float32, len(ids)*dim), len(ids), dim)
		table.Look(pass(), y, ids)
		check.Close(t, name+": rows", y.Data, want, 0, 0)
		table.LookBackward(pass(), dy, ids)
	}
	check.Close(t, "gradient", op.GradOf(trainable.W), []float32{4, 5, 6, 0, 0, 0, 10, 11, 12, 0, 0, 0, 8, 10, 12}, 0, 0)
}

// TestParams checks names and order, and that nothing frozen has any.
func TestParams(t *testing.T) {
	names := func(params func(func(string, *nn.Param) bool)) (list []string) {
		for name := range params {
			list = append(list, name)
		}
		return list
	}
	base := frozen(rand.New(rand.NewPCG(1, 2)), false)
	if got := names(NewTrainable(base).Params()); !slices.Equal(got, []string{"weight", "bias"}) {
		t.Errorf("trainable: %q, want weight and bias", got)
	}
	for range NewTrainable(base).Params() {
		break // a walk may end early
	}
	base.Bias = nil
	if got := names(NewTrainable(base).Params()); !slices.Equal(got, []string{"weight"}) {
		t.Errorf("trainable without a bias: %q, want weight", got)
	}
	if got := append(names(base.Params()), names((&Table{base.W}).Params())...); len(got) > 0 {
		t.Errorf("frozen: %q, want nothing", got)
	}
}
