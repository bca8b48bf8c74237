package merge

import (
	"errors"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
)

// Most methods give a sum of the sources whose coefficients depend on lengths and angles only:
//
//	y = Σ c_i·x_i (+ base)     c = c(G), G_ij = ⟨x_i, x_j⟩
//
// so that one sweep over the tensor finds G and another one sums, however the method goes about it in between.

// gram is G, symmetric [n, n].
type gram [][]float64

func newGram(n int) gram {
	g := make(gram, n)
	for i := range g {
		g[i] = make([]float64, n)
	}
	return g
}

// add counts in more numbers of the vectors.
func (g gram) add(x [][]float32) {
	for i := range x {
		for j := range i + 1 {
			g[i][j] += dot(x[i], x[j])
			g[j][i] = g[i][j]
		}
	}
}

// dot is ⟨x, y⟩; few products add up in float32 without harm.
func dot(x, y []float32) (sum float64) {
	for len(x) > 512 {
		sum += float64(kernel.Dot(x[:512], y[:512]))
		x, y = x[512:], y[512:]
	}
	return sum + float64(kernel.Dot(x, y))
}

// length is ‖Σ c_i·x_i‖.
func (g gram) length(c []float64) float64 {
	s := 0.0
	for i := range c {
		s += c[i] * g.with(i, c)
	}
	return math.Sqrt(max(0, s))
}

// with is ⟨x_i, Σ c_j·x_j⟩.
func (g gram) with(i int, c []float64) (s float64) {
	for j := range c {
		s += g[i][j] * c[j]
	}
	return s
}

// norm is ‖x_i‖.
func (g gram) norm(i int) float64 { return math.Sqrt(g[i][i]) }

// cosine is that of the angle between x_i and x_j; least keeps lengths of zero from dividing.
func (g gram) cosine(i, j int, least float64) float64 {
	return min(1, max(-1, g[i][j]/max(g.norm(i)*g.norm(j), least)))
}

// coefficients are c of a method.
type coefficients func(m *mixture, g gram) ([]float64, error)

// grouping says over what lengths and angles are taken.
type grouping int

const (
	whole grouping = iota // the tensor as one vector
	rows
	columns
)

// spanned opens a method of this kind.
func spanned(group func(m *mixture) grouping, c coefficients) opener {
	return func(m *mixture) (mixer, int, error) {
		g := whole
		if group != nil && m.rows > 1 {
			g = group(m)
		}
		switch g {
		case rows:
			return m.mixRows(c), m.byRows(), nil
		case columns:
			mix, err := m.mixColumns(c)
			return mix, m.byRows(), err
		}
		mix, err := m.mixWhole(c)
		return mix, blockElements, err
	}
}

// constant opens a method whose coefficients depend on no angles.
func constant(c coefficients) opener {
	return func(m *mixture) (mixer, int, error) {
		list, err := c(m, nil)
		return sumOf(list), blockElements, err
	}
}

// sumOf is Σ c_i·x_i (+ base).
func sumOf(c []float64) mixer {
	return func(s *sheet, lo, hi int) error {
		s.start()
		for i, x := range s.x {
			kernel.Axpy(s.out, float32(c[i]), x)
		}
		s.finish()
		return nil
	}
}

// start clears the sum.
func (s *sheet) start() { clear(s.out) }

// finish adds the base, last, so that it rounds once.
func (s *sheet) finish() {
	if s.base != nil {
		kernel.Add(s.out, s.base)
	}
}

// mixWhole takes lengths and angles of the whole tensor.
func (m *mixture) mixWhole(c coefficients) (mixer, error) {
	parts := make([]gram, m.blocks(blockElements))
	err := m.sweep(blockElements, func(b int, s *sheet, lo, hi int) error {
		parts[b] = newGram(m.sources())
		parts[b].add(s.x)
		return nil
	})
	if err != nil {
		return nil, err
	}
	g := newGram(m.sources())
	for _, p := range parts {
		for i := range g {
			for j := range g {
				g[i][j] += p[i][j]
			}
		}
	}
	list, err := c(m, g)
	return sumOf(list), err
}

// mixRows takes those of each row.
func (m *mixture) mixRows(c coefficients) mixer {
	return func(s *sheet, lo, hi int) error {
		s.start()
		row := make([][]float32, len(s.x))
		for at := 0; at < hi-lo; at += m.cols {
			for i, x := range s.x {
				row[i] = x[at : at+m.cols]
			}
			g := newGram(len(row))
			g.add(row)
			list, err := c(m, g)
			if err != nil {
				return err
			}
			for i, x := range row {
				kernel.Axpy(s.out[at:at+m.cols], float32(list[i]), x)
			}
		}
		s.finish()
		return nil
	}
}

