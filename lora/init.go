package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"gonum.org/v1/gonum/mat"
)

// initialiser is one value of init_lora_weights.
type initialiser struct {
	name string
	does string // in a few words
	draw func(d *draft) error
	// takes says that the product of the factors is taken out of the base, so that the sum begins as the base.
	takes bool
	// looks computes what draw needs from what passes through the model, and ranks settles the ranks by it; nil = no need.
	looks func(c *Config, b *branch, m *moments) error
	ranks func(c *Config, plan []branch) ([]branch, error)
	// plain says that bias of B and the like may begin at zero beside it.
	plain bool
	// refuses says why graft cannot begin so; loads that a trained adapter which did is plain LoRA in its file.
	refuses string
	loads   bool
}

// draft is a branch of a linear layer before its first step. A and B are zero.
type draft struct {
	a, b       kernel.Mat // [r, in], [out, r]
	scale      float64
	iterations int         // of pissa_niter_N
	known      *linalg.SVD // of initialisers that look
	loftq      LoftQ
	base       kernel.Mat // [out, in], what the base is from now on; of no rows = what it was
	rng        *rand.Rand
	weight     func() kernel.Mat // W [out, in], a copy
}

// initialisers is the table. "true" comes first: it is the default.
var initialisers = []initialiser{
	{name: "true", does: "A ~ U(±1/√in), B = 0", draw: kaiming, plain: true},
	{name: "gaussian", does: "A ~ N(0, 1/r), B = 0", draw: gaussian},
	{name: "false", does: "A ~ U(±1/√in), B ~ U(±1/√r)", draw: both, plain: true},
	{name: "orthogonal", does: "random A and B with B·A = 0", draw: orthogonal},
	{name: "pissa", does: "the largest singular directions of W, taken out of the base", draw: pissa, takes: true},
	{name: "pissa_niter_", does: "as pissa, by so many iterations of a randomised decomposition", draw: pissaFast, takes: true},
	{name: "olora", does: "the first columns and rows of W's QR, taken out of the base", draw: olora, takes: true},
	{name: "eva", does: "A = the directions in which inputs vary most, B = 0; ranks go where they explain most", draw: eva, looks: evaLooks, ranks: evaRanks},
	{name: "corda", does: "the directions of W that inputs use most, or least, taken out of the base", draw: corda, looks: cordaLooks, takes: true},
	{name: "loftq", does: "what W loses by quantisation; the base is the quantised W", draw: loftq},
	{name: "lora_ga", refuses: "it is computed from gradients of data"},
	{name: "mica", refuses: "its B stays frozen, which is not supported"},
}

// initialiser is the row of init_lora_weights; n is the number of "pissa_niter_N".
func (c *Config) initialiser() (row initialiser, n int, err error) {
	row, n, err = lookupInitialiser(c.Init)
	if err == nil && row.refuses != "" && !(row.loads && c.FromFile) {
		err = fmt.Errorf("lora: init_lora_weights is %q, which is not supported: %s", c.Init, row.refuses)
	}
	return row, n, err
}

// lookupInitialiser finds a row.
func lookupInitialiser(name string) (row initialiser, n int, err error) {
	var names []string
	for _, x := range initialisers {
		rest, prefixed := strings.CutPrefix(name, x.name)
		switch {
		case x.name == name && !strings.HasSuffix(x.name, "_"):
			return x, 0, nil
		case strings.HasSuffix(x.name, "_") && prefixed:
			if n, err := strconv.Atoi(rest); err == nil && n >= 0 && n <= 1000 {
				return x, n, nil
			}
			return x, 0, fmt.Errorf("lora: init_lora_weights is %q, want %sN with N up to 1000", name, x.name)
		}
		if x.refuses == "" {
			names = append(names, strings.Replace(x.name, "niter_", "niter_N", 1))
		}
	}
	return row, 0, fmt.Errorf("lora: init_lora_weights is %q, want one of %s", name, strings.Join(names, ", "))
}

// uniform draws from U(±1/√n).
func uniform(x []float32, n int, rng *rand.Rand) {
	bound := 1 / math.Sqrt(float64(n))
	for i := range x {
		x[i] = float32((2*rng.Float64() - 1) * bound)
	}
}

func normal(x []float32, std float64, rng *rand.Rand) {
	for i := range x {
		x[i] = float32(rng.NormFloat64() * std)
	}
}

// kaiming is kaiming_uniform(a=√5) of torch.
func kaiming(d *draft) error {
	uniform(d.a.Data, d.a.Cols, d.rng)
	return nil
}

func gaussian(d *draft) error {
	for i := range d.a.Data {
		d.a.Data[i] = float32(d.rng.NormFloat64() / float64(d.a.Rows))
	}
	return nil
}

// both is what torch's Linear begins with: the adapter changes the model at once.
func both(d *draft) error {
	uniform(d.a.Data, d.a.Cols, d.rng)
	uniform(d.b.Data, d.a.Rows, d.rng)
	return nil
}

