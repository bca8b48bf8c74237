package factor

import (
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
)

// formula is a way to make one matrix of several. All but the plain sum take numbers away first.
//
//	prune      T_i ← the density·n largest of T_i, or each kept with probability density and divided by it
//	elect      only numbers of the sign that most have count, and Σ w_i·T_i is divided by how many those are
//
// References: [yadav2023] TIES-Merging, arXiv 2306.01708; [yu2023] DARE, arXiv 2311.03099.
type formula struct {
	name, does string
	prune      func(x []float32, o Options, stream uint64)
	elect      bool
}

// mix applies the formula to matrices of one shape, which it overwrites.
func (f *formula) mix(list [][]float32, weights []float64, o Options, stream uint64) []float32 {
	if f.prune != nil && o.Density < 1 {
		for i, x := range list {
			f.prune(x, o, stream<<8+uint64(i))
		}
	}
	sum := make([]float32, len(list[0]))
	if !f.elect {
		for i, x := range list {
			kernel.Axpy(sum, float32(weights[i]), x)
		}
		return sum
	}
	for j := range sum {
		sum[j] = elected(list, weights, j, o.MajoritySign == frequency)
	}
	return sum
}

// The values of majority_sign_method.
const (
	total     = "total"
	frequency = "frequency"
)

// elected is Σ w_i·T_i over those whose sign is the majority's, divided by their number. No majority counts as positive.
func elected(list [][]float32, weights []float64, j int, byCount bool) float32 {
	vote := 0.0
	for _, x := range list {
		switch v := float64(x[j]); {
		case !byCount:
			vote += v
		case v > 0:
			vote++
		case v < 0:
			vote--
		}
	}
	sum, n := 0.0, 0
	for i, x := range list {
		if v := x[j]; v != 0 && (v > 0) == (vote >= 0) {
			sum += weights[i] * float64(v)
			n++
		}
	}
	return float32(sum / float64(max(n, 1)))
}

// keepLargest sets all but the int(density·n) largest numbers to zero; of equal ones the first stay.
func keepLargest(x []float32, o Options, _ uint64) {
	k := int(o.Density * float64(len(x)))
	if k == 0 {
		clear(x)
		return
	}
	size := make([]float32, len(x))
	for i, v := range x {
		size[i] = float32(math.Abs(float64(v)))
	}
	slices.Sort(size)
	least := size[len(size)-k]
	first, _ := slices.BinarySearch(size, least) // so many are smaller
	spare := len(size) - k - first               // of those equal to the least, so many go: the last
	for i, v := range slices.Backward(x) {
		a := float32(math.Abs(float64(v)))
		switch {
		case a < least:
			x[i] = 0
		case a == least && spare > 0:
			x[i] = 0
			spare--
		}
	}
}

// keepSome keeps each number with probability density, divided by it. The choice is a function of seed, stream and place.
func keepSome(x []float32, o Options, stream uint64) {
	bound := uint64(o.Density * (1 << 53))
	scale := float32(1 / o.Density)
	for i := range x {
		if op.Random(o.Seed, stream, uint64(i))>>11 < bound {
			x[i] *= scale
			continue
		}
		x[i] = 0
	}
}
