package merge

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
)

// Difference says how two checkpoints differ.
type Difference struct {
	Tensors []Differing `json:"tensors"` // by name; those of the same numbers are left out
	Equal   int         `json:"equal"`   // so many tensors are equal to the bit
	Retyped int         `json:"retyped"` // so many more have the same numbers in another dtype
	OnlyA   []string    `json:"only_a,omitempty"`
	OnlyB   []string    `json:"only_b,omitempty"`
}

// Differing is a tensor that differs.
type Differing struct {
	Tensor   string    `json:"tensor"`
	Shapes   [2][]int  `json:"shapes"`
	DTypes   [2]string `json:"dtypes"`
	Apart    bool      `json:"incomparable,omitempty"` // of other shapes, or of no real numbers
	Share    float64   `json:"share"`                  // of the numbers, those that differ
	Max      float64   `json:"max"`                    // max |b − a|
	Norm     float64   `json:"norm"`                   // ‖b − a‖
	Relative float64   `json:"relative"`               // ‖b − a‖ / ‖a‖
	Cosine   float64   `json:"cosine"`                 // of the angle between a and b
	Spectrum *Spectrum `json:"spectrum,omitempty"`     // of b − a
}

// Spectrum says how far a matrix is of low rank.
type Spectrum struct {
	Values []float64 `json:"values"` // the largest singular values
	Energy []float64 `json:"energy"` // of ‖·‖², what the first, the first two … hold
}

// DiffOptions say how to compare.
type DiffOptions struct {
	// Values is how many singular values of each matrix's difference to find; 0: none.
	Values int
	// Progress, if set, is told how many tensors are done.
	Progress func(done, total int)
}

// Diff compares two checkpoints tensor by tensor.
func Diff(ctx context.Context, a, b *checkpoint.Checkpoint, o DiffOptions) (*Difference, error) {
	d := &Difference{Tensors: []Differing{}}
	names := a.Names()
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, ok := b.Info(name); !ok {
			d.OnlyA = append(d.OnlyA, name)
			continue
		}
		row, err := compare(a, b, name, o)
		switch {
		case err != nil:
			return nil, fmt.Errorf("merge: %q: %w", name, err)
		case row == nil:
			d.Equal++
		case !row.Apart && row.Share == 0:
			d.Retyped++
		default:
			d.Tensors = append(d.Tensors, *row)
		}
		if o.Progress != nil {
			o.Progress(i+1, len(names))
		}
	}
	for _, name := range b.Names() {
		if _, ok := a.Info(name); !ok {
			d.OnlyB = append(d.OnlyB, name)
		}
	}
	slices.SortFunc(d.Tensors, func(x, y Differing) int { return strings.Compare(x.Tensor, y.Tensor) })
	return d, nil
}

// compare measures one tensor; nil if it is equal to the bit.
func compare(a, b *checkpoint.Checkpoint, name string, o DiffOptions) (*Differing, error) {
	ia, _ := a.Info(name)
	ib, _ := b.Info(name)
	ba, err := a.Bytes(name)
	if err != nil {
		return nil, err
	}
	bb, err := b.Bytes(name)
	if err != nil {
		return nil, err
	}
	same := slices.Equal(ia.Shape, ib.Shape)
	if same && ia.DType == ib.DType && slices.Equal(ba, bb) {
		return nil, nil
	}
	d := &Differing{Tensor: name, Shapes: [2][]int{ia.Shape, ib.Shape}, DTypes: [2]string{ia.DType.String(), ib.DType.String()}}
	if !same || !checkpoint.IsFloat(ia.DType) || !checkpoint.IsFloat(ib.DType) {
		d.Apart = true
		return d, nil
	}
	x, y := input{data: ba, dtype: ia.DType}, input{data: bb, dtype: ib.DType}
	d.measure(x, y, ia.Len())
	if o.Values > 0 && len(ia.Shape) == 2 && d.Norm > 0 && d.Norm-d.Norm == 0 {
		d.Spectrum, err = spectrum(x, y, ia.Shape, o.Values)
	}
	return d, err
}

// part decodes numbers lo to hi.
func (in input) part(dst []float32, lo, hi int) {
	size := int(in.dtype.Size())
	checkpoint.Decode(dst, in.data[lo*size:hi*size], in.dtype)
}

// measure fills in the numbers, block by block in their order.
func (d *Differing) measure(x, y input, n int) {
	type sums struct{ xx, yy, xy, dd, max, differ float64 }
	parts := make([]sums, (n+blockElements-1)/blockElements)
	kernel.Parallel(len(parts), func(i int) {
		lo, hi := i*blockElements, min(n, (i+1)*blockElements)
		p, q := make([]float32, hi-lo), make([]float32, hi-lo)
		x.part(p, lo, hi)
		y.part(q, lo, hi)
		s := sums{xx: dot(p, p), yy: dot(q, q), xy: dot(p, q)}
		for j := range p {
			if p[j] != q[j] {
				s.differ++
			}
		}
		kernel.Axpy(q, -1, p)
		s.dd = dot(q, q)
		s.max = float64(math.Float32frombits(kernel.MaxSize(q)))
		parts[i] = s
	})
	var all sums
	for _, s := range parts {
		all.xx, all.yy, all.xy, all.dd = all.xx+s.xx, all.yy+s.yy, all.xy+s.xy, all.dd+s.dd
		all.max, all.differ = max(all.max, s.max), all.differ+s.differ
	}
	d.Share, d.Max, d.Norm = all.differ/float64(max(1, n)), all.max, math.Sqrt(all.dd)
	if all.xx > 0 {
		d.Relative = math.Sqrt(all.dd / all.xx)
	}
	if all.xx > 0 && all.yy > 0 {
		d.Cosine = min(1, all.xy/math.Sqrt(all.xx*all.yy))
	}
}

// spectrum finds the largest singular values of y − x.
func spectrum(x, y input, shape []int, n int) (*Spectrum, error) {
	m := kernel.NewMat(make([]float32, shape[0]*shape[1]), shape[0], shape[1])
	row := make([]float32, m.Cols)
	for i := range m.Rows {
		lo, hi := i*m.Cols, (i+1)*m.Cols
		y.part(m.Row(i), lo, hi)
		x.part(row, lo, hi)
		kernel.Axpy(m.Row(i), -1, row)
	}
	n = min(n, m.Rows, m.Cols)
	f, err := linalg.Leading(m, n, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		return nil, err
	}
	s := &Spectrum{Values: f.S[:n]}
	all, held := linalg.Energy(m), 0.0
	for _, v := range s.Values {
		held += v * v
		s.Energy = append(s.Energy, min(1, held/all))
	}
	return s, nil
}