// mixColumns takes those of each column.
func (m *mixture) mixColumns(c coefficients) (mixer, error) {
	n := m.sources()
	const pieces = 32 // of the tensor, each with sums of its own
	grain := max(m.byRows(), (m.rows+pieces-1)/pieces*m.cols)
	parts := make([][]float64, m.blocks(grain))
	err := m.sweep(grain, func(b int, s *sheet, lo, hi int) error {
		sums := make([]float64, n*n*m.cols)
		for k := range n * n {
			addProducts(sums[k*m.cols:(k+1)*m.cols], s.x[k/n], s.x[k%n])
		}
		parts[b] = sums
		return nil
	})
	if err != nil {
		return nil, err
	}
	factors := make([]float32, n*m.cols)
	for j := range m.cols {
		g := newGram(n)
		for _, p := range parts {
			for k := range n * n {
				g[k/n][k%n] += p[k*m.cols+j]
			}
		}
		list, err := c(m, g)
		if err != nil {
			return nil, err
		}
		for i := range n {
			factors[i*m.cols+j] = float32(list[i])
		}
	}
	return func(s *sheet, lo, hi int) error {
		s.start()
		for at := 0; at < hi-lo; at += m.cols {
			for i, x := range s.x {
				kernel.AxpyMul(s.out[at:at+m.cols], 1, x[at:at+m.cols], factors[i*m.cols:(i+1)*m.cols])
			}
		}
		s.finish()
		return nil
	}, nil
}

// addProducts adds x∘y to sum, row by row.
func addProducts(sum []float64, x, y []float32) {
	for ; len(x) > 0; x, y = x[len(sum):], y[len(sum):] {
		for j := range sum {
			sum[j] += float64(x[j]) * float64(y[j])
		}
	}
}

// linear is Σ w_i·x_i, by default divided by Σ w_i.
func linear(m *mixture, _ gram) ([]float64, error) {
	w := m.of("weight")
	if m.all["normalize"] == 0 {
		return w, nil
	}
	return normalized(w)
}

// normalized divides weights by their sum.
func normalized(w []float64) ([]float64, error) {
	sum := 0.0
	for _, v := range w {
		sum += v
	}
	if math.Abs(sum) < 1e-8 {
		return nil, errors.New("the weights sum to zero, which normalize divides by")
	}
	for i := range w {
		w[i] /= sum
	}
	return w, nil
}

// slerp goes along the great circle from the first to the second, or straight where they are nearly parallel [shoemake1985]:
//
//	y = sin((1−t)θ)/sin θ·x_0 + sin(tθ)/sin θ·x_1
//
// References: [shoemake1985] Animating Rotation with Quaternion Curves.
func slerp(m *mixture, g gram) ([]float64, error) {
	t := m.all["t"]
	const parallel = 0.9995
	cos := g.cosine(0, 1, 1e-16)
	if math.Abs(cos) > parallel {
		return []float64{1 - t, t}, nil
	}
	return onCircle(t, math.Acos(cos)), nil
}

// onCircle are the coefficients at t of an angle.
func onCircle(t, angle float64) []float64 {
	return []float64{math.Sin((1-t)*angle) / math.Sin(angle), math.Sin(t*angle) / math.Sin(angle)}
}

// nuslerp is slerp by two weights, of the whole, of rows or of columns.
func nuslerp(m *mixture, g gram) ([]float64, error) {
	w := m.of("weight")
	t := 0.5
	if sum := w[0] + w[1]; math.Abs(sum) >= 1e-6 {
		t = w[1] / sum
	}
	const least = 1e-7 // of a length
	cos := g[0][1] / (max(g.norm(0), least) * max(g.norm(1), least))
	angle := math.Acos(min(1, max(-1, cos)))
	if math.Abs(math.Sin(angle)) < 1e-8 {
		return []float64{1 - t, t}, nil
	}
	return onCircle(t, angle), nil
}

// nuslerpGroups reads nuslerp_flatten and nuslerp_row_wise, which mean what they do in mergekit: without flatten it is the rows,
// with row_wise the columns.
func nuslerpGroups(m *mixture) grouping {
	switch {
	case m.all["nuslerp_flatten"] != 0:
		return whole
	case m.all["nuslerp_row_wise"] != 0:
		return columns
	}
	return rows
}