// embeddingStart is the start of an embedding's factors: A zero and B of N(0, 1), or both of N(0, 1) for "false". The
// other initialisers mean the same here, as in PEFT.
func embeddingStart(name string, a, b []float32, rng *rand.Rand) {
	if name == "false" {
		normal(a, 1, rng)
	}
	normal(b, 1, rng)
}

// orthogonal draws A and B through the even and the odd rows of one orthogonal matrix Q [r, r], so that B·A = 0:
//
//	A = (X·Q_even)ᵀ/10   B = Y·Q_odd/10     X [in, r/2], Y [out, r/2] of N(0, 1)
func orthogonal(d *draft) error {
	r, in, out := d.a.Rows, d.a.Cols, d.b.Rows
	if r%2 != 0 {
		return fmt.Errorf("lora: init_lora_weights \"orthogonal\" with r %d, want an even r", r)
	}
	gauss := func(rows, cols int) *mat.Dense {
		x := make([]float64, rows*cols)
		for i := range x {
			x[i] = d.rng.NormFloat64()
		}
		return mat.NewDense(rows, cols, x)
	}
	q := linalg.Orthonormal(gauss(r, r))
	even, odd := mat.NewDense(r/2, r, nil), mat.NewDense(r/2, r, nil)
	for i := range r / 2 {
		even.SetRow(i, mat.Row(nil, 2*i, q))
		odd.SetRow(i, mat.Row(nil, 2*i+1, q))
	}
	var a, b mat.Dense
	a.Mul(gauss(in, r/2), even) // [in, r]
	b.Mul(gauss(out, r/2), odd) // [out, r]
	for i := range in {
		for k := range r {
			d.a.Row(k)[i] = float32(a.At(i, k) / 10)
		}
	}
	for i := range out {
		for k := range r {
			d.b.Row(i)[k] = float32(b.At(i, k) / 10)
		}
	}
	return nil
}

// thin reports a rank beyond that of the weight.
func (d *draft) thin(name string) error {
	if most := min(d.a.Cols, d.b.Rows); d.a.Rows > most {
		return fmt.Errorf("lora: init_lora_weights %q with r %d for a weight [%d, %d], want at most %d", name, d.a.Rows, d.b.Rows, d.a.Cols, most)
	}
	return nil
}

// pissa takes the r largest singular values and their directions [meng2024]:
//
//	A = √(S/scale)·Vᵀ   B = U·√(S/scale)   W = U·S·Vᵀ
//
// References: [meng2024] PiSSA, arXiv 2404.02948.
func pissa(d *draft) error {
	return d.singular("pissa", func(w kernel.Mat) (linalg.SVD, error) { return linalg.Largest(w, d.a.Rows, d.rng) })
}

// pissaFast is pissa by the randomised decomposition of torch.svd_lowrank [halko2011].
func pissaFast(d *draft) error {
	return d.singular("pissa_niter_", func(w kernel.Mat) (linalg.SVD, error) { return linalg.Randomised(w, d.a.Rows, d.iterations, d.rng) })
}

func (d *draft) singular(name string, decompose func(w kernel.Mat) (linalg.SVD, error)) error {
	if !(d.scale > 0) {
		return fmt.Errorf("lora: init_lora_weights %q with the scale %g, want lora_alpha above 0", name, d.scale)
	}
	if err := d.thin(name); err != nil {
		return err
	}
	f, err := decompose(d.weight())
	if err != nil {
		return err
	}
	d.take(f)
	return nil
}

// take makes scale·B·A the product of directions.
func (d *draft) take(f linalg.SVD) {
	for k := range d.a.Rows {
		root := math.Sqrt(f.S[k] / d.scale)
		for j := range d.a.Cols {
			d.a.Row(k)[j] = float32(root * f.V.At(j, k))
		}
		for i := range d.b.Rows {
			d.b.Row(i)[k] = float32(root * f.U.At(i, k))
		}
	}
}

// olora takes the first r columns of Q and rows of R of W = Q·R [buyukakyuz2024]: Q_r is an orthonormal basis of W's first r
// columns, and R_r is Q_rᵀ·W.
//
// References: [buyukakyuz2024] OLoRA, arXiv 2406.01775.
func olora(d *draft) error {
	if err := d.thin("olora"); err != nil {
		return err
	}
	w := d.weight()
	first := mat.NewDense(w.Rows, d.a.Rows, nil)
	for i := range w.Rows {
		for k := range d.a.Rows {
			first.Set(i, k, float64(w.Row(i)[k]))
		}
	}
	q := linalg.Orthonormal(first)
	for i := range w.Rows {
		for k := range d.a.Rows {
			d.b.Row(i)[k] = float32(q.At(i, k))
		}
	}
	kernel.MatMul(d.a, d.b, w, kernel.MatMulOpts{TransA: true})
	return linalg.Finite(d.a)
}

// randOf is the source of columns to begin iterations with, where the outcome does not depend on them.
func randOf(n int) *rand.Rand { return rand.New(rand.NewPCG(71, uint64(n))) }
