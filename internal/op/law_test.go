package op_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// TestEveryOperatorHasAGradientTest reads the package: each function that makes a node must be called in its tests.
func TestEveryOperatorHasAGradientTest(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	var operators []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(src)
		}
		if !strings.HasSuffix(name, "_test.go") {
			operators = append(operators, makers(t, name)...)
		}
	}
	if len(operators) < 8 {
		t.Fatalf("found the operators %v, want all", operators)
	}
	for _, name := range operators {
		if !strings.Contains(tests.String(), "op."+name+"(") {
			t.Errorf("op.%s has no gradient test", name)
		}
	}
}

// makers lists the exported functions of a file that call node.
func makers(t *testing.T, name string) (list []string) {
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !fn.Name.IsExported() {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "node" && !slices.Contains(list, fn.Name.Name) {
					list = append(list, fn.Name.Name)
				}
			}
			return true
		})
	}
	return list
}

// TestAttentionOverBlocks takes segments longer than a block of queries: values against the plain formula in float64, and
// gradients against central differences.
func TestAttentionOverBlocks(t *testing.T) {
	heads := op.Heads{Query: 6, KeyValue: 2, Dim: 4}
	segments := []op.Segment{{Start: 0, End: 37}, {Start: 37, End: 38}, {Start: 38, End: 109}}
	n := 109
	for _, window := range []int{0, 1, 5, 40} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 8))
			x := param(rng, n, heads.Columns())
			spec := op.AttentionSpec{Heads: heads, Causal: true, Scale: 2.5, Window: window} // so that some keys count much more than others
			pass := func() *op.Pass {
				p := op.NewPass(segments, make([]int32, n), kernel.ModeF32, op.NewArena())
				p.Grad = true
				return p
			}
			attend := func(p *op.Pass) mat.Tensor {
				ids := make([]int32, n)
				for i := range ids {
					ids[i] = int32(i)
				}
				return op.Attention(p, op.Embed(p, &weight{x}, ids), spec)
			}
			p := pass()
			y := attend(p)
			check.Close(t, "y", op.Of(y).Values(), naiveAttention(op.Of(x).View(), segments, spec), 1e-5, 1e-5) // sums of up to 71 float32 terms
			c := p.Arena.NewTensor(n, heads.Query*heads.Dim)
			for i := range c.Values() {
				c.Values()[i] = float32(math.Sin(float64(3*i + 1)))
			}
			weights := slices.Clone(c.Values())
			y.AccGrad(c)
			if err := ag.Backward(y); err != nil {
				t.Fatal(err)
			}
			loss := func() (sum float64) {
				for i, v := range op.Of(attend(pass())).Values() {
					sum += float64(v) * float64(weights[i])
				}
				return sum
			}
			query, key := heads.Query*heads.Dim, heads.KeyValue*heads.Dim
			slopeOfColumns(t, "queries", x, 0, query, rng, loss)
			slopeOfColumns(t, "keys", x, query, query+key, rng, loss) // their gradients are the smallest
			slopeOfColumns(t, "values", x, query+key, heads.Columns(), rng, loss)
		})
	}
}

// slopeOfColumns is check.Slope for some columns of a parameter.
func slopeOfColumns(t *testing.T, what string, x *nn.Param, lo, hi int, rng *rand.Rand, f func() float64) {
	m := op.Of(x).View()
	g := kernel.NewMat(op.GradOf(x), m.Rows, m.Cols)
	var values, grad []float32
	for i := range m.Rows {
		values, grad = append(values, m.Row(i)[lo:hi]...), append(grad, g.Row(i)[lo:hi]...)
	}
	put := func() {
		for i := range m.Rows {
			copy(m.Row(i)[lo:hi], values[i*(hi-lo):])
		}
	}
	check.Slope(t, what, values, grad, rng, func() float64 { put(); return f() })
	put()
}

