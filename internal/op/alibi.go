package op

import "math"

// ALiBi is a bias that grows with the key's position, for every head at a pace of its own [press2022]. As the softmax knows
// no constants, that is the same as a penalty on the distance.
//
//	bias(head, key) = Scale · slope[head] · key
type ALiBi struct {
	Slopes []float32 // by query head
	Scale  float32   // Falcon scales the bias as it does the scores; 1 for the others
	BF16   bool      // slope, key and product are rounded to bf16, as Falcon computes them
}

// NewALiBi gives the slopes of heads query heads: 2^(−8/n), 2^(−16/n), … for the power of two n that is next below, then
// every second one of those for 2n.
func NewALiBi(heads int) *ALiBi {
	n := 1
	for 2*n <= heads {
		n *= 2
	}
	a := &ALiBi{Scale: 1}
	for i := range heads {
		exponent := float64(8*(i+1)) / float64(n)
		if i >= n {
			exponent = float64(4*(2*(i-n)+1)) / float64(n)
		}
		a.Slopes = append(a.Slopes, float32(math.Exp2(-exponent)))
	}
	return a
}

// AddTo implements ScoreBias.
func (a *ALiBi) AddTo(scores []float32, head, query, key int) {
	slope := a.Slopes[head]
	if !a.BF16 {
		slope *= a.Scale
		for i := range scores {
			scores[i] += slope * float32(key+i)
		}
		return
	}
	slope = roundBF16(slope)
	for i := range scores {
		scores[i] += a.Scale * roundBF16(slope*roundBF16(float32(key+i)))
	}
}

// roundBF16 is the nearest bf16 of a finite number, ties to even.
func roundBF16(x float32) float32 {
	b := math.Float32bits(x)
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}
