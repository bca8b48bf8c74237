package op

import (
	"iter"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// Lookup is an embedding table with whatever a method adds to it.
type Lookup interface {
	// Size is the number of rows and their width.
	Size() (rows, dim int)
	// Look writes the rows of ids to y [len(ids), dim].
	Look(p *Pass, y kernel.Mat, ids []int32)
	// LookBackward adds the gradients of its parameters to their buffers.
	LookBackward(p *Pass, dy kernel.Mat, ids []int32)
	// Params yields the trainable parameters, as Projection.Params does.
	Params() iter.Seq2[string, *nn.Param]
}

// Embed looks the rows of ids up. While training with NEFTune [jain2023] it adds uniform noise of
// ±alpha/√(L·C), L the length of the segment.
//
//	ids [T]   y [T, C]
func Embed(p *Pass, table Lookup, ids []int32) mat.Tensor {
	return node(&embed{p: p, table: table, ids: ids})
}

type embed struct {
	p     *Pass
	table Lookup
	ids   []int32
	y     *Tensor
}

func (f *embed) Operands() (list []mat.Tensor) {
	for _, p := range f.table.Params() {
		list = append(list, p)
	}
	return list
}

func (f *embed) Forward() (mat.Tensor, error) {
	_, dim := f.table.Size()
	f.y = f.p.Arena.NewTensor(len(f.ids), dim)
	y := f.y.View()
	f.table.Look(f.p, y, f.ids)
	if f.p.Train && f.p.NEFTune > 0 {
		for _, s := range f.p.Segments {
			bound := f.p.NEFTune / math.Sqrt(float64((s.End-s.Start)*dim))
			for t := s.Start; t < s.End; t++ {
				row := y.Row(t)
				for i := range row {
					u := float64(Random(f.p.Seed, 0, uint64(t*dim+i))>>11) / (1 << 53)
					row[i] += float32((2*u - 1) * bound)
				}
			}
		}
	}
	return f.y, nil
}

func (f *embed) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	f.table.LookBackward(f.p, dy.View(), f.ids)
	dy.release()
	f.y.release()
	return nil
}

// Random is a number that depends on nothing but its arguments (splitmix64 [steele2014]): the same element of the same
// stream of the same seed gives the same number, so masks need not be stored.
func Random(seed, stream, i uint64) uint64 {
	z := seed + 0x9e3779b97f4a7c15*(stream*0xd1342543de82ef95+i+1)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
