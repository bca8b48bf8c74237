package op

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Expert is one gated MLP of a mixture: down(act(gate(x)) ∘ up(x)).
type Expert struct{ Gate, Up, Down Projection }

// MixtureSpec says how a mixture of experts is put together.
type MixtureSpec struct {
	Router  Projection // [C] to one logit for each expert
	Experts []Expert
	TopK    int // experts that a row goes to
	Activation
}

// Mixture sends each row to the TopK experts of its largest router logits [shazeer2017, jiang2024]:
//
//	x [T, C]   r = router(x) [T, E]   g[t] = softmax over the TopK largest of r[t], 0 for the others
//	y [T, C] = Σ_e g[t, e]·expert_e(x[t])
//
// Of equal logits the first counts as larger.
func Mixture(p *Pass, x mat.Tensor, s MixtureSpec) mat.Tensor {
	_, cols := shape(x)
	in, out := s.Router.Dims()
	if in != cols || out != len(s.Experts) || s.TopK < 1 || s.TopK > out {
		panic(fmt.Sprintf("op: Mixture: x has %d columns, router %d to %d, %d experts, the best %d", cols, in, out, len(s.Experts), s.TopK))
	}
	for _, e := range s.Experts {
		gi, width := e.Gate.Dims()
		ui, uo := e.Up.Dims()
		di, do := e.Down.Dims()
		if gi != cols || ui != cols || do != cols || width != uo || width != di {
			panic(fmt.Sprintf("op: Mixture: x has %d columns, an expert's gate is %d to %d, up %d to %d, down %d to %d", cols, gi, width, ui, uo, di, do))
		}
	}
	return node(&mixture{p: p, x: x, s: s})
}

type mixture struct {
	p      *Pass
	x      mat.Tensor
	s      MixtureSpec
	y      *Tensor
	router any     // what the router saved
	visits []visit // by expert
}

// visit is what one expert is asked: some rows of x, and the weight of its answer to each.
type visit struct {
	pass    *Pass
	rows    []int     // in order
	weights []float32 // g, by row of the visit
	// What Backward needs: the rows [n, C], gate and up of them [n, 2I], their product [n, I], the answers [n, C].
	x, h, a, y     kernel.Mat
	gate, up, down any
}

func (f *mixture) Operands() []mat.Tensor {
	list := operands([]mat.Tensor{f.x}, f.s.Router)
	for _, e := range f.s.Experts {
		list = operands(list, e.Gate, e.Up, e.Down)
	}
	return list
}

func (f *mixture) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	clear(f.y.data)
	f.route(x.View())
	y := f.y.View()
	for i := range f.visits {
		v := &f.visits[i]
		f.ask(v, f.s.Experts[i], x.View())
		for j, t := range v.rows {
			kernel.Axpy(y.Row(t), v.weights[j], v.y.Row(j))
		}
		if !f.p.Grad {
			v.free(f.p.Arena)
		}
	}
	return f.y, nil
}

// route asks the router and lists each expert's rows.
func (f *mixture) route(x kernel.Mat) {
	n := len(f.s.Experts)
	logits := f.scratch(x.Rows, n)
	defer f.p.Arena.Put(logits.Data)
	in := NewInput(x)
	defer in.Free()
	f.router = f.s.Router.Forward(f.p, logits, in)
	f.visits = make([]visit, n)
	for t := range x.Rows {
		best, weights := top(logits.Row(t), f.s.TopK)
		for k, e := range best {
			v := &f.visits[e]
			v.rows = append(v.rows, t)
			v.weights = append(v.weights, weights[k])
		}
	}
	for i := range f.visits {
		f.visits[i].pass = f.p.Choose(f.visits[i].rows)
	}
}

