// Package linalg decomposes weights: QR, singular values whole, largest first or of a product of thin factors, and
// the randomised forms for matrices that are too large for a full decomposition. Matrices go in as float32; what is done with
// them is float64 wherever it is small.
//
//	f, err := linalg.Largest(w, 8, rng)       // w [out, in] ≈ U·S·Vᵀ of rank 8
//	f, err = linalg.OfProduct(b, a)           // the same of b·a, which is never formed
package linalg

import (
	"errors"
	"math"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/kernel"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// SVD holds singular values in falling order with their directions as columns.
type SVD struct {
	U *mat.Dense // [out, k]
	S []float64
	V *mat.Dense // [in, k]
}

// Small is the largest short side of matrices that are decomposed whole: gonum's time grows with its cube.
const Small = 256

// Largest finds the r largest singular values of w [out, in] with their directions: by a full decomposition if w is small, else
// by subspace iteration until the values stand still. Where values lie close together, directions beyond them may mix;
// their span and the product are what counts.
func Largest(w kernel.Mat, r int, rng *rand.Rand) (SVD, error) {
	if err := Finite(w); err != nil {
		return SVD{}, err
	}
	if min(w.Rows, w.Cols) <= Small {
		return Thin(Dense(w))
	}
	const most = 200
	x := random(w.Cols, min(r+max(r, 16), w.Rows, w.Cols), rng) // twice the columns: convergence goes by the first one left out
	var last []float64
	for range most {
		f, err := Project(w, x)
		if err != nil {
			return SVD{}, err
		}
		if settled(f.S[:r], last) {
			return f, nil
		}
		last = append(last[:0], f.S[:r]...)
		x = Mat(Orthonormal(times(w, Mat(f.U), true))) // Wᵀ·U
	}
	return SVD{}, errors.New("linalg: the singular values of a weight do not settle in 200 iterations")
}

// settled says that no value moved by more than float32 can tell.
func settled(s, last []float64) bool {
	if last == nil {
		return false
	}
	for k := range s {
		if math.Abs(s[k]-last[k]) > 1e-7*s[0] {
			return false
		}
	}
	return true
}

// Randomised is torch.svd_lowrank: n iterations on r random columns.
//
// References: [halko2011] Finding structure with randomness, arXiv 0909.4061, algorithm 5.1.
func Randomised(w kernel.Mat, r, n int, rng *rand.Rand) (SVD, error) {
	if err := Finite(w); err != nil {
		return SVD{}, err
	}
	x := random(w.Cols, r, rng)
	for range n {
		q := Orthonormal(times(w, x, false))
		x = Mat(Orthonormal(times(w, Mat(q), true)))
	}
	return Project(w, x)
}

// Project decomposes w restricted to the range of w·x: w ≈ Q·(Qᵀ·w).
func Project(w, x kernel.Mat) (SVD, error) {
	q := Orthonormal(times(w, x, false))   // [out, k]
	f, err := Thin(times(w, Mat(q), true)) // (Qᵀ·w)ᵀ [in, k] = V·S·U'ᵀ
	if err != nil {
		return f, err
	}
	var u mat.Dense
	u.Mul(q, f.V)
	return SVD{U: &u, S: f.S, V: f.U}, nil
}

// OfProduct decomposes b·a by the thin QR of both factors, so that the product itself is never formed:
//
//	b = Q·R   aᵀ = P·T   b·a = Q·(R·Tᵀ)·Pᵀ
//
//	b [out, k]   a [k, in]
//
// Factors that are not thin are multiplied.
func OfProduct(b, a kernel.Mat) (SVD, error) {
	for _, m := range []kernel.Mat{a, b} {
		if err := Finite(m); err != nil {
			return SVD{}, err
		}
	}
	if k := a.Rows; k > min(b.Rows, a.Cols) {
		var w mat.Dense
		w.Mul(Dense(b), Dense(a))
		return Thin(&w)
	}
	q, r := QR(Dense(b))
	p, t := QR(mat.DenseCopyOf(Dense(a).T()))
	var core mat.Dense
	core.Mul(r, t.T())
	f, err := Thin(&core)
	if err != nil {
		return f, err
	}
	var u, v mat.Dense
	u.Mul(q, f.U)
	v.Mul(p, f.V)
	return SVD{U: &u, S: f.S, V: &v}, nil
}

// times is w·x, or wᵀ·x.
func times(w, x kernel.Mat, trans bool) *mat.Dense {
	rows := w.Rows
	if trans {
		rows = w.Cols
	}
	y := kernel.NewMat(make([]float32, rows*x.Cols), rows, x.Cols)
	kernel.MatMul(y, w, x, kernel.MatMulOpts{TransA: trans})
	return Dense(y)
}

// Thin is the thin singular value decomposition.
func Thin(m *mat.Dense) (SVD, error) {
	var d mat.SVD
	if !d.Factorize(m, mat.SVDThin) {
		return SVD{}, errors.New("linalg: the singular value decomposition of a weight did not converge")
	}
	var u, v mat.Dense
	d.UTo(&u)
	d.VTo(&v)
	return SVD{U: &u, S: d.Values(nil), V: &v}, nil
}

// QR is the thin QR decomposition of m, which has no more columns than rows and is overwritten.
//
//	q [rows, cols]   r [cols, cols], upper
func QR(m *mat.Dense) (q, r *mat.Dense) {
	rows, cols := m.Dims()
	tau := make([]float64, min(rows, cols))
	size := make([]float64, 1)
	lapack64.Geqrf(m.RawMatrix(), tau, size, -1)
	work := make([]float64, int(size[0]))
	lapack64.Geqrf(m.RawMatrix(), tau, work, len(work))
	r = mat.NewDense(cols, cols, nil)
	for i := range cols {
		copy(r.RawRowView(i)[i:], m.RawRowView(i)[i:])
	}
	lapack64.Orgqr(m.RawMatrix(), tau, size, -1)
	if n := int(size[0]); n > len(work) {
		work = make([]float64, n)
	}
	lapack64.Orgqr(m.RawMatrix(), tau, work, len(work))
	return m, r
}

// Orthonormal is Q of QR.
func Orthonormal(m *mat.Dense) *mat.Dense {
	q, _ := QR(m)
	return q
}

// random draws from N(0, 1).
func random(rows, cols int, rng *rand.Rand) kernel.Mat {
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return kernel.NewMat(x, rows, cols)
}

// Dense is a copy of m in float64.
func Dense(m kernel.Mat) *mat.Dense {
	d := mat.NewDense(m.Rows, m.Cols, nil)
	for i := range m.Rows {
		row := d.RawRowView(i)
		for j, v := range m.Row(i) {
			row[j] = float64(v)
		}
	}
	return d
}

// Mat is a copy of d in float32.
func Mat(d *mat.Dense) kernel.Mat {
	rows, cols := d.Dims()
	m := kernel.NewMat(make([]float32, rows*cols), rows, cols)
	for i := range rows {
		row := m.Row(i)
		for j, v := range d.RawRowView(i) {
			row[j] = float32(v)
		}
	}
	return m
}

// Finite reports a number that is none.
func Finite(m kernel.Mat) error {
	for i := range m.Rows {
		for _, v := range m.Row(i) {
			if v-v != 0 {
				return errors.New("linalg: the weight has numbers that are not finite")
			}
		}
	}
	return nil
}

// Energy is ‖w‖², in float64.
func Energy(w kernel.Mat) (sum float64) {
	for i := range w.Rows {
		sum += kernel.SumSquares(w.Row(i))
	}
	return sum
}

// Leading finds r or more of the largest singular values of w: of a small matrix all, else by subspace iteration until what the
// first r hold of ‖w‖² grows by no more than a ten-thousandth of it. That settles soon even where the values lie close together,
// unlike their directions. What is left out is known exactly: ‖w‖² less the squares of the values kept.
func Leading(w kernel.Mat, r int, rng *rand.Rand) (SVD, error) {
	if err := Finite(w); err != nil {
		return SVD{}, err
	}
	short := min(w.Rows, w.Cols)
	if short <= Small || r > short/2 {
		return Thin(Dense(w))
	}
	const (
		spare = 16 // more columns than asked for, so that the last ones asked for converge, too
		most  = 50
		still = 1e-4
	)
	x := random(w.Cols, min(r+spare, short), rng)
	all, last := Energy(w), -1.0
	for i := 1; ; i++ {
		f, err := Project(w, x)
		if err != nil {
			return SVD{}, err
		}
		held := 0.0
		for _, s := range f.S[:r] {
			held += s * s
		}
		if held-last <= still*all && last >= 0 || i == most {
			return f, nil
		}
		last = held
		x = Mat(Orthonormal(times(w, Mat(f.U), true)))
	}
}
