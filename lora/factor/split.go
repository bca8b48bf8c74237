package factor

import (
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
)

// Report says what became of each module.
type Report struct {
	Out      string   `json:"out,omitempty"`
	Modules  []Row    `json:"modules"`
	Error    float64  `json:"error"` // ‖lost‖ / ‖whole‖ over all modules
	Rank     int      `json:"r"`     // the largest
	Warnings []string `json:"warnings,omitempty"`
}

// Row is a module of a Report.
type Row struct {
	Module string    `json:"module"`
	Rank   int       `json:"r"`
	Norm   float64   `json:"norm"`             // ‖ΔW‖, Frobenius
	Share  float64   `json:"energy"`           // of ‖ΔW‖², what is kept
	Error  float64   `json:"error"`            // ‖lost‖ / ‖ΔW‖
	Values []float64 `json:"values,omitempty"` // the largest singular values, some beyond the rank
}

// shown is how many singular values beyond the rank a report has.
const shown = 4

// newRow measures what a rank keeps. energy is ‖ΔW‖², or below 0 if the values are all there are.
func newRow(name string, values []float64, rank int, energy float64) Row {
	kept, all := 0.0, 0.0
	for k, s := range values {
		if all += s * s; k < rank {
			kept += s * s
		}
	}
	if energy >= 0 {
		all = max(energy, kept)
	}
	r := Row{Module: name, Rank: rank, Norm: math.Sqrt(all), Share: 1, Values: values[:min(len(values), rank+shown)]}
	if all > 0 {
		r.Share = kept / all
		r.Error = math.Sqrt(max(0, 1-r.Share))
	}
	return r
}

// sum fills in what is of all modules.
func (r *Report) sum() {
	lost, all := 0.0, 0.0
	for _, m := range r.Modules {
		all += m.Norm * m.Norm
		lost += m.Norm * m.Norm * m.Error * m.Error
		r.Rank = max(r.Rank, m.Rank)
	}
	if all > 0 {
		r.Error = math.Sqrt(lost / all)
	}
}

// split makes factors of the r largest values: even, as A = √S·Vᵀ and B = U·√S, or as PEFT has it, A = Vᵀ and B = U·S.
func split(f linalg.SVD, r int, even bool) (a, b kernel.Mat) {
	out, _ := f.U.Dims()
	in, _ := f.V.Dims()
	a = kernel.NewMat(make([]float32, r*in), r, in)
	b = kernel.NewMat(make([]float32, out*r), out, r)
	for k := range r {
		left, right := f.S[k], 1.0
		if even {
			left = math.Sqrt(f.S[k])
			right = left
		}
		for j := range in {
			a.Row(k)[j] = float32(right * f.V.At(j, k))
		}
		for i := range out {
			b.Row(i)[k] = float32(left * f.U.At(i, k))
		}
	}
	return a, b
}

// numerical is the number of values that float32 factors can tell from zero, at least one.
func numerical(s []float64) int {
	const least = 1e-6 // of the largest: float32 has seven digits
	n := 1
	for n < len(s) && s[n] > least*s[0] {
		n++
	}
	return n
}

// clamp cuts both factors to ± the quantile q of the sizes of all their numbers. PEFT takes the quantile of the numbers
// themselves, which depends on the signs of singular vectors, and these on the LAPACK.
func clamp(a, b kernel.Mat, q float64) {
	all := slices.Concat(a.Data, b.Data)
	for i, v := range all {
		all[i] = float32(math.Abs(float64(v)))
	}
	slices.Sort(all)
	at := q * float64(len(all)-1)
	lo := int(at)
	hi := min(lo+1, len(all)-1)
	most := all[lo] + float32(at-float64(lo))*(all[hi]-all[lo])
	for _, m := range []kernel.Mat{a, b} {
		for i, v := range m.Data {
			m.Data[i] = min(max(v, -most), most)
		}
	}
}
