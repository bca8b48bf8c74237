package factor

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
)

// Options say how adapters become one. The names are those of PEFT's add_weighted_adapter.
type Options struct {
	Type         string    // combination_type: see Types
	Weights      []float64 // one for each adapter; nil means 1
	Rank         int       // svd_rank: the largest rank of what is decomposed; 0: the adapters' largest
	Density      float64   // density: of numbers, which share is kept; for ties, dare_* and magnitude_prune
	MajoritySign string    // majority_sign_method: "total" (or empty) or "frequency"
	Clamp        float64   // svd_clamp: factors are cut to ± this quantile of the sizes of their numbers; 0: not
	Compat       string    // "peft": as PEFT has it, see below
	Seed         uint64    // of dare_*
}

// CompatPEFT is the value of Options.Compat under which the result is PEFT's: linear, ties, dare_* and magnitude_prune are
// applied to A and to B, each with √(w·s), so that the product has terms B_i·A_j of different adapters, and ranks must be equal;
// modules that not every adapter has are padded with zeros to the rank of the others. Otherwise these are applied to
// s·B·A itself, whatever the ranks, and what comes out is decomposed.
const CompatPEFT = "peft"

// combination is one value of combination_type.
type combination struct {
	formula
	stack  bool // the factors are laid side by side: the result is exact, of the sum of the ranks
	exact  bool // the sum of products, decomposed by its factors
	whole  bool // the rank is as large as it takes, unless Rank says otherwise
	factor bool // with CompatPEFT, the formula is applied to the factors
	choose bool // needs a density
}

// combinations is the table.
var combinations = []combination{
	{formula: formula{name: "cat", does: "Σ w·ΔW, exact, of the sum of the ranks"}, stack: true},
	{formula: formula{name: "linear", does: "Σ w·ΔW, exact, of no more ranks than it has"}, exact: true, whole: true, factor: true},
	{formula: formula{name: "svd", does: "the best approximation of Σ w·ΔW of the largest rank"}, exact: true},
	{formula: formula{name: "ties", does: "the largest numbers of each ΔW, where most signs agree [yadav2023]", prune: keepLargest, elect: true}, factor: true, choose: true},
	{formula: formula{name: "dare_linear", does: "Σ w·ΔW of random numbers of each ΔW, scaled up [yu2023]", prune: keepSome}, factor: true, choose: true},
	{formula: formula{name: "dare_ties", does: "random numbers of each ΔW, where most signs agree", prune: keepSome, elect: true}, factor: true, choose: true},
	{formula: formula{name: "magnitude_prune", does: "Σ w·ΔW of the largest numbers of each ΔW", prune: keepLargest}, factor: true, choose: true},
}

// Type is a row of Types.
type Type struct {
	Name, Does string
	Density    bool // it needs Options.Density
}

// Types lists the values of Options.Type. Those with a density have a form with "_svd" behind their name, which is PEFT's word
// for what is meant without it unless Compat is set.
func Types() (list []Type) {
	for _, c := range combinations {
		list = append(list, Type{c.name, c.does, c.choose})
	}
	return list
}

// lookup finds a combination_type.
func lookup(o Options) (combination, error) {
	name, decompose := strings.CutSuffix(o.Type, "_svd")
	var names []string
	for _, c := range combinations {
		if c.name == name && (!decompose || c.choose) {
			c.factor = c.factor && !decompose && o.Compat == CompatPEFT
			return c, nil
		}
		if names = append(names, c.name); c.choose {
			names = append(names, c.name+"_svd")
		}
	}
	return combination{}, fmt.Errorf("factor: combination_type is %q, want one of %s", o.Type, strings.Join(names, ", "))
}

// check reports options that cannot be.
func (o *Options) check(c combination, n int) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("factor: "+format, args...)) }
	if n == 0 {
		bad("no adapters to combine")
	}
	if o.Weights != nil && len(o.Weights) != n {
		bad("%d weights for %d adapters", len(o.Weights), n)
	}
	for _, w := range o.Weights {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			bad("a weight is %g, want a finite number", w)
		}
	}
	if o.Rank < 0 {
		bad("svd_rank is %d, want at least 1", o.Rank)
	}
	if c.choose && !(o.Density > 0 && o.Density <= 1) {
		bad("density is %g, want above 0 and at most 1 for %s", o.Density, o.Type)
	}
	if !c.choose && o.Density != 0 {
		bad("density is %g, which %s has no use for", o.Density, o.Type)
	}
	if o.MajoritySign != "" && o.MajoritySign != total && o.MajoritySign != frequency {
		bad("majority_sign_method is %q, want %q or %q", o.MajoritySign, total, frequency)
	}
	if !(o.Clamp >= 0 && o.Clamp <= 1) {
		bad("svd_clamp is %g, want 0 to 1", o.Clamp)
	}
	if o.Compat != "" && o.Compat != CompatPEFT {
		bad("compat is %q, want %q or nothing", o.Compat, CompatPEFT)
	}
	return errors.Join(errs...)
}

