package lora

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"gonum.org/v1/gonum/mat"
)

// FRoD changes a weight in a basis V that all targets of one name share, by its scales and by a few of its rotations [frod2025]:
//
//	y = base(x) + ((x·V)·Sᵀ + (x·V)∘(l − n))·Uᵀ     W·V⁻ᵀ = U·diag(n)
//
//	V [in, in]   U [out, in] of unit columns, not stored   l [in], n at first   S [in, in] with a few elements beside the diagonal, zero at first
//
// V joins the weights of all layers: with Q·R their QR decomposition, layer upon layer, and Q_i a layer's rows of Q, it is Rᵀ·E with E the
// eigenvectors of the mean of (Q_iᵀ·Q_i + α)⁻¹.
//
// References: [frod2025] FRoD: Full-Rank Efficient Fine-Tuning with Rotational Degrees for Fast Convergence, arXiv 2512.23485.
var FRoD = (&tuner.Kind{Type: "FROD", Name: "frod", New: func() tuner.Options { return &frod{rate: 0.01, alpha: 1e-3, save: true, init: true} },
	Defaults: peft.Object{"bias": "none", "fan_in_fan_out": false, "frod_dropout": 0.0, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "progressbar": true, "projection_prng_key": 0, "regularization_alpha": 0.001,
		"runtime_offload_base_weight": false, "save_projection": true, "sparse_rate": 0.01, "target_modules": nil}}).Method()

type frod struct {
	key                  int
	rate, alpha, dropout float64
	save, init           bool
}

func (o *frod) Settings() []peft.Setting {
	return []peft.Setting{{Key: "sparse_rate", To: &o.rate, Max: 1}, {Key: "regularization_alpha", To: &o.alpha}, {Key: "frod_dropout", To: &o.dropout, Max: 0.999},
		{Key: "projection_prng_key", To: &o.key}, {Key: "save_projection", To: &o.save}, {Key: "init_weights", To: &o.init}}
}

func (o *frod) Check() error {
	if !o.save {
		return errors.New("frod: save_projection is false, want true: the signs of the basis are those of one LAPACK and only the file can tell them")
	}
	return nil
}

// frodBank holds the shared bases by category.
type frodBank struct {
	*frod
	of map[string]*frodBasis
}

// frodBasis is what the targets of one name share.
type frodBasis struct {
	v      *peft.Buffer
	places []int // rows of S, then columns
}

// frodCategory is PEFT's name for the targets that share a basis: the last two parts of a name, or the one after a number.
func frodCategory(name string) string {
	parts := strings.Split(name, ".")
	if len(parts) == 1 {
		return name
	}
	last, before := parts[len(parts)-1], parts[len(parts)-2]
	switch {
	case strings.Trim(before, "0123456789") == "":
		return last
	case before == "output" && last == "dense" && len(parts) > 2 && parts[len(parts)-3] == "attention":
		return "attention_output"
	}
	return before + "_" + last
}

// Bank makes the bases. Those of a file replace them, so that nothing is decomposed then.
func (o *frod) Bank(b *tuner.Bank) (tuner.Maker, error) {
	bank := &frodBank{o, map[string]*frodBasis{}}
	weights := map[string][]kernel.Mat{}
	var order []string
	widths := map[string]int{}
	for _, s := range b.Slots {
		name := frodCategory(s.Name)
		in, _ := s.Dims()
		if w, ok := widths[name]; ok && w != in {
			return nil, fmt.Errorf("frod: %s has %d inputs, others of the name %s have %d, want the same", s.Name, in, name, w)
		}
		if widths[name] = in; !slices.Contains(order, name) {
			order = append(order, name)
		}
		if !b.FromFile {
			weights[name] = append(weights[name], weightOf(s.Base))
		}
	}
	slices.Sort(order)
	for _, name := range order {
		basis, err := o.basis(b, name, widths[name], weights[name])
		if err != nil {
			return nil, err
		}
		bank.of[name] = basis
	}
	return bank, nil
}

// basis makes V and the places of S.
func (o *frod) basis(b *tuner.Bank, name string, in int, weights []kernel.Mat) (*frodBasis, error) {
	most := in * (in - 1)
	nnz := min(int(float64(in)*float64(in)*o.rate), most)
	if o.rate > 0 && most > 0 {
		nnz = max(1, nnz)
	}
	basis := &frodBasis{v: b.Buffer("base_model.frod_V."+name, tuner.Zeros, in, in), places: make([]int, 2*nnz)}
	for k, i := range permutation(most, nnz, uint32(o.key)) {
		row, col := i/(in-1), i%(in-1)
		if col >= row { // the diagonal is left out
			col++
		}
		basis.places[k], basis.places[nnz+k] = row, col
	}
	at := b.Whole("base_model.frod_s_indices."+name, basis.places, 2, nnz)
	at.Int64, at.Check = true, func() error { return within(basis.places, nnz, in, in) }
	size := []int{in, in}
	n := b.Whole("base_model.frod_s_size."+name, size, 2)
	n.Int64, n.Check = true, func() error {
		if size[0] != in || size[1] != in {
			return fmt.Errorf("it is %v, want [%d %d]", size, in, in)
		}
		return nil
	}
	if weights == nil {
		return basis, nil
	}
	v, err := o.join(weights, in)
	if err == nil {
		copy(basis.v.Data, linalg.Mat(v).Data)
	}
	return basis, err
}

