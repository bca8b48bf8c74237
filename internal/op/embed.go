package op

import (
	"fmt"
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

// Rows are rows of an embedding table.
type Rows struct {
	Table Lookup
	IDs   []int32 // [T]
}

// Embed looks the tokens' rows up.
//
//	ids [T]   y [T, C]
func Embed(p *Pass, table Lookup, ids []int32) mat.Tensor { return EmbedSum(p, 1, Rows{table, ids}) }

// EmbedSum is scale·tokens + Σ more, such as positions: one row of each table for each row of the pass. While training with
// NEFTune [jain2023] the tokens' rows gain uniform noise of ±alpha/√(L·C) first, L the length of the segment.
//
//	y [T, C]
func EmbedSum(p *Pass, scale float32, tokens Rows, more ...Rows) mat.Tensor {
	_, dim := tokens.Table.Size()
	for _, r := range more {
		if _, d := r.Table.Size(); d != dim || len(r.IDs) != len(tokens.IDs) {
			panic(fmt.Sprintf("op: EmbedSum: %d rows of %d numbers and %d rows of %d", len(tokens.IDs), dim, len(r.IDs), d))
		}
	}
	return node(&embed{p: p, scale: scale, tokens: tokens, more: more, noisy: p.Train && p.NEFTune > 0})
}

// LookUp is the sum of rows that stand for no tokens, such as distances: EmbedSum without noise.
//
//	y [len(first.IDs), C]
func LookUp(p *Pass, first Rows, more ...Rows) mat.Tensor {
	return node(&embed{p: p, scale: 1, tokens: first, more: more})
}

type embed struct {
	p      *Pass
	scale  float32
	tokens Rows
	more   []Rows
	noisy  bool
	y      *Tensor
}

func (f *embed) Operands() (list []mat.Tensor) {
	for _, r := range append([]Rows{f.tokens}, f.more...) {
		for _, p := range r.Table.Params() {
			list = append(list, p)
		}
	}
	return list
}

func (f *embed) Forward() (mat.Tensor, error) {
	_, dim := f.tokens.Table.Size()
	f.y = f.p.Arena.NewTensor(len(f.tokens.IDs), dim)
	y := f.y.View()
	f.tokens.Table.Look(f.p, y, f.tokens.IDs)
	if f.noisy {
		f.noise(y)
	}
	if f.scale != 1 {
		kernel.Scale(f.y.data, f.scale)
	}
	for _, r := range f.more {
		t := f.p.Arena.NewTensor(y.Rows, y.Cols)
		r.Table.Look(f.p, t.View(), r.IDs)
		kernel.Add(f.y.data, t.data)
		t.release()
	}
	return f.y, nil
}

// noise is NEFTune's: uniform numbers that depend on nothing but the pass's seed and their place.
func (f *embed) noise(y kernel.Mat) {
	for _, s := range f.p.Segments {
		bound := f.p.NEFTune / math.Sqrt(float64((s.End-s.Start)*y.Cols))
		for t := s.Start; t < s.End; t++ {
			row := y.Row(t)
			for i := range row {
				u := float64(Random(f.p.Seed, 0, uint64(t*y.Cols+i))>>11) / (1 << 53)
				row[i] += float32((2*u - 1) * bound)
			}
		}
	}
}

// Backward: each table gets dy at its rows, that of the tokens times scale.
func (f *embed) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	for _, r := range f.more {
		r.Table.LookBackward(f.p, dy.View(), r.IDs)
	}
	if f.scale != 1 {
		kernel.Scale(dy.data, f.scale)
	}
	f.tokens.Table.LookBackward(f.p, dy.View(), f.tokens.IDs)
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
