package train

import "math"

// sgd is gradient descent with torch's momentum.
type sgd struct {
	Momentum  float64 `json:"momentum"`
	Dampening float64 `json:"dampening"`
	Nesterov  bool    `json:"nesterov"`
}

func newSGD(arguments map[string]any) (rule, error) {
	r := &sgd{}
	if err := setArguments("sgd", arguments, r); err != nil {
		return nil, err
	}
	b := bounds{what: "sgd"}
	b.atLeast("momentum", r.Momentum, 0)
	if r.Nesterov {
		b.positive("momentum with nesterov", r.Momentum)
		b.within("dampening with nesterov", r.Dampening, 0, math.SmallestNonzeroFloat64)
	}
	return r, b.err()
}

func (r *sgd) elementwise() bool { return true }

func (r *sgd) slots(p *Param) []slot {
	if r.Momentum == 0 {
		return nil
	}
	return []slot{{name: "momentum_buffer", rows: p.Rows, cols: p.Cols}}
}

// update is
//
//	g = g + decay·x    b = momentum·b + (1-dampening)·g  (the first time b = g)    x = x - lr·(nesterov ? g + momentum·b : b)
func (r *sgd) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	x, g := p.Value[lo:hi], p.Grad[lo:hi]
	step, l2 := float32(-lr), float32(weightDecay)
	momentum, take := float32(r.Momentum), float32(1-r.Dampening)
	for i := range x {
		d := g[i] + float32(l2*x[i])
		if r.Momentum != 0 {
			b := &s[0][lo+i]
			if k == 1 {
				*b = d
			} else {
				*b = float32(*b*momentum) + float32(take*d)
			}
			if r.Nesterov {
				d += float32(momentum * *b)
			} else {
				d = *b
			}
		}
		x[i] += float32(step * d)
	}
}

// lion follows the sign of an interpolated momentum.
//
// References: [chen2023] Symbolic Discovery of Optimization Algorithms, arXiv 2302.06675, program 1.
type lion struct {
	Betas [2]float64 `json:"betas"`
}

func newLion(arguments map[string]any) (rule, error) {
	r := &lion{Betas: [2]float64{0.9, 0.99}}
	if err := setArguments("lion", arguments, r); err != nil {
		return nil, err
	}
	b := bounds{what: "lion"}
	b.within("betas[0]", r.Betas[0], 0, 1)
	b.within("betas[1]", r.Betas[1], 0, 1)
	return r, b.err()
}

func (r *lion) elementwise() bool { return true }

func (r *lion) slots(p *Param) []slot { return []slot{{name: "exp_avg", rows: p.Rows, cols: p.Cols}} }

// update is
//
//	x = x·(1 - lr·decay) - lr·sign(β1·m + (1-β1)·g)    m = β2·m + (1-β2)·g
func (r *lion) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	x, g, m := p.Value[lo:hi], p.Grad[lo:hi], s[0][lo:hi]
	shrink, step := float32(1-lr*weightDecay), float32(lr)
	keep1, take1 := float32(r.Betas[0]), float32(1-r.Betas[0])
	keep2, take2 := float32(r.Betas[1]), float32(1-r.Betas[1])
	for i := range x {
		xi := float32(x[i] * shrink)
		switch c := float32(m[i]*keep1) + float32(take1*g[i]); {
		case c > 0:
			xi -= step
		case c < 0:
			xi += step
		}
		x[i] = xi
		m[i] = float32(m[i]*keep2) + float32(take2*g[i])
	}
}

// rmsprop divides by a running root mean square of the gradient.
type rmsprop struct {
	Alpha    float64 `json:"alpha"`
	Eps      float64 `json:"eps"`
	Momentum float64 `json:"momentum"`
	Centered bool    `json:"centered"`
}

func newRMSProp(arguments map[string]any) (rule, error) {
	r := &rmsprop{Alpha: 0.99, Eps: 1e-8}
	if err := setArguments("rmsprop", arguments, r); err != nil {
		return nil, err
	}
	b := bounds{what: "rmsprop"}
	b.within("alpha", r.Alpha, 0, 1)
	b.atLeast("eps", r.Eps, 0)
	b.atLeast("momentum", r.Momentum, 0)
	return r, b.err()
}

func (r *rmsprop) elementwise() bool { return true }

func (r *rmsprop) slots(p *Param) []slot {
	return []slot{
		{name: "square_avg", rows: p.Rows, cols: p.Cols},
		{name: "momentum_buffer", rows: p.Rows, cols: p.Cols},
		{name: "grad_avg", rows: p.Rows, cols: p.Cols},
	}
}

// update is
//
//	g = g + decay·x    v = α·v + (1-α)·g²    d = √v + eps (centered: √(v - ḡ²) + eps)    b = momentum·b + g/d    x = x - lr·b
func (r *rmsprop) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	x, g := p.Value[lo:hi], p.Grad[lo:hi]
	v, b, mean := s[0][lo:hi], s[1][lo:hi], s[2][lo:hi]
	keep, take, eps := float32(r.Alpha), float32(1-r.Alpha), float32(r.Eps)
	momentum, step, l2 := float32(r.Momentum), float32(-lr), float32(weightDecay)
	for i := range x {
		d := g[i] + float32(l2*x[i])
		v[i] = float32(v[i]*keep) + float32(float32(take*d)*d)
		vi := v[i]
		if r.Centered {
			mean[i] += float32(take * (d - mean[i]))
			vi -= float32(mean[i] * mean[i])
		}
		root := float32(math.Sqrt(float64(vi))) + eps
		b[i] = float32(b[i]*momentum) + d/root
		x[i] += float32(step * b[i])
	}
}

// adagrad divides by the root of the sum of all squared gradients.
type adagrad struct {
	LRDecay float64 `json:"lr_decay"`
	Eps     float64 `json:"eps"`
	Initial float64 `json:"initial_accumulator_value"`
}

func newAdagrad(arguments map[string]any) (rule, error) {
	r := &adagrad{Eps: 1e-10}
	if err := setArguments("adagrad", arguments, r); err != nil {
		return nil, err
	}
	b := bounds{what: "adagrad"}
	b.atLeast("lr_decay", r.LRDecay, 0)
	b.atLeast("eps", r.Eps, 0)
	b.atLeast("initial_accumulator_value", r.Initial, 0)
	return r, b.err()
}

func (r *adagrad) elementwise() bool { return true }

func (r *adagrad) slots(p *Param) []slot {
	return []slot{{name: "sum", rows: p.Rows, cols: p.Cols, initial: float32(r.Initial)}}
}

// update is
//
//	g = g + decay·x    v = v + g²    x = x - lr/(1 + (k-1)·lr_decay) · g/(√v + eps)
func (r *adagrad) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	x, g, v := p.Value[lo:hi], p.Grad[lo:hi], s[0][lo:hi]
	step, eps, l2 := float32(-lr/(1+float64(k-1)*r.LRDecay)), float32(r.Eps), float32(weightDecay)
	for i := range x {
		d := g[i] + float32(l2*x[i])
		v[i] += float32(d * d)
		x[i] += float32(step*d) / (float32(math.Sqrt(float64(v[i]))) + eps)
	}
}
