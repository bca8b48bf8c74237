package train

import (
	"math"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"gonum.org/v1/gonum/mat"
)

// loraFA trains B of a LoRA alone, by Adam on the gradient that brings B·A nearest to a step of full fine-tuning [zhang2023]:
//
//	g = dB·(A·Aᵀ + 1e-8)⁻¹ / scaling²
//
// A stays as it began, so it has no state. Other parameters are trained by Adam on their gradients. As in PEFT eps is added to the
// root before the corrections, and decay comes after the step.
//
// References: [zhang2023] LoRA-FA: Memory-efficient Low-rank Adaptation for Large Language Models Fine-tuning, arXiv 2308.03303.
type loraFA struct {
	Betas   [2]float64 `json:"betas"`
	Eps     float64    `json:"eps"`
	Scaling float64    `json:"scaling"` // of the branches: lora_alpha/r
}

func newLoraFA(arguments map[string]any) (rule, error) {
	a := &loraFA{Betas: [2]float64{0.9, 0.999}, Eps: 1e-6, Scaling: 1}
	if err := setArguments("lora_fa", arguments, a); err != nil {
		return nil, err
	}
	b := bounds{what: "lora_fa"}
	b.within("betas[0]", a.Betas[0], 0, 1)
	b.within("betas[1]", a.Betas[1], 0, 1)
	b.atLeast("eps", a.Eps, 0)
	b.atLeast("scaling", a.Scaling, math.SmallestNonzeroFloat32)
	return a, b.err()
}

func (a *loraFA) elementwise() bool { return true }

// leaves implements leaver.
func (a *loraFA) leaves(p *Param) bool { return strings.Contains(p.Name, ".lora_A.") }

func (a *loraFA) slots(p *Param) []slot {
	if a.leaves(p) {
		return nil
	}
	return []slot{{name: "exp_avg", rows: p.Rows, cols: p.Cols}, {name: "exp_avg_sq", rows: p.Rows, cols: p.Cols}}
}

// prepare implements preparer: the gradients of B become those of the step.
func (a *loraFA) prepare(groups []Group) {
	first := map[string]*Param{}
	for i := range groups {
		for j := range groups[i].Params {
			if p := &groups[i].Params[j]; a.leaves(p) {
				first[strings.Replace(p.Name, ".lora_A.", ".lora_B.", 1)] = p
			}
		}
	}
	for _, g := range groups {
		for i := range g.Params {
			if p := first[g.Params[i].Name]; p != nil && p.Rows == g.Params[i].Cols {
				a.project(&g.Params[i], p)
			}
		}
	}
}

// project replaces the gradient of b [out, r], whose A is [r, in].
func (a *loraFA) project(b, of *Param) {
	r := of.Rows
	wa := kernel.NewMat(of.Value, r, of.Cols)
	gram := mat.NewDense(r, r, nil)
	for i := range r {
		for j := range r {
			gram.Set(i, j, float64(kernel.Dot(wa.Row(i), wa.Row(j))))
		}
		gram.Set(i, i, gram.At(i, i)+1e-8)
	}
	var inverse mat.Dense
	if inverse.Inverse(gram) != nil && !usable(&inverse) { // A of no rank gives B nothing to do
		clear(b.Grad)
		return
	}
	m := kernel.NewMat(make([]float32, r*r), r, r)
	for i := range r {
		for j := range r {
			m.Row(i)[j] = float32(inverse.At(i, j) / (a.Scaling * a.Scaling))
		}
	}
	g := kernel.NewMat(append([]float32(nil), b.Grad...), b.Rows, b.Cols)
	kernel.MatMul(kernel.NewMat(b.Grad, b.Rows, b.Cols), g, m, kernel.MatMulOpts{})
}

// usable says that an inverse of an ill-conditioned matrix has finite numbers.
func usable(m *mat.Dense) bool {
	n := mat.Norm(m, 1)
	return !math.IsNaN(n) && !math.IsInf(n, 0)
}

// update is
//
//	m = β1·m + (1-β1)g   v = β2·v + (1-β2)g²   x = x - lr·√(1-β2^k)/(1-β1^k)·m/(√v + eps)   x = x - lr·decay·x
func (a *loraFA) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	x, g, m, v := p.Value[lo:hi], p.Grad[lo:hi], s[0][lo:hi], s[1][lo:hi]
	keep1, take1 := float32(a.Betas[0]), float32(1-a.Betas[0])
	keep2, take2 := float32(a.Betas[1]), float32(1-a.Betas[1])
	step := float32(-lr * math.Sqrt(1-math.Pow(a.Betas[1], float64(k))) / (1 - math.Pow(a.Betas[0], float64(k))))
	eps, shrink := float32(a.Eps), float32(1-lr*weightDecay)
	for i := range x {
		m[i] = float32(keep1*m[i]) + float32(take1*g[i])
		v[i] = float32(keep2*v[i]) + float32(float32(take2*g[i])*g[i])
		x[i] = float32((x[i] + float32(step*m[i])/(float32(math.Sqrt(float64(v[i])))+eps)) * shrink)
	}
}
