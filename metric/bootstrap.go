package metric

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// References
//
//	[koehn2004] P. Koehn, Statistical significance tests for machine translation evaluation
//	[efron1979] B. Efron, Bootstrap methods: another look at the jackknife
//	[efron1993] B. Efron, R. Tibshirani, An introduction to the bootstrap

// Sample is a score as a sum over segments: what each segment adds, and the formula that makes a score of the sum.
// BLEU is such a score (counts of n-grams), as is a mean (value and 1) or a perplexity (loss and tokens).
type Sample struct {
	Segments [][]float64 // [N][K]: the same K for all
	Score    func(sum []float64) float64
}

// MeanSample is the mean of one value per segment.
func MeanSample(values []float64) Sample {
	rows := make([][]float64, len(values))
	for i, v := range values {
		rows[i] = []float64{v, 1}
	}
	return Sample{Segments: rows, Score: func(sum []float64) float64 { return sum[0] / sum[1] }}
}

// Value is the score of all segments; NaN of none.
func (s Sample) Value() float64 {
	if len(s.Segments) == 0 {
		return math.NaN()
	}
	return s.Score(s.total())
}

// total sums the segments, of which there are some.
func (s Sample) total() []float64 {
	sum := make([]float64, len(s.Segments[0]))
	for _, row := range s.Segments {
		accumulate(sum, row)
	}
	return sum
}

func accumulate(sum, row []float64) {
	for k, v := range row {
		sum[k] += v
	}
}

// Interval is a score and where it lies if the segments had been others of their kind.
type Interval struct {
	Value     float64 // of the segments themselves
	Low, High float64 // percentiles of the resampled scores
	Mean      float64 // of the resampled scores
}

// Interval resamples segments with replacement [efron1979] and returns the percentile interval at the given level,
// such as 0.95. The resamples are drawn by PCG from the seed.
func (s Sample) Interval(level float64, resamples int, seed uint64) (Interval, error) {
	if !(level > 0 && level < 1) {
		return Interval{}, fmt.Errorf("metric: interval: level is %g, want above 0 and below 1", level)
	}
	if err := s.check(resamples); err != nil {
		return Interval{}, err
	}
	scores := make([]float64, resamples)
	resample(len(s.Segments), resamples, seed, func(b int, drawn []int) { scores[b] = s.score(drawn) })
	slices.Sort(scores)
	tail := (1 - level) / 2
	return Interval{Value: s.Value(), Low: percentile(scores, tail), High: percentile(scores, 1-tail), Mean: mean(scores)}, nil
}

// Comparison of a system with a baseline on the same segments.
type Comparison struct {
	Baseline, System float64 // scores
	Difference       float64 // System − Baseline
	Low, High        float64 // the 2.5th and 97.5th percentile of resampled differences

	// Wins is the share of resamples in which the system scores higher, ties counting half [koehn2004].
	Wins float64

	// PValue is the probability of a difference at least as large, in either direction, if both systems were equally
	// good: the share of resamples that stray from the observed difference by at least its size [efron1993] ch. 16.
	// (sacrebleu's paired bootstrap centres absolute differences, which calls two identical systems different.)
	PValue float64
}

// Paired compares two systems by resampling the same segments for both [koehn2004].
func Paired(baseline, system Sample, resamples int, seed uint64) (Comparison, error) {
	if len(baseline.Segments) != len(system.Segments) {
		return Comparison{}, fmt.Errorf("metric: comparison: system has %d segments, want %d as the baseline",
			len(system.Segments), len(baseline.Segments))
	}
	for _, s := range []Sample{baseline, system} {
		if err := s.check(resamples); err != nil {
			return Comparison{}, err
		}
	}
	c := Comparison{Baseline: baseline.Value(), System: system.Value()}
	c.Difference = c.System - c.Baseline
	diffs := make([]float64, resamples)
	resample(len(system.Segments), resamples, seed, func(b int, drawn []int) {
		diffs[b] = system.score(drawn) - baseline.score(drawn)
	})
	extreme := 0
	for _, d := range diffs {
		c.Wins += float64(count(d > 0)) + float64(count(d == 0))/2
		extreme += count(math.Abs(d-c.Difference) >= math.Abs(c.Difference))
	}
	c.Wins /= float64(resamples)
	c.PValue = float64(extreme+1) / float64(resamples+1) // +1: chance is never ruled out by a finite test
	slices.Sort(diffs)
	c.Low, c.High = percentile(diffs, 0.025), percentile(diffs, 0.975)
	return c, nil
}

// check that there is something to draw from, all of one width.
func (s Sample) check(resamples int) error {
	if resamples < 1 {
		return fmt.Errorf("metric: bootstrap: %d resamples, want at least 1", resamples)
	}
	if len(s.Segments) == 0 {
		return fmt.Errorf("metric: bootstrap: no segments, want at least 1")
	}
	for i, row := range s.Segments {
		if len(row) != len(s.Segments[0]) {
			return fmt.Errorf("metric: bootstrap: segment %d has %d values, want %d", i, len(row), len(s.Segments[0]))
		}
	}
	return nil
}

// resample draws n of n segments with replacement, again and again. drawn is reused.
func resample(n, resamples int, seed uint64, use func(b int, drawn []int)) {
	rng := rand.New(rand.NewPCG(seed, 0))
	drawn := make([]int, n)
	for b := range resamples {
		for i := range drawn {
			drawn[i] = rng.IntN(n)
		}
		use(b, drawn)
	}
}

// score of the drawn segments.
func (s Sample) score(drawn []int) float64 {
	sum := make([]float64, len(s.Segments[0]))
	for _, i := range drawn {
		accumulate(sum, s.Segments[i])
	}
	return s.Score(sum)
}

// percentile interpolates linearly between the sorted values, as numpy does.
func percentile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}
