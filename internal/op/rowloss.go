package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// LabelLoss is the loss of one score by its label, with its derivative by the score.
type LabelLoss func(z, label float64) (loss, slope float64)

// BinaryCrossEntropy is that of a label between 0 and 1, from a logit: max(z, 0) − z·label + log(1 + exp(−|z|)).
func BinaryCrossEntropy(z, label float64) (loss, slope float64) {
	return max(z, 0) - z*label + math.Log1p(math.Exp(-math.Abs(z))), 1/(1+math.Exp(-z)) - label
}

// SquaredError is (z − label)².
func SquaredError(z, label float64) (loss, slope float64) {
	return (z - label) * (z - label), 2 * (z - label)
}

// LabelsSpec says what loss of scores with a label each is wanted.
type LabelsSpec struct {
	Loss    LabelLoss
	Labels  [][]float32 // [S][n]
	Weights []float32   // [n] of the labels, nil = 1
	Scale   float64     // of the result and its gradients
	PerRow  []float64   // if not nil, [S] receives each row's loss
}

// Labels is scale·Σ_s mean_i weight[i]·loss(z[s][i], label[s][i]), as a node [1, 1] that must be the root of the graph.
// Correct counts the rows whose scores are all on the side of 0 that their labels say (meaningless for values).
//
//	z [S, n]
func Labels(p *Pass, z mat.Tensor, s LabelsSpec) (mat.Tensor, LossSums) {
	rows, cols := shape(z)
	if len(s.Labels) != rows {
		panic(fmt.Sprintf("op: Labels: scores [%d, %d], %d rows of labels", rows, cols, len(s.Labels)))
	}
	for i, l := range s.Labels {
		if len(l) != cols {
			panic(fmt.Sprintf("op: Labels: scores [%d, %d], %d labels in row %d", rows, cols, len(l), i))
		}
	}
	f := &labels{p: p, z: z, s: s}
	return node(f), f.sums
}

type labels struct {
	p    *Pass
	z    mat.Tensor
	s    LabelsSpec
	dz   *Tensor
	sums LossSums
}

func (f *labels) Operands() []mat.Tensor { return []mat.Tensor{f.z} }

func (f *labels) Forward() (mat.Tensor, error) {
	z := Of(f.z).View()
	f.dz = f.p.Arena.NewTensor(z.Rows, z.Cols)
	for r := range z.Rows {
		sum, right := 0.0, true
		for i, v := range z.Row(r) {
			w := 1 / float64(z.Cols)
			if f.s.Weights != nil {
				w *= float64(f.s.Weights[i])
			}
			label := f.s.Labels[r][i]
			loss, slope := f.s.Loss(float64(v), float64(label))
			sum += w * loss
			f.dz.View().Row(r)[i] = float32(f.s.Scale * w * slope)
			right = right && v > 0 == (label > 0.5)
		}
		f.sums.add(sum, 1, right)
		if f.s.PerRow != nil {
			f.s.PerRow[r] = sum
		}
	}
	return f.p.lossNode(f.s.Scale * f.sums.Loss), nil
}

// Backward hands on what Forward computed; the gradient of the root is 1.
func (f *labels) Backward(gy mat.Tensor) error {
	if f.z.RequiresGrad() {
		f.z.AccGrad(f.dz)
	}
	return nil
}

// add counts a row with a target.
func (s *LossSums) add(loss, weight float64, correct bool) {
	s.Loss += weight * loss
	s.Weight += weight
	s.Targets++
	if correct {
		s.Correct++
	}
}

// lossNode is the value [1, 1] of a loss.
func (p *Pass) lossNode(v float64) *Tensor {
	y := p.Arena.NewTensor(1, 1)
	y.data[0] = float32(v)
	return y
}

// SpansSpec says what loss of answers' starts and ends is wanted.
type SpansSpec struct {
	Spans  [][2]int32 // [segments]: rows of the batch
	Scale  float64    // of the result and its gradients
	PerRow []float64  // if not nil, [segments] receives each segment's loss
}

// Spans is scale·Σ_s (CE_start + CE_end)/2, where the rows of a segment compete for start and end of its answer, as a node
// [1, 1] that must be the root of the graph. Correct counts the segments whose start and end both win.
//
//	z [T, 2]
func Spans(p *Pass, z mat.Tensor, s SpansSpec) (mat.Tensor, LossSums) {
	rows, cols := shape(z)
	if cols != 2 || rows != p.Rows() || len(s.Spans) != len(p.Segments) {
		panic(fmt.Sprintf("op: Spans: scores [%d, %d] of %d rows, %d spans of %d segments", rows, cols, p.Rows(), len(s.Spans), len(p.Segments)))
	}
	for i, g := range p.Segments {
		if a, b := int(s.Spans[i][0]), int(s.Spans[i][1]); a < g.Start || a >= g.End || b < g.Start || b >= g.End {
			panic(fmt.Sprintf("op: Spans: span %v of segment [%d, %d)", s.Spans[i], g.Start, g.End))
		}
	}
	f := &spans{p: p, z: z, s: s}
	return node(f), f.sums
}

type spans struct {
	p    *Pass
	z    mat.Tensor
	s    SpansSpec
	dz   *Tensor
	sums LossSums
}

func (f *spans) Operands() []mat.Tensor { return []mat.Tensor{f.z} }

func (f *spans) Forward() (mat.Tensor, error) {
	z := Of(f.z).View()
	f.dz = f.p.Arena.NewTensor(z.Rows, z.Cols)
	clear(f.dz.data)
	for i, g := range f.p.Segments {
		sum, right := 0.0, true
		for end, at := range f.s.Spans[i] {
			loss, best := f.column(z, g, end, int(at))
			sum += loss / 2
			right = right && best
		}
		f.sums.add(sum, 1, right)
		if f.s.PerRow != nil {
			f.s.PerRow[i] = sum
		}
	}
	return f.p.lossNode(f.s.Scale * f.sums.Loss), nil
}

// column is −log softmax of one column of a segment at a row; it writes half the gradient, as two columns share the loss.
func (f *spans) column(z kernel.Mat, g Segment, col, at int) (loss float64, best bool) {
	row := f.p.Arena.Get(g.End - g.Start)
	defer f.p.Arena.Put(row)
	for t := range row {
		row[t] = z.Row(g.Start + t)[col]
	}
	zt := row[at-g.Start]
	best = zt == kernel.Max(row)
	top, sum := kernel.SoftmaxRow(row)
	d := f.dz.View()
	for t, v := range row {
		d.Row(g.Start + t)[col] = float32(f.s.Scale/2) * v
	}
	d.Row(at)[col] -= float32(f.s.Scale / 2)
	return float64(top) + math.Log(float64(sum)) - float64(zt), best
}

// Backward hands on what Forward computed; the gradient of the root is 1.
func (f *spans) Backward(gy mat.Tensor) error {
	if f.z.RequiresGrad() {
		f.z.AccGrad(f.dz)
	}
	return nil
}
