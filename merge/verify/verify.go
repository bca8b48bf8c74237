// Package verify holds a merged model to what it was made of: both read the same tokens, and what they say must agree as far as the
// rounding of the merged weights lets it.
//
//	want, err := verify.Scores(withAdapter, rows, kernel.ModeSplit)
//	was, err := verify.Scores(base, rows, kernel.ModeSplit)
//	got, err := verify.Scores(merged, rows, kernel.ModeSplit)
//	result := verify.Compare(was, want, got)
//	err = result.Check(verify.Limit(report))
//
// Words: the effect is what the adapter does to the scores of its base; the share is what of it the merge got wrong.
package verify

import (
	"errors"
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
)

// Result says how far the merged model is from the unmerged one.
type Result struct {
	Rows   int     `json:"rows"`   // scored
	Max    float64 `json:"max"`    // largest difference of a score
	Mean   float64 `json:"mean"`   // mean size of differences
	Top1   float64 `json:"top1"`   // share of the rows whose highest score is the same one
	KL     float64 `json:"kl"`     // mean divergence of the merged from the unmerged distribution, in nats
	Effect float64 `json:"effect"` // ‖unmerged − base‖ / ‖base‖
	Share  float64 `json:"share"`  // ‖merged − unmerged‖ / ‖unmerged − base‖
	Limit  float64 `json:"limit"`  // of Share
	Note   string  `json:"note,omitempty"`
	noise  float64 // of Share: what float32 cannot tell
}

// Scores are what a model says about sequences of tokens: a row for each token, or for each sequence.
func Scores(m *model.Model, rows [][]int32, mode kernel.Mode) (kernel.Mat, error) {
	var ids, positions []int32
	var segments []op.Segment
	for _, r := range rows {
		segments = append(segments, op.Segment{Start: len(ids), End: len(ids) + len(r)})
		for j := range r {
			positions = append(positions, int32(j))
		}
		ids = append(ids, r...)
	}
	if err := errors.Join(m.CheckTokens(ids), m.CheckPositions(positions)); err != nil {
		return kernel.Mat{}, err
	}
	p := op.NewPass(segments, positions, mode, op.NewArena())
	return m.Scores(p, m.Hidden(p, ids)), nil
}

// Compare measures. All three are [rows, n].
func Compare(base, unmerged, merged kernel.Mat) (*Result, error) {
	if base.Rows != unmerged.Rows || merged.Rows != unmerged.Rows || base.Cols != unmerged.Cols || merged.Cols != unmerged.Cols {
		return nil, fmt.Errorf("verify: scores are [%d, %d] of the base, [%d, %d] unmerged and [%d, %d] merged, want one shape",
			base.Rows, base.Cols, unmerged.Rows, unmerged.Cols, merged.Rows, merged.Cols)
	}
	r := &Result{Rows: merged.Rows}
	var wrong, effect, size, scale float64
	for i := range merged.Rows {
		b, u, m := base.Row(i), unmerged.Row(i), merged.Row(i)
		for j := range u {
			d, e := float64(m[j])-float64(u[j]), float64(u[j])-float64(b[j])
			r.Max, r.Mean = max(r.Max, math.Abs(d)), r.Mean+math.Abs(d)
			wrong, effect = wrong+d*d, effect+e*e
			size, scale = size+float64(b[j])*float64(b[j]), scale+float64(u[j])*float64(u[j])
		}
		if highest(u) == highest(m) {
			r.Top1++
		}
		r.KL += divergence(u, m)
	}
	if wrong-wrong != 0 || effect-effect != 0 {
		return nil, errors.New("verify: scores are not finite")
	}
	n := float64(max(1, merged.Rows))
	r.Mean, r.Top1, r.KL = r.Mean/n/float64(max(1, merged.Cols)), r.Top1/n, r.KL/n
	if size > 0 {
		r.Effect = math.Sqrt(effect / size)
	}
	if effect > 0 {
		const float32s = 1e-5 // of the scores: what sums of float32 in two orders differ by, through many layers
		r.Share, r.noise = math.Sqrt(wrong/effect), float32s*math.Sqrt(scale/effect)
	}
	return r, nil
}

// highest is the place of the largest number.
func highest(x []float32) (at int) {
	for j, v := range x {
		if v > x[at] {
			at = j
		}
	}
	return at
}

// divergence is KL(softmax(p) ‖ softmax(q)) in nats.
func divergence(p, q []float32) float64 {
	lp, lq := logSum(p), logSum(q)
	kl := 0.0
	for j := range p {
		a := float64(p[j]) - lp
		kl += math.Exp(a) * (a - float64(q[j]) + lq)
	}
	return max(0, kl)
}

// logSum is log Σ exp(x).
func logSum(x []float32) float64 {
	most := math.Inf(-1)
	for _, v := range x {
		most = max(most, float64(v))
	}
	s := 0.0
	for _, v := range x {
		s += math.Exp(float64(v) - most)
	}
	return most + math.Log(s)
}

// Limit is the largest share that a merge may get wrong: little, and what the rounding of the weights explains.
func Limit(r *merge.Report) float64 {
	const (
		least = 0.003 // beyond float32's errors, below what one tensor of a few left out takes
		grows = 2     // errors of rounding point everywhere, so scores hardly feel more of them than of a delta of their size
	)
	lost, all := 0.0, 0.0
	for _, c := range r.Changed {
		lost += c.Lost * c.Lost * c.Norm * c.Norm
		all += c.Norm * c.Norm
	}
	if all == 0 {
		return least
	}
	return least + grows*math.Sqrt(lost/all)
}

// Blind is the share from which a limit lets too much pass: half of alpha takes half of the effect.
const Blind = 0.4

// Check fails where the share is above the limit.
func (r *Result) Check(limit float64) error {
	r.Limit = limit
	if limit+r.noise > Blind {
		r.Note = "the rounding takes so much of the change that little can be told; another dtype keeps more"
	}
	if r.Share > limit+r.noise {
		return fmt.Errorf("verify: the merged model is wrong by %.3g of what the adapter does to the scores, want at most %.3g (largest difference %.3g, same first choice in %.1f %%, KL %.3g)",
			r.Share, limit+r.noise, r.Max, 100*r.Top1, r.KL)
	}
	return nil
}
