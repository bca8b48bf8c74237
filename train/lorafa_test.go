package train

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
)

// TestLoraFA: A stays, and a step of gradient size moves B·A as near to the full gradient as any B could: g·A is the projection of the full
// gradient on A's rows.
func TestLoraFA(t *testing.T) {
	const r, in, out, scaling = 3, 7, 5, 1.5
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(rows, cols int) kernel.Mat {
		m := kernel.NewMat(make([]float32, rows*cols), rows, cols)
		for i := range m.Data {
			m.Data[i] = float32(rng.NormFloat64())
		}
		return m
	}
	a, full := draw(r, in), draw(out, in)
	db := kernel.NewMat(make([]float32, out*r), out, r) // dB = scaling·dW·Aᵀ
	kernel.MatMul(db, full, a, kernel.MatMulOpts{TransB: true, Alpha: scaling})
	params := []Param{
		{Name: "x.lora_A.weight", Rows: r, Cols: in, Value: a.Data, Grad: make([]float32, r*in)},
		{Name: "x.lora_B.weight", Rows: out, Cols: r, Value: make([]float32, out*r), Grad: db.Data},
		{Name: "head.weight", Rows: 2, Cols: 2, Value: make([]float32, 4), Grad: []float32{1, -2, 3, 4}},
	}
	before := slices.Clone(a.Data)
	o, err := NewOptimizer("lora_fa", []Group{{params, 0.1, 0}}, map[string]any{"scaling": scaling})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(o.State()); n != 4 {
		t.Errorf("%d buffers of state, want two for B and two for the head", n)
	}
	o.Step(1)
	if !slices.Equal(a.Data, before) {
		t.Error("A changed")
	}
	if !slices.Equal(params[2].Grad, []float32{1, -2, 3, 4}) || params[2].Value[0] >= 0 || params[2].Value[1] <= 0 {
		t.Errorf("the head went to %v on the gradient %v, want one step of Adam", params[2].Value, params[2].Grad)
	}
	got := kernel.NewMat(make([]float32, out*in), out, in) // scaling·g·A
	kernel.MatMul(got, db, a, kernel.MatMulOpts{Alpha: scaling})
	rest := kernel.NewMat(slices.Clone(full.Data), out, in)
	for i := range rest.Data {
		rest.Data[i] -= got.Data[i]
	}
	left := kernel.NewMat(make([]float32, out*r), out, r) // what is left has nothing along A's rows
	kernel.MatMul(left, rest, a, kernel.MatMulOpts{TransB: true})
	check.Close(t, "what is left of the full gradient, along A", left.Data, make([]float32, out*r), 1e-4, 0)
}
