package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Neighbours puts each row between those beside it, so that a projection of the result is a convolution over rows. Beyond its
// segment a row has zeros.
//
//	x [T, C]   y [T, width·C]: x[t − width/2], …, x[t + width/2]     width odd
func Neighbours(p *Pass, x mat.Tensor, width int) mat.Tensor {
	if width < 1 || width%2 == 0 {
		panic(fmt.Sprintf("op: Neighbours: width %d, want an odd number", width))
	}
	return node(&neighbours{p: p, x: x, width: width})
}

type neighbours struct {
	p     *Pass
	x     mat.Tensor
	width int
	y     *Tensor
}

func (f *neighbours) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

// each calls do with every row and, of those beside it in its segment, the row and its place.
func (f *neighbours) each(do func(t, other, place int)) {
	for _, s := range f.p.Segments {
		for t := s.Start; t < s.End; t++ {
			for i := range f.width {
				if o := t + i - f.width/2; o >= s.Start && o < s.End {
					do(t, o, i)
				}
			}
		}
	}
}

func (f *neighbours) Forward() (mat.Tensor, error) {
	x := Of(f.x).View()
	f.y = f.p.Arena.NewTensor(x.Rows, f.width*x.Cols)
	clear(f.y.data)
	y := f.y.View()
	f.each(func(t, other, i int) { copy(y.Row(t)[i*x.Cols:(i+1)*x.Cols], x.Row(other)) })
	return f.y, nil
}

// Backward: dx[other] += dy[t] at the other's place.
func (f *neighbours) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	if dx := f.p.inputGrad(f.x); dx != nil {
		d, n := dx.View(), dx.cols
		f.each(func(t, other, i int) { kernel.Add(d.Row(other), dy.View().Row(t)[i*n:(i+1)*n]) })
		f.x.AccGrad(dx)
	}
	dy.release()
	f.y.release()
	return nil
}