// naiveAttention is the formula, head by head and row by row.
func naiveAttention(x kernel.Mat, segments []op.Segment, s op.AttentionSpec) []float32 {
	out := make([]float32, x.Rows*s.Query*s.Dim)
	for _, seg := range segments {
		for t := seg.Start; t < seg.End; t++ {
			from := seg.Start
			if s.Window > 0 {
				from = max(from, t+1-s.Window)
			}
			for h := range s.Query {
				key := (s.Query + h/(s.Query/s.KeyValue)) * s.Dim
				value := key + s.KeyValue*s.Dim
				sum, y := 0.0, make([]float64, s.Dim)
				for k := from; k <= t; k++ {
					score := 0.0
					for d := range s.Dim {
						score += float64(x.Row(t)[h*s.Dim+d]) * float64(x.Row(k)[key+d])
					}
					e := math.Exp(score * s.Scale)
					sum += e
					for d := range y {
						y[d] += e * float64(x.Row(k)[value+d])
					}
				}
				for d := range y {
					out[(t*s.Query+h)*s.Dim+d] = float32(y[d] / sum)
				}
			}
		}
	}
	return out
}

// TestCrossEntropyInChunks takes a vocabulary so large that the rows are cut into chunks.
func TestCrossEntropyInChunks(t *testing.T) {
	const n, in, vocab = 37, 2, 300_000 // chunks of 16 rows
	rng := rand.New(rand.NewPCG(1, 2))
	x, head := param(rng, n, in), newWeight(rng, vocab, in)
	ids, targets := make([]int32, n), make([]int32, n)
	for i := range n {
		ids[i], targets[i] = int32(i), int32(rng.IntN(vocab))
	}
	targets[5], targets[20] = op.Ignore, op.Ignore
	grad := func(from, to int) (loss float64, per []float64) {
		p := op.NewPass([]op.Segment{{End: to - from}}, make([]int32, to-from), kernel.ModeF32, op.NewArena())
		p.Grad = true
		per = make([]float64, to-from)
		y, sums := op.CrossEntropy(p, op.Embed(p, &weight{x}, ids[from:to]), head, op.CrossEntropySpec{Targets: targets[from:to], Scale: .5, PerRow: per})
		if err := ag.Backward(y); err != nil {
			t.Fatal(err)
		}
		return sums.Loss, per
	}
	loss, per := grad(0, n)
	want := [][]float32{slices.Clone(op.GradOf(x)), slices.Clone(op.GradOf(head.w))}
	x.ZeroGrad()
	head.w.ZeroGrad()
	sum := 0.0
	for i := range n {
		one, row := grad(i, i+1)
		sum += one
		if math.Abs(row[0]-per[i]) > 1e-5 || (targets[i] == op.Ignore) != (per[i] == 0) {
			t.Errorf("row %d: loss %g, want %g as alone", i, per[i], row[0])
		}
	}
	if math.Abs(sum-loss) > 1e-6*sum {
		t.Errorf("loss %g, want %g, the sum of the rows'", loss, sum)
	}
	for k, p := range []*nn.Param{x, head.w} {
		check.Close(t, fmt.Sprintf("gradient %d in chunks", k), want[k], op.GradOf(p), 1e-6, 1e-4) // the order of 300,000 terms differs
	}
}

