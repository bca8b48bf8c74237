package train

import "math"

// adafactor keeps the second moment of a matrix as its row and column means.
//
// References: [shazeer2018] Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, arXiv 1804.04235, algorithms 4-6.
type adafactor struct {
	Eps            [2]float64 `json:"eps"`
	ClipThreshold  float64    `json:"clip_threshold"`
	DecayRate      float64    `json:"decay_rate"`
	Beta1          *float64   `json:"beta1"`
	ScaleParameter bool       `json:"scale_parameter"`
	RelativeStep   bool       `json:"relative_step"`
	WarmupInit     bool       `json:"warmup_init"`
}

// newAdafactor has scale_parameter and relative_step off, as Hugging Face's Trainer sets them: the recipe's rate counts.
func newAdafactor(arguments map[string]any) (rule, error) {
	r := &adafactor{Eps: [2]float64{1e-30, 1e-3}, ClipThreshold: 1, DecayRate: -0.8}
	if err := setArguments("adafactor", arguments, r); err != nil {
		return nil, err
	}
	b := bounds{what: "adafactor"}
	b.atLeast("eps[0]", r.Eps[0], 0)
	b.atLeast("eps[1]", r.Eps[1], 0)
	b.positive("clip_threshold", r.ClipThreshold)
	b.within("decay_rate", r.DecayRate, -1e3, 0)
	if r.Beta1 != nil {
		b.within("beta1", *r.Beta1, 0, 1)
	}
	if r.WarmupInit && !r.RelativeStep {
		b.oneOf("warmup_init", "true", "false unless relative_step is true")
	}
	return r, b.err()
}

// elementwise is false: a row's mean is a sum over the row.
func (r *adafactor) elementwise() bool { return false }

func (r *adafactor) slots(p *Param) []slot {
	var s []slot
	if p.Vector {
		s = append(s, slot{name: "exp_avg_sq", rows: 1, cols: p.Cols})
	} else {
		s = append(s, slot{name: "exp_avg_sq_row", rows: 1, cols: p.Rows}, slot{name: "exp_avg_sq_col", rows: 1, cols: p.Cols})
	}
	if r.Beta1 != nil {
		s = append(s, slot{name: "exp_avg", rows: p.Rows, cols: p.Cols})
	}
	return s
}

// update is, with β = 1 - k^decay_rate and v̂ = v, or for a matrix row·col/mean(row),
//
//	v = β·v + (1-β)(g² + eps1)    u = g/√v̂    u = lr·u / max(1, rms(u)/clip_threshold)
//	u = m = β1·m + (1-β1)·u if beta1 is set    x = x·(1 - lr·decay) - u
//
// where lr = max(eps2, rms(x))·ρ with scale_parameter, and ρ = min(1/√k, warmup_init ? 1e-6·k : 1e-2) with relative_step.
func (r *adafactor) update(p *Param, s [][]float32, lo, hi, k int, lr, weightDecay float64) {
	if r.RelativeStep {
		least := 1e-2
		if r.WarmupInit {
			least = 1e-6 * float64(k)
		}
		lr = min(least, 1/math.Sqrt(float64(k)))
	}
	if r.ScaleParameter {
		lr *= max(r.Eps[1], rms(p.Value))
	}
	u := r.direction(p, s, 1-math.Pow(float64(k), r.DecayRate))
	scale := float32(lr / max(1, rms(u)/r.ClipThreshold))
	shrink := float32(1 - lr*weightDecay)
	for i, x := range p.Value {
		d := float32(u[i] * scale)
		if r.Beta1 != nil {
			m := &s[len(s)-1][i]
			*m = float32(*m*float32(*r.Beta1)) + float32(float32(1-*r.Beta1)*d)
			d = *m
		}
		p.Value[i] = float32(x*shrink) - d
	}
}

// direction updates the second moment and returns g/√v̂.
func (r *adafactor) direction(p *Param, s [][]float32, beta float64) []float32 {
	u := make([]float32, len(p.Grad))
	square := func(i int) float64 { return float64(p.Grad[i])*float64(p.Grad[i]) + r.Eps[0] }
	if p.Vector {
		for i, g := range p.Grad {
			v := beta*float64(s[0][i]) + (1-beta)*square(i)
			s[0][i] = float32(v)
			u[i] = float32(float64(g) / math.Sqrt(float64(s[0][i])))
		}
		return u
	}
	rows, cols := make([]float64, p.Rows), make([]float64, p.Cols)
	for i := range rows {
		for j := range cols {
			q := square(i*p.Cols + j)
			rows[i] += q
			cols[j] += q
		}
	}
	mean := 0.0
	for i := range rows {
		s[0][i] = float32(beta*float64(s[0][i]) + (1-beta)*rows[i]/float64(p.Cols))
		mean += float64(s[0][i]) / float64(p.Rows)
	}
	for j := range cols {
		s[1][j] = float32(beta*float64(s[1][j]) + (1-beta)*cols[j]/float64(p.Rows))
		cols[j] = 1 / math.Sqrt(float64(s[1][j]))
	}
	for i := range rows {
		f := 1 / math.Sqrt(float64(s[0][i])/mean)
		for j := range cols {
			u[i*p.Cols+j] = float32(float64(p.Grad[i*p.Cols+j]) * f * cols[j])
		}
	}
	return u
}

// rms is √(mean x²).
func rms(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(max(1, len(x))))
}
