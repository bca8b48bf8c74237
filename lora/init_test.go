package lora

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
)

// draws runs an initialiser on a weight and returns scale·B·A.
func draws(t *testing.T, name string, w kernel.Mat, r int) (*draft, kernel.Mat, error) {
	t.Helper()
	row, n, err := lookupInitialiser(name)
	if err != nil {
		t.Fatal(err)
	}
	d := &draft{a: kernel.NewMat(make([]float32, r*w.Cols), r, w.Cols), b: kernel.NewMat(make([]float32, w.Rows*r), w.Rows, r), scale: 1.5,
		iterations: n, rng: rand.New(rand.NewPCG(2, 3)), weight: func() kernel.Mat { return cloned(w) }}
	err = row.draw(d)
	p := kernel.NewMat(make([]float32, w.Rows*w.Cols), w.Rows, w.Cols)
	kernel.MatMul(p, d.b, d.a, kernel.MatMulOpts{Alpha: float32(d.scale)})
	return d, p, err
}

// falling is a weight whose singular values fall like 1/k, as those of trained weights do.
func falling(rows, cols int) kernel.Mat {
	rng := rand.New(rand.NewPCG(23, 29))
	n := min(rows, cols)
	u, v := linalg.Mat(linalg.Orthonormal(linalg.Dense(drawn(rng, rows, n)))), linalg.Mat(linalg.Orthonormal(linalg.Dense(drawn(rng, cols, n))))
	for i := range rows {
		for k := range n {
			u.Row(i)[k] *= 10 / float32(k+1)
		}
	}
	w := kernel.NewMat(make([]float32, rows*cols), rows, cols)
	kernel.MatMul(w, u, v, kernel.MatMulOpts{TransB: true})
	return w
}

// TestPissa compares with the best approximation of rank r, by the full decomposition, on a weight that is small enough for
// it and on one that is decomposed by iterations.
func TestPissa(t *testing.T) {
	for _, c := range []struct {
		name       string
		rows, cols int
		tol        float64
	}{{"pissa", 61, 43, 1e-5}, {"pissa", 300, 280, 2e-4}, {"pissa_niter_40", 61, 43, 1e-4}} { // values that stand still to 1e-7 give directions to its root
		w := falling(c.rows, c.cols)
		_, got, err := draws(t, c.name, w, 5)
		if err != nil {
			t.Fatal(err)
		}
		f, err := linalg.Thin(linalg.Dense(w))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, len(got.Data))
		for i := range c.rows {
			for j := range c.cols {
				s := 0.0
				for k := range 5 {
					s += f.U.At(i, k) * f.S[k] * f.V.At(j, k)
				}
				want[i*c.cols+j] = float32(s)
			}
		}
		check.Close(t, c.name, got.Data, want, c.tol, 1e-3)
	}
}

func TestOlora(t *testing.T) {
	w := falling(41, 37)
	d, got, err := draws(t, "olora", w, 5)
	if err != nil {
		t.Fatal(err)
	}
	gram := make([]float32, 25)
	kernel.MatMul(kernel.NewMat(gram, 5, 5), d.b, d.b, kernel.MatMulOpts{TransA: true})
	eye := make([]float32, 25)
	for i := range 5 {
		eye[i*6] = 1
	}
	check.Close(t, "BᵀB", gram, eye, 1e-6, 0)
	for i := range w.Rows { // Q·R reproduces the first columns
		for j := range 5 {
			if g, want := float64(got.Row(i)[j])/d.scale, float64(w.Row(i)[j]); math.Abs(g-want) > 1e-5 {
				t.Fatalf("Q·R [%d, %d] = %g, want %g", i, j, g, want)
			}
		}
	}
}

func TestOrthogonal(t *testing.T) {
	d, got, err := draws(t, "orthogonal", falling(41, 37), 6)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "B·A", got.Data, make([]float32, len(got.Data)), 1e-6, 0)
	if zero(d.a.Data) || zero(d.b.Data) {
		t.Error("a factor is zero")
	}
}

func TestInitialiserErrors(t *testing.T) {
	w := falling(11, 7)
	for _, c := range []struct {
		name, want string
		r          int
	}{{"orthogonal", "want an even r", 3}, {"pissa", "want at most 7", 8}, {"olora", "want at most 7", 8}} {
		if _, _, err := draws(t, c.name, w, c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with r %d: %v, want …%s…", c.name, c.r, err, c.want)
		}
	}
	w.Data[3] = float32(math.NaN())
	for _, name := range []string{"pissa", "pissa_niter_2", "olora"} {
		if _, _, err := draws(t, name, w, 2); err == nil || !strings.Contains(err.Error(), "not finite") {
			t.Errorf("%s of NaN: %v, want an error", name, err)
		}
	}
}

// TestInitialisers holds the table to what it says: those that do not take the branch out of the base, and do not say
// otherwise, begin with nothing.
func TestInitialisers(t *testing.T) {
	for _, x := range initialisers {
		c := New()
		c.Init = strings.Replace(x.name, "niter_", "niter_4", 1)
		err := c.Validate()
		if (err == nil) != (x.refuses == "") {
			t.Errorf("%s: Validate() = %v, want an error: %v", x.name, err, x.refuses != "")
		}
		if x.refuses != "" && !strings.Contains(err.Error(), x.refuses) {
			t.Errorf("%s: %v, want the reason %q", x.name, err, x.refuses)
		}
		if x.refuses == "" && (x.does == "" || x.draw == nil) {
			t.Errorf("%s is incomplete", x.name)
		}
	}
	for _, name := range []string{"", "pissa_niter_", "pissa_niter_x", "pissa_niter_-1", "pissa2", "xavier"} {
		c := New()
		c.Init = name
		if err := c.Validate(); err == nil {
			t.Errorf("init_lora_weights %q: no error", name)
		}
	}
	d, _, _ := draws(t, "gaussian", falling(3, 9000), 4)
	sum := 0.0
	for _, v := range d.a.Data {
		sum += float64(v) * float64(v)
	}
	if std := math.Sqrt(sum / float64(len(d.a.Data))); math.Abs(std-0.25) > 0.005 { // 36000 draws
		t.Errorf("gaussian: std of A %g, want 1/4", std)
	}
}
