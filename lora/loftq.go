package lora

import (
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/merge"
)

// LoftQ are the settings of init_lora_weights "loftq" (loftq_config).
type LoftQ struct {
	Bits int `json:"loftq_bits"` // 2, 4 or 8
	Iter int `json:"loftq_iter"` // times that weight and factors take turns
}

// quantBlock is how many numbers share a scale.
const quantBlock = 64

// normalFloats are the 2^bits values between −1 and 1 that quantise a normal distribution evenly [dettmers2023], with zero among them and
// one more above it than below.
//
// References: [dettmers2023] QLoRA: Efficient Finetuning of Quantized LLMs, arXiv 2305.14314.
func normalFloats(bits int) []float32 {
	const offset = 0.9677083
	quantile := func(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
	half := 1 << (bits - 1)
	list := []float64{0}
	for i := range half {
		list = append(list, quantile(offset+(0.5-offset)*float64(i)/float64(half)))
	}
	for i := range half - 1 {
		list = append(list, -quantile(offset+(0.5-offset)*float64(i)/float64(half-1)))
	}
	slices.Sort(list)
	out := make([]float32, len(list))
	for i, v := range list {
		out[i] = float32(v / list[len(list)-1])
	}
	return out
}

// quantised is w as a quantised weight has it: blocks of 64 numbers, row by row, each the nearest of the values times the block's largest.
func quantised(w kernel.Mat, values []float32) kernel.Mat {
	q := kernel.NewMat(make([]float32, len(w.Data)), w.Rows, w.Cols)
	kernel.Split(len(w.Data)/quantBlock, 16, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			from, to := w.Data[b*quantBlock:(b+1)*quantBlock], q.Data[b*quantBlock:(b+1)*quantBlock]
			scale := float32(0)
			for _, v := range from {
				scale = max(scale, float32(math.Abs(float64(v))))
			}
			for i, v := range from {
				if scale > 0 {
					to[i] = nearest(v/scale, values) * scale
				}
			}
		}
	})
	return q
}

// nearest is the value with the least distance; of two the lower.
func nearest(v float32, values []float32) float32 {
	i, _ := slices.BinarySearch(values, v)
	if i == len(values) || i > 0 && v-values[i-1] <= values[i]-v {
		i--
	}
	return values[i]
}

// loftq quantises the weight and begins as the best approximation of what is lost [li2023]: Q = quantised(W − s·B·A) and
// s·B·A = the largest r directions of W − Q take turns. From then on the base is Q. (PEFT leaves s out, which is the same for alpha = r.)
//
// References: [li2023] LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models, arXiv 2310.08659.
func loftq(d *draft) error {
	if err := d.thin("loftq"); err != nil {
		return err
	}
	w := d.weight()
	if len(w.Data)%quantBlock != 0 {
		return fmt.Errorf("lora: init_lora_weights \"loftq\" for a weight [%d, %d], whose numbers do not make blocks of %d", w.Rows, w.Cols, quantBlock)
	}
	if !(d.scale > 0) {
		return fmt.Errorf("lora: init_lora_weights \"loftq\" with the scale %g, want lora_alpha above 0", d.scale)
	}
	values := normalFloats(d.loftq.Bits)
	rest := cloned(w)
	for range d.loftq.Iter {
		d.base = quantised(rest, values)
		lost := cloned(w)
		subtract(lost, d.base)
		f, err := linalg.Largest(lost, d.a.Rows, d.rng)
		if err != nil {
			return err
		}
		d.take(f)
		copy(rest.Data, w.Data)
		kernel.MatMul(rest, d.b, d.a, kernel.MatMulOpts{Alpha: float32(-d.scale), Add: true})
	}
	return nil
}

// rebased is a weight that is replaced by another and changed.
type rebased struct {
	change *merge.LowRank
	base   kernel.Mat // [out, in]
}

// Target implements merge.Delta.
func (d *rebased) Target() string { return d.change.Target() }

// Dims implements merge.Delta.
func (d *rebased) Dims() (rows, cols int) { return d.change.Dims() }

// Check implements merge.Checker.
func (d *rebased) Check() error { return d.change.Check() }

// SetTo implements merge.Setter.
func (d *rebased) SetTo(lo, hi int, dst []float32) {
	_, cols := d.Dims()
	for i := lo; i < hi; i++ {
		row := dst[(i-lo)*cols : (i-lo+1)*cols]
		if !d.change.Transposed {
			copy(row, d.base.Row(i))
			continue
		}
		for j := range row {
			row[j] = d.base.Row(j)[i]
		}
	}
	d.change.AddTo(lo, hi, dst)
}
