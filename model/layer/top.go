package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Top is where a model ends: it turns hidden states into what the output projection reads.
//
//	y = Norm(Activation(Dense(x)))     for each step, of all rows or of one for each segment
type Top struct {
	Pool  Pool
	Steps []Step
	Out   *Slot // nil of a bare model
}

// Headed is a model whose head a method may replace by another for the same scores.
type Headed interface {
	Model
	// HeadName is the end of the class of transformers that has the head: "ForSequenceClassification".
	HeadName() string
	// HeadTop is the head.
	HeadTop() Top
	// SetHeadTop replaces it. It must not be used for heads whose logits the model changes further.
	SetHeadTop(t Top)
}

// Pool says which rows a head reads.
type Pool uint8

// Pools.
const (
	AllRows  Pool = iota
	FirstRow      // of each segment: BERT's [CLS]
	LastRow       // of each segment, which has seen all others in a decoder
	MeanRow       // of each segment
)

// Step is a layer of a head.
type Step struct {
	Dense *Slot
	op.Activation
	Norm *Norm // nil = none
}

// Features turns hidden states [T, C] into what Out reads: [T, ·], or [segments, ·] of a head that pools. own is the pass as these
// rows see it.
func (l *Top) Features(p *op.Pass, x mat.Tensor) (own *op.Pass, y mat.Tensor) {
	if l.Pool == AllRows {
		return p, l.Transform(p, x)
	}
	rows := l.rows(p)
	own = p.Pick(rows)
	if l.Pool == MeanRow {
		return own, l.Transform(own, op.SegmentMean(p, x))
	}
	return own, l.Transform(own, op.Gather(p, x, rows))
}

// Read are the rows of the hidden states that the head reads, nil for all.
func (l *Top) Read(p *op.Pass) []int {
	if l.Pool == FirstRow || l.Pool == LastRow {
		return l.rows(p)
	}
	return nil
}

// Transform passes rows through the steps.
func (l *Top) Transform(p *op.Pass, x mat.Tensor) mat.Tensor {
	for _, s := range l.Steps {
		x = s.Norm.apply(p, op.Activate(p, op.Project(p, x, s.Dense), s.Activation))
	}
	return x
}

// rows are one for each segment, those that a head reads.
func (l *Top) rows(p *op.Pass) []int {
	rows := make([]int, len(p.Segments))
	for i, s := range p.Segments {
		rows[i] = s.Start
		if l.Pool == LastRow {
			rows[i] = s.End - 1
		}
	}
	return rows
}

// Slots lists the steps' projections and the output's.
func (l *Top) Slots() (list []*Slot) {
	for _, s := range l.Steps {
		list = append(list, s.Dense)
	}
	if l.Out != nil {
		list = append(list, l.Out)
	}
	return list
}

// Vectors lists the weights and biases of the steps' norms.
func (l *Top) Vectors() (list []NamedVector) {
	for _, s := range l.Steps {
		list = append(list, s.Norm.Vectors()...)
	}
	return list
}
