package op

import "github.com/nlpodyssey/spago/mat"

// Dropout sets numbers to zero with probability rate and scales the others by 1/(1−rate), in passes that train; else it is x
// itself [srivastava2014]. Streams tell the dropouts of one pass apart.
//
//	x, y [T, C]
func Dropout(p *Pass, x mat.Tensor, rate float64, stream uint64) mat.Tensor {
	if !p.Train || rate == 0 {
		return x
	}
	mask := func(y, x []float32) {
		keep := float32(1 / (1 - rate))
		for i, v := range x {
			y[i] = 0
			if float64(Random(p.Seed, stream, uint64(i))>>11)/(1<<53) >= rate {
				y[i] = v * keep
			}
		}
	}
	return node(&dropout{p: p, x: x, mask: mask})
}

type dropout struct {
	p    *Pass
	x    mat.Tensor
	mask func(y, x []float32)
	y    *Tensor
}

func (f *dropout) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *dropout) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	f.mask(f.y.data, x.data)
	return f.y, nil
}

// Backward: dx is dy under the same mask.
func (f *dropout) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	f.mask(dy.data, dy.data)
	f.y.release()
	f.x.AccGrad(dy) // dy changes owner
	return nil
}
