package train

import "math"

// adam is Adam in both forms of weight decay.
//
// References:
//
//	[kingma2015]     Adam: A Method for Stochastic Optimization, arXiv 1412.6980, algorithm 1.
//	[loshchilov2019] Decoupled Weight Decay Regularization, arXiv 1711.05101, algorithm 2.
//	[reddi2018]      On the Convergence of Adam and Beyond (amsgrad).
type adam struct {
	adamArguments
	decoupled bool
}

// adamArguments are the arguments alone, without the choice that the optimizer's name makes.
type adamArguments struct {
	Betas   [2]float64 `json:"betas"`
	Eps     float64    `json:"eps"`
	AMSGrad bool       `json:"amsgrad"`
}

func newAdamW(arguments map[string]any) (rule, error) { return buildAdam("adamw", arguments, true) }
func newAdam(arguments map[string]any) (rule, error)  { return buildAdam("adam", arguments, false) }

func buildAdam(name string, arguments map[string]any, decoupled bool) (rule, error) {
	a := adamArguments{Betas: [2]float64{0.9, 0.999}, Eps: 1e-8}
	if err := setArguments(name, arguments, &a); err != nil {
		return nil, err
	}
	b := bounds{what: name}
	b.within("betas[0]", a.Betas[0], 0, 1)
	b.within("betas[1]", a.Betas[1], 0, 1)
	b.atLeast("eps", a.Eps, 0)
	return &adam{a, decoupled}, b.err()
}

func (a *adam) elementwise() bool { return true }

func (a *adam) slots(p *Param) []slot {
	s := []slot{{name: "exp_avg", rows: p.Rows, cols: p.Cols}, {name: "exp_avg_sq", rows: p.Rows, cols: p.Cols}}
	if a.AMSGrad {
		s = append(s, slot{name: "max_exp_avg_sq", rows: p.Rows, cols: p.Cols})
	}
	return s
}

// update is
//
//	m = m + (1-β1)(g-m)        v = β2·v + (1-β2)g²
//	x = x - lr/(1-β1^k) · m / (√v/√(1-β2^k) + eps)
//
// with x = x·(1 - lr·decay) before (AdamW) or g = g + decay·x (Adam). The explicit conversions forbid fused multiply-add,
// so that every machine rounds alike.
func (a *adam) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	x, g, m, v := p.Value[lo:hi], p.Grad[lo:hi], s[0][lo:hi], s[1][lo:hi]
	take1 := float32(1 - a.Betas[0])
	keep2, take2 := float32(a.Betas[1]), float32(1-a.Betas[1])
	step := float32(-lr / (1 - math.Pow(a.Betas[0], float64(k))))
	root := float32(math.Sqrt(1 - math.Pow(a.Betas[1], float64(k))))
	eps, shrink, l2 := float32(a.Eps), float32(1), float32(0)
	if a.decoupled {
		shrink = float32(1 - lr*weightDecay)
	} else {
		l2 = float32(weightDecay)
	}
	for i := range x {
		gi := g[i] + float32(l2*x[i])
		xi := float32(x[i] * shrink)
		m[i] += float32(take1 * (gi - m[i]))
		v[i] = float32(v[i]*keep2) + float32(float32(take2*gi)*gi)
		vi := v[i]
		if a.AMSGrad {
			w := s[2][lo:hi]
			w[i] = max(w[i], vi)
			vi = w[i]
		}
		d := float32(math.Sqrt(float64(vi)))/root + eps
		x[i] = xi + float32(step*m[i])/d
	}
}
