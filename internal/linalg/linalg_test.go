package linalg

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"gonum.org/v1/gonum/mat"
)

// product is U·S·Vᵀ of the r largest values.
func product(f SVD, r int) []float32 {
	rows, _ := f.U.Dims()
	cols, _ := f.V.Dims()
	y := make([]float32, rows*cols)
	for i := range rows {
		for j := range cols {
			s := 0.0
			for k := range r {
				s += f.U.At(i, k) * f.S[k] * f.V.At(j, k)
			}
			y[i*cols+j] = float32(s)
		}
	}
	return y
}

// TestOfProduct compares with the decomposition of the product itself: thin factors, and factors that are not.
func TestOfProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	for _, c := range []struct{ out, in, k int }{{23, 17, 3}, {7, 29, 7}, {5, 11, 13}} {
		b, a := random(c.out, c.k, rng), random(c.k, c.in, rng)
		f, err := OfProduct(b, a)
		if err != nil {
			t.Fatal(err)
		}
		w := kernel.NewMat(make([]float32, c.out*c.in), c.out, c.in)
		kernel.MatMul(w, b, a, kernel.MatMulOpts{})
		want, err := Thin(Dense(w))
		if err != nil {
			t.Fatal(err)
		}
		n := min(c.k, c.out, c.in)
		for k := range n {
			if math.Abs(f.S[k]-want.S[k]) > 1e-6*want.S[0] { // the product is float32
				t.Errorf("[%d %d %d]: value %d is %g, want %g", c.out, c.k, c.in, k, f.S[k], want.S[k])
			}
		}
		check.Close(t, "product", product(f, n), w.Data, 1e-5, 1e-5)
	}
}

// TestQR checks that Q is orthonormal, R is upper and their product is the matrix.
func TestQR(t *testing.T) {
	m := Dense(random(13, 5, rand.New(rand.NewPCG(7, 11))))
	was := mat.DenseCopyOf(m)
	q, r := QR(m)
	var back, one mat.Dense
	back.Mul(q, r)
	one.Mul(q.T(), q)
	for i := range 13 {
		for j := range 5 {
			if math.Abs(back.At(i, j)-was.At(i, j)) > 1e-12 {
				t.Fatalf("Q·R[%d, %d] is %g, want %g", i, j, back.At(i, j), was.At(i, j))
			}
		}
	}
	for i := range 5 {
		for j := range 5 {
			want := 0.0
			if i == j {
				want = 1
			}
			if math.Abs(one.At(i, j)-want) > 1e-12 || j < i && r.At(i, j) != 0 {
				t.Fatalf("QᵀQ[%d, %d] is %g, R is %g", i, j, one.At(i, j), r.At(i, j))
			}
		}
	}
}

// TestNotFinite: numbers that are none are refused before LAPACK sees them.
func TestNotFinite(t *testing.T) {
	w := random(5, 3, rand.New(rand.NewPCG(1, 1)))
	w.Data[4] = float32(math.NaN())
	rng := rand.New(rand.NewPCG(1, 2))
	_, e1 := Largest(w, 2, rng)
	_, e2 := Randomised(w, 2, 1, rng)
	_, e3 := OfProduct(w, random(3, 4, rng))
	for _, err := range []error{e1, e2, e3} {
		if err == nil {
			t.Error("a matrix with NaN is decomposed, want an error")
		}
	}
}
