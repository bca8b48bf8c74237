package merge

import (
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
)

// Task arithmetic adds differences from a base [ilharco2022]:
//
//	y = base + lambda·Σ w_i·δ'_i / divisor     δ_i = x_i − base
//
// δ' is δ without the numbers that a sparsifier takes away. With rescale what stays is scaled so that Σ|δ'| = Σ|δ|. With a sign
// election [yadav2023] only those w·δ' of an element count whose sign is that of their sum. normalize divides by Σ w of those that
// count.
//
// References: [ilharco2022] Editing Models with Task Arithmetic, arXiv 2212.04089; [yadav2023] TIES-Merging, arXiv 2306.01708;
// [yu2023] DARE, arXiv 2311.03099; [davari2023] Model Breadcrumbs, arXiv 2312.06795; [deep2024] DELLA-Merging, arXiv 2406.11617.

// sparsifier takes numbers away from δ.
type sparsifier struct {
	// ranks keeps numbers by the rank of their size in the tensor.
	ranks func(n int, density, gamma float64) (lo, hi int)
	// chance keeps numbers with a probability, which may go by the rank of their size in their row.
	chance func(k *keeper, x []float32, lo int)
}

// largestOf keeps the int(density·n) largest.
func largestOf(n int, density, _ float64) (lo, hi int) { return n - int(density*float64(n)), n }

// withoutOutliers drops the int(gamma·n) largest and then the smallest, until int(density·n) are left.
func withoutOutliers(n int, density, gamma float64) (lo, hi int) {
	keep, top := int(density*float64(n)), int(gamma*float64(n))
	lo = max(0, n-keep-top)
	return lo, lo + keep
}

// keeper is the sparsifier of one source.
type keeper struct {
	density, epsilon float64
	seed, stream     uint64
	cols             int
}

// random keeps each number with probability density.
func (k *keeper) random(x []float32, lo int) {
	bound := uint64(k.density * (1 << 53))
	for i, v := range x {
		x[i] = math.Float32frombits(math.Float32bits(v) & drawn(op.Random(k.seed, k.stream, uint64(lo+i)), bound))
	}
}

// drawn is a mask of all bits where the upper 53 bits of a random number are below the bound; which is so goes without branches.
func drawn(random, bound uint64) uint32 { return uint32(int64(random>>11-bound) >> 63) }

// byRank keeps the numbers of each row with a probability that grows with the rank of their size, from density − epsilon to
// density + epsilon.
func (k *keeper) byRank(x []float32, lo int) {
	order, spare := make([]uint64, k.cols), make([]uint64, k.cols)
	for ; len(x) > 0; x, lo = x[k.cols:], lo+k.cols {
		row := x[:k.cols]
		for j, v := range row {
			order[j] = uint64(kernel.Size(v))<<32 | uint64(j)
		}
		sortSizes(order, spare)
		for rank, o := range order {
			j := int(o & math.MaxUint32)
			p := k.density - k.epsilon + 2*k.epsilon*float64(rank)/float64(max(1, k.cols-1))
			keep := drawn(op.Random(k.seed, k.stream, uint64(lo+j)), uint64(p*(1<<53)))
			row[j] = math.Float32frombits(math.Float32bits(row[j]) & keep)
		}
	}
}

// sortSizes sorts numbers with a size in their upper half and their places, in order, in the lower one. Sizes have 31 bits: three digits.
func sortSizes(list, spare []uint64) {
	const digit = 11
	for shift := 32; shift < 63; shift += digit {
		var at [1<<digit + 1]uint32
		for _, o := range list {
			at[o>>shift&(1<<digit-1)+1]++
		}
		for d := range at[1:] {
			at[d+1] += at[d]
		}
		for _, o := range list {
			d := o >> shift & (1<<digit - 1)
			spare[at[d]] = o
			at[d]++
		}
		list, spare = spare, list
	}
	copy(spare, list) // after an odd number of passes the result lies in the other one
}

// tasks opens a method of task arithmetic.
func tasks(sp *sparsifier, elect bool) opener {
	return func(m *mixture) (mixer, int, error) {
		t := &taskMix{mixture: m, sparsifier: sp, elect: elect, weights: m.of("weight"), factor: float32(m.all["lambda"]), grain: blockElements}
		t.scales = slices.Repeat([]float32{1}, m.sources())
		if sp != nil {
			if err := t.prepare(); err != nil {
				return nil, 0, err
			}
		}
		if m.all["normalize"] != 0 && !elect {
			sum := 0.0
			for _, w := range t.weights {
				sum += w
			}
			if math.Abs(sum) >= 1e-8 {
				t.factor = float32(m.all["lambda"] / sum)
			}
		}
		return t.mix, t.grain, nil
	}
}