// join is the basis of the weights of all layers.
func (o *frod) join(weights []kernel.Mat, in int) (*mat.Dense, error) {
	rows := 0
	for _, w := range weights {
		rows += w.Rows
	}
	all := mat.NewDense(rows, in, nil)
	at := 0
	for _, w := range weights {
		for i := range w.Rows {
			for j, v := range w.Row(i) {
				all.Set(at+i, j, float64(v))
			}
		}
		at += w.Rows
	}
	if rows < in {
		var svd mat.SVD
		if !svd.Factorize(all, mat.SVDFullV) {
			return nil, errors.New("frod: the singular value decomposition of a weight did not converge")
		}
		var v mat.Dense
		svd.VTo(&v)
		return &v, nil
	}
	var r mat.Dense
	q := linalg.Orthonormal(mat.DenseCopyOf(all))
	r.Mul(q.T(), all)
	return o.rotate(&r, q, weights)
}

// rotate is Rᵀ·E.
func (o *frod) rotate(r, q *mat.Dense, weights []kernel.Mat) (*mat.Dense, error) {
	_, in := q.Dims()
	mean := mat.NewSymDense(in, nil)
	at := 0
	for _, w := range weights {
		part := q.Slice(at, at+w.Rows, 0, in)
		at += w.Rows
		var g, inverse mat.Dense
		g.Mul(part.T(), part)
		for i := range in {
			g.Set(i, i, g.At(i, i)+o.alpha)
		}
		if err := inverse.Inverse(&g); err != nil {
			return nil, fmt.Errorf("frod: regularization_alpha %g leaves a weight without an inverse: %w", o.alpha, err)
		}
		for i := range in {
			for j := i; j < in; j++ {
				mean.SetSym(i, j, mean.At(i, j)+(inverse.At(i, j)+inverse.At(j, i))/2/float64(len(weights)))
			}
		}
	}
	var e mat.EigenSym
	if !e.Factorize(mean, true) {
		return nil, errors.New("frod: the eigenvectors of the weights did not converge")
	}
	var vectors, v mat.Dense
	e.VectorsTo(&vectors)
	v.Mul(r.T(), &vectors)
	return &v, nil
}

func (o *frodBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	basis := o.of[frodCategory(s.Slot.Name)]
	u := &frodDirections{v: basis.v, weight: func() kernel.Mat { return weightOf(s.Slot.Base) }}
	scales, rotations := tuner.Zeros, tuner.Zeros
	switch {
	case s.FromFile:
	case o.init:
		scales = func(x []float32, _ *rand.Rand) { copy(x, u.kept().n) }
	default:
		scales, rotations = func(x []float32, rng *rand.Rand) {
			tuner.Normal(0, 0.02)(x, rng)
			kernel.Add(x, u.kept().n)
		}, tuner.Normal(0, 0.02)
	}
	n := len(basis.places) / 2
	l, w := s.Param("frod_lambda_l", scales, s.In), s.Param("frod_lambda_s_values", rotations, n)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		z := c.MatMul(c.Dropout(x, o.dropout), c.Const(matrix(basis.v)))
		scale := c.Add(c.Param(l), -1, c.Lazy(1, s.In, func(m kernel.Mat) { copy(m.Data, u.kept().n) }))
		h := c.Add(c.MulCols(z, scale), 1, sparse(c, z, c.Param(w), basis.places[:n], basis.places[n:], s.In))
		return c.MatMulT(h, c.Lazy(s.Out, s.In, func(m kernel.Mat) { copy(m.Data, u.kept().u.Data) }))
	}}, nil
}

// frodDirections are U and n of one target: the columns of W·V⁻ᵀ and their lengths. They are kept with the V that they belong to, which a
// file may replace. Safe for concurrent use.
type frodDirections struct {
	v      *peft.Buffer
	weight func() kernel.Mat
	last   atomic.Pointer[frodKept]
}

type frodKept struct {
	v []float32
	u kernel.Mat // [out, in]
	n []float32  // [in]
}

func (d *frodDirections) kept() *frodKept {
	k := d.last.Load()
	if k == nil || !slices.Equal(k.v, d.v.Data) {
		k = d.solve()
		d.last.Store(k)
	}
	return k
}

// solve computes both; they are zero where V has no inverse.
func (d *frodDirections) solve() *frodKept {
	w := d.weight()
	k := &frodKept{v: slices.Clone(d.v.Data), u: kernel.NewMat(make([]float32, w.Rows*w.Cols), w.Rows, w.Cols), n: make([]float32, w.Cols)}
	var x mat.Dense // V·X = Wᵀ, so that Xᵀ = W·V⁻ᵀ
	if err := x.Solve(linalg.Dense(matrix(d.v)), linalg.Dense(w).T()); err != nil {
		var ill mat.Condition
		if !errors.As(err, &ill) || math.IsInf(float64(ill), 1) {
			return k
		}
	}
	for j := range w.Cols {
		n := mat.Norm(x.RowView(j), 2)
		k.n[j] = float32(n)
		for i := range w.Rows {
			if n > 1e-8 {
				k.u.Row(i)[j] = float32(x.At(j, i) / n)
			}
		}
	}
	return k
}