// TestNEFTune checks the noise's range, that it comes from the seed, only in training, and leaves gradients as they are.
func TestNEFTune(t *testing.T) {
	w := newWeight(rand.New(rand.NewPCG(1, 2)), 5, 3)
	ids := []int32{1, 4, 1, 0, 2, 1, 3}
	embed := func(training bool, seed uint64) []float32 {
		p := newPass()
		p.Train, p.Seed, p.NEFTune = training, seed, 5
		y := op.Embed(p, w, ids)
		c := p.Arena.NewTensor(rows, 3)
		for i := range c.Values() {
			c.Values()[i] = 1
		}
		out := slices.Clone(op.Of(y).Values())
		w.w.ZeroGrad()
		y.AccGrad(c)
		if err := ag.Backward(y); err != nil {
			t.Fatal(err)
		}
		return out
	}
	plain := embed(false, 1)
	gradient := slices.Clone(op.GradOf(w.w))
	noisy := embed(true, 1)
	if !slices.Equal(gradient, op.GradOf(w.w)) {
		t.Error("noise changes the gradient")
	}
	if !slices.Equal(noisy, embed(true, 1)) || slices.Equal(noisy, embed(true, 2)) {
		t.Error("the noise is not a function of the seed")
	}
	for _, s := range segments {
		bound := 5 / math.Sqrt(float64((s.End-s.Start)*3))
		largest := 0.0
		for i := s.Start * 3; i < s.End*3; i++ {
			largest = max(largest, math.Abs(float64(noisy[i]-plain[i])))
		}
		if largest > bound || largest < bound/2 { // of nine or more uniform numbers one is in the upper half
			t.Errorf("segment %v: largest noise %g, want up to %g", s, largest, bound)
		}
	}
}

// TestCacheFollowsItsSequences attends with a cache whose sequences fork, end and are cut, and compares with plain passes over the
// rows that each sequence then has.
func TestCacheFollowsItsSequences(t *testing.T) {
	followSequences(t, op.NewCache(1, 2))
	pages := op.NewPages(1, 2, 2, 0)
	followSequences(t, op.NewPagedCache(pages))
	if pages.Used() != 0 {
		t.Errorf("%d pages in use after all sequences ended", pages.Used())
	}
}

func followSequences(t *testing.T, cache *op.Cache) {
	spec := op.AttentionSpec{Heads: op.Heads{Query: 2, KeyValue: 1, Dim: 2}, Causal: true, Scale: 1.3}
	rng := rand.New(rand.NewPCG(1, 2))
	var history [][]float32 // by sequence, rows of qkv
	extend := func(counts ...int) {
		t.Helper()
		var rows []float32
		var segments []op.Segment
		n := 0
		for q, count := range counts {
			if q == cache.Sequences() {
				cache.Open()
				history = append(history, nil)
			}
			fresh := op.Data(param(rng, count, spec.Columns()))
			rows, history[q] = append(rows, fresh...), append(slices.Clip(history[q]), fresh...)
			segments = append(segments, op.Segment{Start: n, End: n + count, Sequence: q})
			n += count
		}
		p := op.NewPass(segments, make([]int32, n), kernel.ModeF32, op.NewArena())
		p.Cache = cache
		y := op.Of(op.Attention(p, op.NewTensor(rows, n, spec.Columns()), spec)).View()
		for q, s := range segments {
			all := len(history[q]) / spec.Columns()
			if cache.Len(q) != all {
				t.Errorf("sequence %d has %d rows, want %d", q, cache.Len(q), all)
			}
			want := naiveAttention(kernel.NewMat(history[q], all, spec.Columns()), []op.Segment{{End: all}}, spec)
			for i := range s.End - s.Start {
				width := spec.Query * spec.Dim
				at := (all - (s.End - s.Start) + i) * width
				check.Close(t, fmt.Sprintf("sequence %d, row %d", q, i), y.Row(s.Start+i), want[at:at+width], 1e-6, 1e-6)
			}
		}
	}
	extend(3, 1)
	cache.Select([]int{0, 1, 0, 0}) // one sequence goes on in three ways
	history = [][]float32{history[0], history[1], history[0], history[0]}
	extend(1, 2, 1, 3)
	extend(1, 1, 1, 1)
	cache.Truncate(2, 2)
	history[2] = history[2][:2*spec.Columns()]
	extend(1, 1, 2, 1)
	cache.Select([]int{2, 1})
	history = [][]float32{history[2], history[1]}
	extend(1, 5)
	if cache.Select(nil); cache.Sequences() != 0 {
		t.Errorf("%d sequences after none was selected", cache.Sequences())
	}
}