// Combine makes one adapter of several. They are only read.
func Combine(list []*Adapter, o Options) (*Adapter, *Report, error) {
	c, err := lookup(o)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(o.check(c, len(list)), summable(list)); err != nil {
		return nil, nil, err
	}
	if o.Weights == nil {
		o.Weights = slices.Repeat([]float64{1}, len(list))
	}
	if o.Compat == CompatPEFT && len(list) == 1 { // as PEFT does
		c = combinations[1]
	}
	ranks := ranksOf(list)
	if c.factor && slices.Min(ranks) != slices.Max(ranks) {
		return nil, nil, fmt.Errorf("factor: ranks from %d to %d: with compat %q %s is of the factors, which must be of one rank; cat and svd are not", slices.Min(ranks), slices.Max(ranks), o.Compat, o.Type)
	}
	j := &job{combination: c, o: o, list: list, ranks: ranks}
	return j.run()
}

// job is a checked combination.
type job struct {
	combination
	o     Options
	list  []*Adapter
	ranks []int // the largest of each adapter
}

// ranksOf is the largest rank of each adapter: what adapter_config.json says, or more by its rank_pattern.
func ranksOf(list []*Adapter) (ranks []int) {
	for _, a := range list {
		r := a.Config.Rank
		for _, m := range a.Modules {
			r = max(r, m.A.Rows)
		}
		ranks = append(ranks, r)
	}
	return ranks
}

// rank is the largest that a module of the result has.
func (j *job) rank() int {
	sum := 0
	for _, r := range j.ranks {
		sum += r
	}
	switch {
	case j.stack:
		return sum
	case j.factor:
		return j.ranks[0]
	case j.o.Rank > 0:
		return j.o.Rank
	case j.whole:
		return sum
	}
	return slices.Max(j.ranks)
}

func (j *job) run() (*Adapter, *Report, error) {
	names := map[string]bool{}
	for _, a := range j.list {
		for _, m := range a.Modules {
			names[m.Name] = true
		}
	}
	out := &Adapter{Rest: shared(j.list)}
	report := &Report{}
	for i, name := range slices.Sorted(maps.Keys(names)) {
		m, row, err := j.module(name, uint64(i))
		if err != nil {
			return nil, nil, fmt.Errorf("factor: %q: %w", name, err)
		}
		if j.o.Compat == CompatPEFT {
			m.pad(j.rank())
		}
		out.Modules = append(out.Modules, m)
		report.Modules = append(report.Modules, row)
	}
	if err := alive(out.Modules, j.length()); err != nil {
		return nil, nil, err
	}
	report.Warnings = out.settings(j.list)
	report.sum()
	return out, report, nil
}

// module combines one module over those adapters that have it.
func (j *job) module(name string, stream uint64) (Module, Row, error) {
	var parts []*Module
	var weights []float64
	for i, a := range j.list {
		if m := a.find(name); m != nil {
			parts, weights = append(parts, m), append(weights, j.o.Weights[i])
		}
	}
	if err := alike(parts); err != nil {
		return Module{}, Row{}, err
	}
	m := Module{Name: name, Embedding: parts[0].Embedding, Scale: 1}
	var err error
	row := Row{Module: name, Share: 1}
	switch {
	case j.factor:
		m.A, m.B = j.byFactors(parts, weights, stream)
	case j.stack:
		m.A, m.B = stacked(parts, weights)
	default:
		row, err = j.decomposed(&m, parts, weights, stream)
	}
	row.Rank = m.A.Rows
	return m, row, err
}