// taskMix is task arithmetic on one tensor.
type taskMix struct {
	*mixture
	*sparsifier
	elect   bool
	weights []float64
	factor  float32 // lambda, divided by Σ w where that is the same everywhere
	grain   int
	scales  []float32 // of rescale
	windows []window
	keepers []*keeper // nil keeps all
}

// prepare learns what the sparsifier must know of the tensor.
func (t *taskMix) prepare() error {
	density, gamma, epsilon := t.of("density"), t.of("gamma"), t.of("epsilon")
	for i, d := range density {
		w, k := newWindow(0, t.len(), t.len()), (*keeper)(nil)
		if d < 1 && t.ranks != nil {
			lo, hi := t.ranks(t.len(), d, gamma[i])
			w = newWindow(lo, hi, t.len())
		}
		if d < 1 && t.chance != nil {
			k = &keeper{density: d, epsilon: epsilon[i], seed: t.seed, stream: t.stream(i), cols: t.cols}
			if e := epsilon[i]; e > 0 && !(d-e > 0 && d+e < 1) && d > 0 {
				return fmt.Errorf("density %g and epsilon %g give probabilities beyond 0 and 1", d, e)
			}
		}
		t.windows, t.keepers = append(t.windows, w), append(t.keepers, k)
	}
	if t.chance != nil {
		t.grain = t.byRows()
	}
	if err := t.locate(t.windows, func(s *sheet, i int) []float32 { return s.x[i] }); err != nil {
		return err
	}
	if t.all["rescale"] == 0 {
		return nil
	}
	return t.rescale()
}

// thin takes numbers away from every difference.
func (t *taskMix) thin(s *sheet, lo int) {
	for i := range t.windows {
		t.windows[i].drop(s.x[i], s.x[i], lo)
		switch k := t.keepers[i]; {
		case k == nil:
		case k.density <= 0:
			clear(s.x[i])
		default:
			t.chance(k, s.x[i], lo)
		}
	}
}

// rescale finds what makes up for the numbers taken away: Σ|δ|/Σ|δ'|.
func (t *taskMix) rescale() error {
	n := t.sources()
	parts := make([][]float64, t.blocks(t.grain))
	err := t.sweep(t.grain, func(b int, s *sheet, lo, hi int) error {
		sums := make([]float64, 2*n)
		for i, x := range s.x {
			sums[i] = kernel.SumAbs(x)
		}
		t.thin(s, lo)
		for i, x := range s.x {
			sums[n+i] = kernel.SumAbs(x)
		}
		parts[b] = sums
		return nil
	})
	if err != nil {
		return err
	}
	sums := make([]float64, 2*n)
	for _, p := range parts {
		for i, v := range p {
			sums[i] += v
		}
	}
	const least = 1e-7 // as in mergekit: sums below are left alone
	for i := range n {
		if sums[i] >= least && sums[n+i] >= least {
			t.scales[i] = float32(sums[i] / sums[n+i])
		}
	}
	return nil
}

// mix implements mixer. What is done to one number after another is done to pieces that stay in the fastest cache.
func (t *taskMix) mix(s *sheet, lo, hi int) error {
	t.thin(s, lo)
	var v votes
	x := make([][]float32, len(s.x))
	for at := 0; at < len(s.out); at += piece {
		end := min(at+piece, len(s.out))
		for i := range x {
			x[i] = s.x[i][at:end]
		}
		t.sum(&v, s.out[at:end], x)
		if s.base != nil {
			kernel.Add(s.out[at:end], s.base[at:end]) // last, so that it rounds once
		}
	}
	return nil
}

// piece is how many numbers of a few sources stay in the fastest cache.
const piece = 512

// sum is what is added to a piece of the base.
func (t *taskMix) sum(v *votes, out []float32, x [][]float32) {
	for i, x := range x {
		for _, f := range []float32{t.scales[i], float32(t.weights[i])} {
			if f != 1 {
				kernel.Scale(x, f)
			}
		}
	}
	clear(out)
	if t.elect {
		v.elect(out, x, t.weights, t.all["normalize"] != 0)
	} else {
		for _, x := range x {
			kernel.Add(out, x)
		}
	}
	if t.factor != 1 {
		kernel.Scale(out, t.factor)
	}
}

// votes is the memory of an election.
type votes struct{ votes, divisors [piece]float32 }

// elect sums those of each element whose sign is that of the sum of all; no sum counts as positive. Zeros never count. out is zero.
func (v *votes) elect(out []float32, x [][]float32, weights []float64, normalize bool) {
	vote, divisor := v.votes[:len(out)], v.divisors[:len(out)]
	copy(vote, x[0])
	for _, x := range x[1:] {
		kernel.Add(vote, x) // −0 only where all are
	}
	clear(divisor)
	for i, x := range x {
		kernel.AddElected(out, divisor, vote, x, float32(weights[i]))
	}
	if normalize {
		kernel.Divide(out, divisor)
	}
}
