package lora

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"gonum.org/v1/gonum/mat"
)

// samples are rows of tokens for a model of 23.
var samples = [][]int32{{3, 1, 4, 1, 5, 9, 2, 6}, {5, 3, 5, 8, 9, 7, 9, 3}, {2, 3, 8, 4, 6, 2, 6, 4}, {22, 11, 17, 0, 13, 19, 21, 10}}

// passing passes the samples through a model.
func passing(m layer.Model) error {
	for _, tokens := range samples {
		m.(*model.Model).Hidden(op.NewPass([]op.Segment{{End: len(tokens)}}, positions(len(tokens)), kernel.ModeF32, op.NewArena()), tokens)
	}
	return nil
}

func positions(n int) (list []int32) {
	for i := range n {
		list = append(list, int32(i))
	}
	return list
}

// inputsOf are the rows that pass into a slot.
type inputsOf struct {
	op.Projection
	rows *[]float32
}

// Forward implements op.Projection.
func (o *inputsOf) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	for t := range x.Rows {
		*o.rows = append(*o.rows, x.Row(t)...)
	}
	return o.Projection.Forward(p, y, x)
}

// seen are the inputs [T, in] of the slots while samples pass.
func seen(t *testing.T, m *model.Model, names ...string) map[string]*mat.Dense {
	t.Helper()
	all := map[string]*[]float32{}
	var undo []func()
	for s := range m.Slots() {
		if slices.Contains(names, s.Name) {
			was := s.Projection
			all[s.Name] = new([]float32)
			s.Projection = &inputsOf{was, all[s.Name]}
			undo = append(undo, func() { s.Projection = was })
		}
	}
	if err := passing(m); err != nil {
		t.Fatal(err)
	}
	for _, f := range undo {
		f()
	}
	out := map[string]*mat.Dense{}
	for s := range m.Slots() {
		if rows, ok := all[s.Name]; ok {
			in, _ := s.Dims()
			out[s.Name] = linalg.Dense(kernel.NewMat(*rows, len(*rows)/in, in))
		}
	}
	return out
}

const someSlot, otherSlot = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"

// TestEVA: the rows of A are orthonormal, and no other subspace of their number catches more of the inputs' variance.
func TestEVA(t *testing.T) {
	m := tiny(t, false)
	c := New()
	c.Init, c.Rank, c.Alpha, c.EVA.Rho, c.TargetModules.List, c.Sample = "eva", 3, 7, 1, []string{"q_proj", "down_proj"}, passing
	a, err := c.Attach(m, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	params := map[string]kernel.Mat{}
	for name, p := range a.Params() {
		params[name] = op.Of(p).View()
	}
	a.Detach()
	for name, x := range seen(t, m, someSlot, otherSlot) {
		wa, wb := params[peft.Prefix+name+".lora_A.weight"], params[peft.Prefix+name+".lora_B.weight"]
		if !zero(wb.Data) {
			t.Errorf("%s: B is not zero", name)
		}
		gram := kernel.NewMat(make([]float32, 9), 3, 3)
		kernel.MatMul(gram, wa, wa, kernel.MatMulOpts{TransB: true})
		check.Close(t, name+": A·Aᵀ", gram.Data, []float32{1, 0, 0, 0, 1, 0, 0, 0, 1}, 1e-5, 0)
		centre(x)
		var svd mat.SVD
		svd.Factorize(x, mat.SVDThin)
		best := 0.0
		for _, s := range svd.Values(nil)[:3] {
			best += s * s
		}
		var caught mat.Dense
		caught.Mul(x, linalg.Dense(wa).T())
		if got := mat.Norm(&caught, 2); math.Abs(got*got-best) > 1e-4*best {
			t.Errorf("%s: A catches %g of the variance, want %g", name, got*got, best)
		}
	}
}

// centre takes the mean out of every column.
func centre(x *mat.Dense) {
	rows, cols := x.Dims()
	for j := range cols {
		mean := mat.Sum(x.ColView(j)) / float64(rows)
		for i := range rows {
			x.Set(i, j, x.At(i, j)-mean)
		}
	}
}

// TestEVARanks: ranks go where they explain most, their sum stays, the scale of every module stays, and the settings say all of it.
func TestEVARanks(t *testing.T) {
	m := tiny(t, false)
	c := New()
	c.Init, c.Rank, c.Alpha, c.TargetModules.Pattern, c.Sample = "eva", 2, 7, peft.AllLinear, passing
	a, err := c.Attach(m, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0, 0
	for s := range m.Slots() {
		if s.Kind == layer.Linear {
			n++
		}
	}
	different := map[int]bool{}
	for _, p := range a.(*Adapter).parts {
		l := p.(*Projection)
		sum += l.rank
		different[l.rank] = true
		if math.Abs(float64(l.scale)-3.5) > 1e-6 {
			t.Errorf("%s: scale %g, want 3.5", l.slot.Name, l.scale)
		}
		if l.rank > 4 {
			t.Errorf("%s: rank %d, want at most rho·r = 4", l.slot.Name, l.rank)
		}
	}
	if sum != 2*n || len(different) < 2 {
		t.Errorf("ranks of sum %d, %d different ones, want the sum %d and some", sum, len(different), 2*n)
	}
	dir := filepath.Join(t.TempDir(), "a")
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += 0.01
		}
	}
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	if _, _, err := peft.Load(dir, tiny(t, false), []peft.Method{Method}, peft.Allow{}); err != nil {
		t.Errorf("what was saved does not load: %v", err)
	}
}