// decomposed makes the factors of a sum of products, or of what a formula makes of the products, by singular values.
func (j *job) decomposed(m *Module, parts []*Module, weights []float64, stream uint64) (Row, error) {
	var f linalg.SVD
	var err error
	energy := -1.0
	most := j.rank()
	if j.exact {
		a, b := stacked(parts, weights)
		if f, err = linalg.OfProduct(b, a); err == nil && j.whole && j.o.Rank == 0 {
			most = numerical(f.S)
		}
	} else {
		deltas := make([][]float32, len(parts))
		for i, p := range parts {
			deltas[i] = p.Delta().Data
		}
		w := kernel.NewMat(j.mix(deltas, weights, j.o, stream), parts[0].B.Rows, parts[0].A.Cols)
		energy = kernel.SumSquares(w.Data)
		f, err = linalg.Largest(w, min(most, w.Rows, w.Cols), rand.New(rand.NewPCG(j.o.Seed, stream)))
	}
	if err != nil {
		return Row{}, err
	}
	m.A, m.B = split(f, min(most, len(f.S)), j.o.Compat != CompatPEFT && j.o.Clamp == 0)
	if j.o.Clamp > 0 {
		clamp(m.A, m.B, j.o.Clamp)
	}
	return newRow(m.Name, f.S, m.A.Rows, energy), nil
}

// byFactors applies the formula to A and to B with √|w·s|; a negative one turns A around.
func (j *job) byFactors(parts []*Module, weights []float64, stream uint64) (a, b kernel.Mat) {
	roots, signed := make([]float64, len(parts)), make([]float64, len(parts))
	as, bs := make([][]float32, len(parts)), make([][]float32, len(parts))
	for i, p := range parts {
		w := weights[i] * p.Scale
		roots[i] = math.Sqrt(math.Abs(w))
		signed[i] = math.Copysign(roots[i], w)
		as[i], bs[i] = slices.Clone(p.A.Data), slices.Clone(p.B.Data)
	}
	p := parts[0]
	return kernel.NewMat(j.mix(as, signed, j.o, 2*stream), p.A.Rows, p.A.Cols), kernel.NewMat(j.mix(bs, roots, j.o, 2*stream+1), p.B.Rows, p.B.Cols)
}

// stacked lays factors side by side, so that the product is Σ w·s·B·A:
//
//	A = [w₁s₁A₁; w₂s₂A₂; …]   B = [B₁, B₂, …]
func stacked(parts []*Module, weights []float64) (a, b kernel.Mat) {
	r := 0
	for _, p := range parts {
		r += p.A.Rows
	}
	in, out := parts[0].A.Cols, parts[0].B.Rows
	a = kernel.NewMat(make([]float32, r*in), r, in)
	b = kernel.NewMat(make([]float32, out*r), out, r)
	at := 0
	for i, p := range parts {
		w := float32(weights[i] * p.Scale)
		for k := range p.A.Rows {
			kernel.Axpy(a.Row(at+k), w, p.A.Row(k))
		}
		for o := range out {
			copy(b.Row(o)[at:], p.B.Row(o))
		}
		at += p.A.Rows
	}
	return a, b
}

// alike reports modules of one name that differ in more than their rank.
func alike(parts []*Module) error {
	p := parts[0]
	for _, q := range parts[1:] {
		if p.Embedding != q.Embedding || p.A.Cols != q.A.Cols || p.B.Rows != q.B.Rows {
			return fmt.Errorf("the products are [%d, %d] and [%d, %d], want adapters of one base", p.B.Rows, p.A.Cols, q.B.Rows, q.A.Cols)
		}
	}
	return nil
}

// pad gives the factors more ranks, of zeros.
func (m *Module) pad(rank int) {
	if r := m.A.Rows; r < rank {
		a := make([]float32, rank*m.A.Cols)
		copy(a, m.A.Data)
		b := kernel.NewMat(make([]float32, m.B.Rows*rank), m.B.Rows, rank)
		for i := range m.B.Rows {
			copy(b.Row(i), m.B.Row(i))
		}
		m.A, m.B = kernel.NewMat(a, rank, m.A.Cols), b
	}
}

// alive refuses a result that changes nothing: zeros, or what rounding leaves of adapters that cancel each other. before is what
// the products that went in are long, one by one.
func alive(list []Module, before float64) error {
	const nothing = 1e-6 // of it: float32 has seven digits
	after := 0.0
	for i := range list {
		after += list[i].norm()
	}
	if after > nothing*before {
		return nil
	}
	return errors.New("factor: the result changes nothing: every product is zero")
}

// length is Σ |w|·‖ΔW‖ over all modules of all adapters.
func (j *job) length() (sum float64) {
	for i, a := range j.list {
		for k := range a.Modules {
			sum += math.Abs(j.o.Weights[i]) * a.Modules[k].norm()
		}
	}
	return sum
}