// multislerp sums the sources' directions in the plane that touches the sphere at their mean, and goes back to the sphere.
func multislerp(m *mixture, g gram) ([]float64, error) {
	w := m.of("weight")
	if m.all["normalize_weights"] != 0 {
		var err error
		if w, err = normalized(w); err != nil {
			return nil, err
		}
	}
	n, eps := len(w), m.all["eps"]
	unit, mean, sum, length := make([]float64, n), make([]float64, n), make([]float64, n), 0.0
	for i := range n {
		unit[i] = 1 / (g.norm(i) + eps)
		mean[i] = w[i] * unit[i]
		length += w[i] * g.norm(i)
	}
	size := g.length(mean)
	if g.zero() {
		return mean, nil
	}
	if size < eps {
		if n == 2 {
			return w, nil
		}
		return nil, errors.New("the weighted directions of the sources cancel each other; other weights may help")
	}
	scale(mean, 1/size)
	for i := range n { // w·(u_i − ⟨u_i, mean⟩·mean)
		sum[i] += w[i] * unit[i]
		along := w[i] * unit[i] * g.with(i, mean)
		for j := range n {
			sum[j] -= along * mean[j]
		}
	}
	angle := g.length(sum) + eps
	for i := range n {
		mean[i] = length * (math.Cos(angle)*mean[i] + math.Sin(angle)/angle*sum[i])
	}
	return mean, nil
}

// zero tells whether every vector is.
func (g gram) zero() bool {
	for i := range g {
		if g[i][i] != 0 {
			return false
		}
	}
	return true
}

func scale(x []float64, f float64) {
	for i := range x {
		x[i] *= f
	}
}

// karcher is the mean of the sources' directions on the sphere, found by iteration, with the mean of their lengths.
func karcher(m *mixture, g gram) ([]float64, error) {
	tol := m.all["tol"]
	n := len(g)
	length := 0.0
	var those []int
	for i := range n {
		if length += g.norm(i) / float64(n); g.norm(i) > tol {
			those = append(those, i)
		}
	}
	u := make([]float64, n)
	if len(those) == 0 {
		return u, nil
	}
	share := 1 / float64(len(those))
	for _, i := range those {
		u[i] = share / g.norm(i)
	}
	if size := g.length(u); size >= tol {
		scale(u, 1/size)
	} else {
		clear(u)
		u[those[0]] = 1 / g.norm(those[0])
	}
	for range int(m.all["max_iter"]) {
		if !g.step(u, those, tol) {
			break
		}
	}
	scale(u, length)
	return u, nil
}

// step moves u to the mean of the directions as they look from u; false where they are there already.
func (g gram) step(u []float64, those []int, tol float64) bool {
	move := make([]float64, len(u))
	for _, i := range those {
		cos := min(1, max(-1, g.with(i, u)/g.norm(i)))
		angle := math.Acos(cos)
		if angle < tol {
			continue
		}
		f := angle / math.Sin(angle) / float64(len(those))
		move[i] += f / g.norm(i)
		for j := range u {
			move[j] -= f * cos * u[j]
		}
	}
	far := g.length(move)
	if far < tol {
		return false
	}
	for j := range u {
		u[j] = math.Cos(far)*u[j] + math.Sin(far)/far*move[j]
	}
	if size := g.length(u); size > tol {
		scale(u, 1/size)
	}
	return true
}

// modelStock goes from the base towards the mean of the sources, the further the more they agree [jang2024]:
//
//	y = base + t·mean(δ)     t = N·cos θ/(1 + (N−1)·cos θ), θ the mean angle between two of them
//
// References: [jang2024] Model Stock, arXiv 2403.19522.
func modelStock(m *mixture, g gram) ([]float64, error) {
	n := len(g)
	cos := 0.0
	for i := range n {
		for j := range i {
			cos += g.cosine(i, j, 1e-6)
		}
	}
	cos /= float64(n*(n-1)) / 2
	t := float64(n) * cos / (1 + float64(n-1)*cos)
	c := make([]float64, n)
	for i := range c {
		c[i] = t / float64(n)
	}
	return c, nil
}

func modelStockGroups(m *mixture) grouping {
	if m.all["filter_wise"] != 0 {
		return rows
	}
	return whole
}

// passthrough is one source, scaled.
func passthrough(m *mixture, _ gram) ([]float64, error) { return m.of("scale"), nil }