// TestCorDA: what the branch takes is the part of W of its rank that its inputs use most (ipm) or least (kpm), and the model begins as it
// was.
func TestCorDA(t *testing.T) {
	for _, method := range []string{"ipm", "kpm"} {
		m := tiny(t, false)
		before := passed(m)
		c := New()
		c.Init, c.Rank, c.Alpha, c.CorDA.Method, c.TargetModules.List, c.Sample = "corda", 3, 7, method, []string{"q_proj", "down_proj"}, passing
		a, err := c.Attach(m, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		check.Close(t, method+": hidden states", passed(m), before, 2e-5, 1e-5) // W − s·B·A and s·B·A round apart
		parts := map[string]*Projection{}
		for _, p := range a.(*Adapter).parts {
			parts[p.place().Name] = p.(*Projection)
		}
		a.Detach()
		for name, x := range seen(t, m, someSlot, otherSlot) {
			l := parts[name]
			rows, in := x.Dims()
			var second mat.Dense
			second.Mul(x.T(), x)
			second.Scale(1/float64(rows), &second)
			mean := mat.Trace(&second) / float64(in)
			for i := range in {
				second.Set(i, i, second.At(i, i)+0.01*mean)
			}
			var wc, taken, got mat.Dense
			wc.Mul(linalg.Dense(weightOf(l.slot.Base)), &second)
			taken.Mul(linalg.Dense(op.Of(l.B).View()), linalg.Dense(op.Of(l.A).View()))
			taken.Scale(float64(l.scale), &taken)
			got.Mul(&taken, &second)
			f, err := linalg.Thin(&wc)
			if err != nil {
				t.Fatal(err)
			}
			if method == "kpm" {
				f = directions(f, len(f.S)-3, len(f.S))
			} else {
				f = directions(f, 0, 3)
			}
			var scaled, want mat.Dense
			scaled.Mul(f.U, mat.NewDiagDense(3, f.S))
			want.Mul(&scaled, f.V.T())
			got.Sub(&got, &want)
			if d := mat.Norm(&got, 2); d > 1e-4*mat.Norm(&wc, 2) { // factors are float32
				t.Errorf("%s: %s: what is taken, as its inputs see it, is %g off, of %g", method, name, d, mat.Norm(&wc, 2))
			}
		}
	}
}

// passed are the hidden states of the samples.
func passed(m *model.Model) (all []float32) {
	for _, tokens := range samples {
		all = append(all, op.Of(m.Hidden(op.NewPass([]op.Segment{{End: len(tokens)}}, positions(len(tokens)), kernel.ModeF32, op.NewArena()), tokens)).Values()...)
	}
	return all
}

// TestInitialisersNeedSamples: without them they say so, and a model is as before.
func TestInitialisersNeedSamples(t *testing.T) {
	for _, name := range []string{"eva", "corda"} {
		m := tiny(t, false)
		c := New()
		c.Init, c.Rank, c.TargetModules.List = name, 2, []string{"q_proj"}
		if _, err := c.Attach(m, rand.New(rand.NewPCG(1, 2))); err == nil || !strings.Contains(err.Error(), "there are no samples to pass") {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
}

// TestNormalFloats compares with the values of bitsandbytes' NF4.
func TestNormalFloats(t *testing.T) {
	want := []float32{-1, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0, 0.07958030, 0.16093020, 0.24611230, 0.33791524,
		0.44070983, 0.56261700, 0.72295684, 1}
	check.Close(t, "NF4", normalFloats(4), want, 2e-6, 0)
	for _, bits := range []int{2, 8} {
		if v := normalFloats(bits); len(v) != 1<<bits || !slices.Contains(v, 0) || v[0] != -1 || v[len(v)-1] != 1 || !slices.IsSorted(v) {
			t.Errorf("%d bits: %v", bits, v)
		}
	}
}

// TestLoftQ: the base is a quantised weight, and with the branch it is nearer to W than the best quantised weight is; turns bring it nearer.
func TestLoftQ(t *testing.T) {
	w := falling(48, 64)
	values := normalFloats(4)
	lost := cloned(w)
	subtract(lost, quantised(w, values))
	last := mat.Norm(linalg.Dense(lost), 2)
	for _, turns := range []int{1, 5} {
		d := &draft{a: kernel.NewMat(make([]float32, 6*64), 6, 64), b: kernel.NewMat(make([]float32, 48*6), 48, 6), scale: 1.5, loftq: LoftQ{4, turns},
			rng: rand.New(rand.NewPCG(2, 3)), weight: func() kernel.Mat { return cloned(w) }}
		if err := loftq(d); err != nil {
			t.Fatal(err)
		}
		for b := range len(d.base.Data) / quantBlock {
			block := d.base.Data[b*quantBlock : (b+1)*quantBlock]
			top := max(slices.Max(block), -slices.Min(block))
			for _, v := range block {
				if q := nearest(v/top, values); math.Abs(float64(q-v/top)) > 1e-6 {
					t.Fatalf("block %d: %g of %g is no value of the format", b, v, top)
				}
			}
		}
		rest := cloned(w)
		subtract(rest, d.base)
		kernel.MatMul(rest, d.b, d.a, kernel.MatMulOpts{Alpha: -1.5, Add: true})
		now := mat.Norm(linalg.Dense(rest), 2)
		if now > 0.95*last {
			t.Errorf("%d turns: %g is lost, want less than %g", turns, now, last)
		}
		last = now
	}
}

// TestLoftQMerges: the merged weight is the quantised one with the branch.
func TestLoftQMerges(t *testing.T) {
	w := falling(8, 16)
	q := quantised(w, normalFloats(2))
	a, b := drawn(rand.New(rand.NewPCG(3, 4)), 2, 16), drawn(rand.New(rand.NewPCG(5, 6)), 8, 2)
	l := &Projection{slot: &layer.Slot{Name: "x"}, A: op.NewParam(a.Data, 2, 16), B: op.NewParam(b.Data, 8, 2), scale: 0.5, replaced: q}
	got := make([]float32, 8*16)
	l.deltas()[0].(*rebased).SetTo(0, 8, got)
	want := cloned(q)
	kernel.MatMul(want, b, a, kernel.MatMulOpts{Alpha: 0.5, Add: true})
	check.Close(t, "merged", got, want.Data, 1e-6, 1e-6)
}