// top lists the k largest logits and their softmax.
func top(logits []float32, k int) (best []int, weights []float32) {
	best = make([]int, len(logits))
	for i := range best {
		best[i] = i
	}
	slices.SortStableFunc(best, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	best = best[:k]
	weights = make([]float32, k)
	sum := 0.0
	for i, e := range best {
		w := math.Exp(float64(logits[e] - logits[best[0]]))
		weights[i] = float32(w)
		sum += w
	}
	for i := range weights {
		weights[i] = float32(float64(weights[i]) / sum)
	}
	return best, weights
}

func (f *mixture) scratch(rows, cols int) kernel.Mat {
	return kernel.NewMat(f.p.Arena.Get(rows*cols), rows, cols)
}

// ask computes an expert's answers.
func (f *mixture) ask(v *visit, e Expert, x kernel.Mat) {
	n := len(v.rows)
	_, width := e.Gate.Dims()
	v.x, v.h, v.a, v.y = f.scratch(n, x.Cols), f.scratch(n, 2*width), f.scratch(n, width), f.scratch(n, x.Cols)
	if n == 0 {
		return
	}
	for j, t := range v.rows {
		copy(v.x.Row(j), x.Row(t))
	}
	in := NewInput(v.x)
	v.gate = e.Gate.Forward(v.pass, v.h.ColRange(0, width), in)
	v.up = e.Up.Forward(v.pass, v.h.ColRange(width, 2*width), in)
	in.Free()
	f.s.gateRows(v.a, v.h)
	mid := NewInput(v.a)
	v.down = e.Down.Forward(v.pass, v.y, mid)
	mid.Free()
}

func (v *visit) free(a *Arena) {
	for _, m := range []kernel.Mat{v.x, v.h, v.a, v.y} {
		a.Put(m.Data)
	}
}

// Backward: with e the experts of row t,
//
//	dexpert_e = g_e·dy   dg_e = dy·expert_e   dr_e = g_e·(dg_e − Σ_k g_k·dg_k)
//
// Experts are walked in order, so that the sums have one order.
func (f *mixture) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	dx := f.p.inputGrad(f.x)
	dg := f.scratch(x.rows, len(f.s.Experts))
	clear(dg.Data)
	mean := make([]float32, x.rows) // Σ_k g_k·dg_k
	for i := range f.visits {
		v := &f.visits[i]
		for j, t := range v.rows {
			d := kernel.Dot(dy.View().Row(t), v.y.Row(j))
			dg.Row(t)[i] = d
			mean[t] += v.weights[j] * d
		}
		f.answer(v, f.s.Experts[i], dy.View(), viewOf(dx))
		v.free(f.p.Arena)
	}
	for i := range f.visits {
		for j, t := range f.visits[i].rows {
			dg.Row(t)[i] = f.visits[i].weights[j] * (dg.Row(t)[i] - mean[t])
		}
	}
	in := NewInput(x.View())
	f.s.Router.Backward(f.p, viewOf(dx), dg, in, f.router)
	in.Free()
	f.p.Arena.Put(dg.Data)
	dy.release()
	f.y.release()
	if dx != nil {
		f.x.AccGrad(dx)
	}
	return nil
}

// answer goes back through an expert: from dy to dx, unless that is empty, at the visit's rows.
func (f *mixture) answer(v *visit, e Expert, dy, dx kernel.Mat) {
	n := len(v.rows)
	if n == 0 {
		return
	}
	for j, t := range v.rows { // the answers are used up
		row := v.y.Row(j)
		copy(row, dy.Row(t))
		kernel.Scale(row, v.weights[j])
	}
	da := kernel.NewMat(f.p.Arena.Zeroed(n*v.a.Cols), n, v.a.Cols)
	mid := NewInput(v.a)
	e.Down.Backward(v.pass, da, v.y, mid, v.down)
	mid.Free()
	f.s.gateRowsBackward(f.p, v.h, da)
	f.p.Arena.Put(da.Data)
	var back kernel.Mat
	if dx.Rows > 0 {
		back = kernel.NewMat(f.p.Arena.Zeroed(n*dx.Cols), n, dx.Cols)
		defer f.p.Arena.Put(back.Data)
	}
	in := NewInput(v.x)
	e.Gate.Backward(v.pass, back, v.h.ColRange(0, v.a.Cols), in, v.gate)
	e.Up.Backward(v.pass, back, v.h.ColRange(v.a.Cols, 2*v.a.Cols), in, v.up)
	in.Free()
	for j, t := range v.rows {
		if dx.Rows > 0 {
			kernel.Add(dx.Row(t), back.Row(j))
		}
	}
}
