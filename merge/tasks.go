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
	for i := range x {
		if op.Random(k.seed, k.stream, uint64(lo+i))>>11 >= bound {
			x[i] = 0
		}
	}
}

// byRank keeps the numbers of each row with a probability that grows with the rank of their size, from density − epsilon to
// density + epsilon.
func (k *keeper) byRank(x []float32, lo int) {
	order := make([]uint64, k.cols)
	for ; len(x) > 0; x, lo = x[k.cols:], lo+k.cols {
		row := x[:k.cols]
		for j, v := range row {
			order[j] = uint64(math.Float32bits(v)&^(1<<31))<<32 | uint64(j)
		}
		slices.Sort(order)
		for rank, o := range order {
			j := int(o & math.MaxUint32)
			p := k.density - k.epsilon + 2*k.epsilon*float64(rank)/float64(max(1, k.cols-1))
			if op.Random(k.seed, k.stream, uint64(lo+j))>>11 >= uint64(p*(1<<53)) {
				row[j] = 0
			}
		}
	}
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
			sums[i] = absolutes(x)
		}
		t.thin(s, lo)
		for i, x := range s.x {
			sums[n+i] = absolutes(x)
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

// absolutes is Σ|x|.
func absolutes(x []float32) (sum float64) {
	for len(x) > 0 {
		n := min(512, len(x))
		part := float32(0)
		for _, v := range x[:n] {
			part += max(v, -v)
		}
		sum += float64(part)
		x = x[n:]
	}
	return sum
}

// mix implements mixer.
func (t *taskMix) mix(s *sheet, lo, hi int) error {
	t.thin(s, lo)
	for i, x := range s.x {
		for _, f := range []float32{t.scales[i], float32(t.weights[i])} {
			if f != 1 {
				kernel.Scale(x, f)
			}
		}
	}
	s.start()
	if t.elect {
		s.electSigns(t.weights, t.all["normalize"] != 0)
	} else {
		for _, x := range s.x {
			kernel.Add(s.out, x)
		}
	}
	if t.factor != 1 {
		kernel.Scale(s.out, t.factor)
	}
	s.finish()
	return nil
}

// electSigns sums those of each element whose sign is that of the sum of all; no sum counts as positive. Zeros never count.
func (s *sheet) electSigns(weights []float64, normalize bool) {
	const piece = 512 // of which the sums stay in the fastest cache
	var votes, sums, divisors [piece]float32
	for at := 0; at < len(s.out); at += piece {
		n := min(piece, len(s.out)-at)
		vote, sum, divisor := votes[:n], sums[:n], divisors[:n]
		clear(vote)
		clear(sum)
		clear(divisor)
		for _, x := range s.x {
			kernel.Add(vote, x[at:at+n])
		}
		for i, x := range s.x {
			addElected(sum, divisor, vote, x[at:at+n], float32(weights[i]))
		}
		for j, d := range divisor {
			if normalize && d != 0 {
				sum[j] /= d
			}
		}
		copy(s.out[at:], sum)
	}
}

// addElected adds x to sum and w to divisor where x has the sign of vote and is not zero. Signs are random, so it goes without branches;
// vote is a sum that began at zero, so it is never −0.
func addElected(sum, divisor, vote, x []float32, w float32) {
	factor := math.Float32bits(w)
	sum, divisor, vote = sum[:len(x)], divisor[:len(x)], vote[:len(x)]
	for j, v := range x {
		b := math.Float32bits(v)
		agrees := ^(b ^ math.Float32bits(vote[j])) >> 31
		some := (b<<1 | -(b << 1)) >> 31
		mask := -(agrees & some)
		sum[j] += math.Float32frombits(b & mask)
		divisor[j] += math.Float32frombits(factor & mask)
	}
}
