package merge

import (
	"fmt"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/bnb"
)

// packed are the entries of a matrix that is written in eight bits.
func (p *plan) packed(info checkpoint.Info, from *Folded) ([]checkpoint.Entry, error) {
	module, ok := strings.CutSuffix(p.outName(info.Name), ".weight")
	if !ok || len(info.Shape) != 2 || !checkpoint.IsFloat(info.DType) {
		return nil, fmt.Errorf("merge: tensor %q is %s %v, want a matrix of real numbers called weight to pack", info.Name, info.DType, info.Shape)
	}
	return bnb.Pack(module, info.Shape[0], info.Shape[1], func(lo, hi int, dst []float32) error { return from.Rows(info, lo, hi, dst) }), nil
}

// size of an entry in bytes.
func sizeOf(e checkpoint.Entry) int64 {
	n := int64(e.DType.Size())
	for _, d := range e.Shape {
		n *= int64(d)
	}
	return n
}
