package kernel

import "math"

// At is element (i, j) as float32.
func (w *Frozen) At(i, j int) float32 {
	k := i*w.Cols + j
	switch w.DType {
	case BF16:
		return math.Float32frombits(uint32(w.u16[k]) << 16)
	case F16:
		return halfToFloat(w.u16[k])
	default:
		return w.f32[k]
	}
}

func halfToFloat(h uint16) float32 {
	sign, exp, man := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0xff<<23 | man<<13)
	case exp == 0:
		f := float32(man) / (1 << 24)
		if sign != 0 {
			return -f
		}
		return f
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

func mulTGeneric(y, x Mat, w *Frozen, bias []float32, add bool) {
	for t := range y.Rows {
		for n := range y.Cols {
			s := float32(0)
			for k := range w.Cols {
				s += x.Data[t*x.Stride+k] * w.At(n, k)
			}
			store(y, t, n, s, bias, add)
		}
	}
}

func mulGeneric(y, x Mat, w *Frozen, bias []float32, add bool) {
	for t := range y.Rows {
		for k := range y.Cols {
			s := float32(0)
			for n := range w.Rows {
				s += x.Data[t*x.Stride+n] * w.At(n, k)
			}
			store(y, t, k, s, bias, add)
		}
	}
}

func store(y Mat, t, n int, s float32, bias []float32, add bool) {
	if bias != nil {
		s += bias[n]
	}
	if add {
		s += y.Data[t*y.Stride+n]
	}
	y.Data[t*y.Stride+n] = s
}
