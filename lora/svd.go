package lora

import (
	"errors"
	"math"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/kernel"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// factors are singular values in falling order with their directions as columns.
type factors struct {
	u *mat.Dense // [out, k]
	s []float64
	v *mat.Dense // [in, k]
}

// smallMatrix is the largest short side of matrices that are decomposed whole: gonum's time grows with its cube.
const smallMatrix = 256

// largest finds the r largest singular values of w [out, in] with their directions: by a full decomposition if w is small, else
// by subspace iteration until the values stand still. Where values lie close together, directions beyond them may mix;
// their span and the product are what counts.
func largest(w kernel.Mat, r int, rng *rand.Rand) (factors, error) {
	if err := finite(w); err != nil {
		return factors{}, err
	}
	if min(w.Rows, w.Cols) <= smallMatrix {
		return whole(dense(w))
	}
	const most = 200
	x := random(w.Cols, min(r+max(r, 16), w.Rows, w.Cols), rng) // twice the columns: convergence goes by the first one left out
	var last []float64
	for range most {
		f, err := project(w, x)
		if err != nil {
			return factors{}, err
		}
		if settled(f.s[:r], last) {
			return f, nil
		}
		last = append(last[:0], f.s[:r]...)
		x = single(f.u, w) // Wᵀ·U
	}
	return factors{}, errors.New("lora: the singular values of a weight do not settle in 200 iterations")
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

// randomised is torch.svd_lowrank: n iterations on r random columns.
//
// References: [halko2011] Finding structure with randomness, arXiv 0909.4061, algorithm 5.1.
func randomised(w kernel.Mat, r, n int, rng *rand.Rand) (factors, error) {
	if err := finite(w); err != nil {
		return factors{}, err
	}
	x := random(w.Cols, r, rng)
	for range n {
		q := orthonormal(times(w, x, false))
		x = matOf(orthonormal(times(w, matOf(q), true)))
	}
	return project(w, x)
}

// project decomposes w restricted to the range of w·x: w ≈ Q·(Qᵀ·w).
func project(w, x kernel.Mat) (factors, error) {
	q := orthonormal(times(w, x, false))      // [out, k]
	f, err := whole(times(w, matOf(q), true)) // (Qᵀ·w)ᵀ [in, k] = V·S·U'ᵀ
	if err != nil {
		return f, err
	}
	var u mat.Dense
	u.Mul(q, f.v)
	return factors{u: &u, s: f.s, v: f.u}, nil
}

// times is w·x, or wᵀ·x.
func times(w, x kernel.Mat, trans bool) *mat.Dense {
	rows := w.Rows
	if trans {
		rows = w.Cols
	}
	y := kernel.NewMat(make([]float32, rows*x.Cols), rows, x.Cols)
	kernel.MatMul(y, w, x, kernel.MatMulOpts{TransA: trans})
	return dense(y)
}

// single is wᵀ·u with orthonormal columns.
func single(u *mat.Dense, w kernel.Mat) kernel.Mat {
	return matOf(orthonormal(times(w, matOf(u), true)))
}

// whole is the thin singular value decomposition.
func whole(m *mat.Dense) (factors, error) {
	var d mat.SVD
	if !d.Factorize(m, mat.SVDThin) {
		return factors{}, errors.New("lora: the singular value decomposition of a weight did not converge")
	}
	var u, v mat.Dense
	d.UTo(&u)
	d.VTo(&v)
	return factors{u: &u, s: d.Values(nil), v: &v}, nil
}

// orthonormal is Q of the thin QR decomposition of m, which has no more columns than rows and is overwritten.
func orthonormal(m *mat.Dense) *mat.Dense {
	rows, cols := m.Dims()
	tau := make([]float64, min(rows, cols))
	size := make([]float64, 1)
	lapack64.Geqrf(m.RawMatrix(), tau, size, -1)
	work := make([]float64, int(size[0]))
	lapack64.Geqrf(m.RawMatrix(), tau, work, len(work))
	lapack64.Orgqr(m.RawMatrix(), tau, size, -1)
	if n := int(size[0]); n > len(work) {
		work = make([]float64, n)
	}
	lapack64.Orgqr(m.RawMatrix(), tau, work, len(work))
	return m
}

func random(rows, cols int, rng *rand.Rand) kernel.Mat {
	x := make([]float32, rows*cols)
	normal(x, 1, rng)
	return kernel.NewMat(x, rows, cols)
}

func dense(m kernel.Mat) *mat.Dense {
	d := mat.NewDense(m.Rows, m.Cols, nil)
	for i := range m.Rows {
		for j, v := range m.Row(i) {
			d.Set(i, j, float64(v))
		}
	}
	return d
}

func matOf(d *mat.Dense) kernel.Mat {
	rows, cols := d.Dims()
	m := kernel.NewMat(make([]float32, rows*cols), rows, cols)
	for i := range rows {
		for j := range cols {
			m.Row(i)[j] = float32(d.At(i, j))
		}
	}
	return m
}
