package layer

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Table is a frozen embedding.
type Table struct{ W *kernel.Frozen } // [num_embeddings, dim]

// Size implements op.Lookup.
func (e *Table) Size() (rows, dim int) { return e.W.Rows, e.W.Cols }

// Look implements op.Lookup.
func (e *Table) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	if q, ok := p.Under(e).(op.Lookup); ok {
		q.Look(p, y, ids)
		return
	}
	kernel.Split(len(ids), 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			e.W.Row(y.Row(t), int(ids[t]))
		}
	})
}

// LookBackward implements op.Lookup: nothing is trained.
func (e *Table) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {}

// Params implements op.Lookup: there are none.
func (e *Table) Params() iter.Seq2[string, *nn.Param] { return func(func(string, *nn.Param) bool) {} }
