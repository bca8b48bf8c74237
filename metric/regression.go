package metric

import (
	"cmp"
	"math"
	"slices"
)

// Regression is a comparison of numbers.
type Regression struct {
	MSE float64 // mean squared error
	MAE float64 // mean absolute error

	// R2 is the share of the variance that is explained. Where the actual numbers do not vary it is 1 if all are met,
	// otherwise 0; of a single number it is NaN.
	R2 float64

	Pearson  float64 // correlation; NaN where either side does not vary
	Spearman float64 // correlation of ranks, ties at their mean rank; NaN where either side does not vary
}

// Regress compares numbers.
//
//	actual [N]
//	predicted [N]
func Regress(actual, predicted []float64) (Regression, error) {
	if err := sameLength("numbers", len(actual), len(predicted)); err != nil {
		return Regression{}, err
	}
	var square, absolute, total float64
	center := mean(actual)
	for i, a := range actual {
		e := a - predicted[i]
		square += e * e
		absolute += math.Abs(e)
		total += (a - center) * (a - center)
	}
	n := float64(len(actual))
	r := Regression{MSE: square / n, MAE: absolute / n, R2: 1 - square/total}
	if n == 1 {
		r.R2 = math.NaN()
	} else if total == 0 {
		r.R2 = float64(count(square == 0))
	}
	r.Pearson = pearson(actual, predicted)
	r.Spearman = pearson(ranks(actual), ranks(predicted))
	return r, nil
}

// pearson is Σ ab / √(Σa²·Σb²) of the centred numbers, kept within [-1, 1] against rounding.
func pearson(a, b []float64) float64 {
	ma, mb := mean(a), mean(b)
	var aa, bb, ab float64
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		aa += x * x
		bb += y * y
		ab += x * y
	}
	return max(-1, min(1, ab/(math.Sqrt(aa)*math.Sqrt(bb))))
}

// ranks are the places of v in ascending order, from 1; equal numbers share the mean of their places.
func ranks(v []float64) []float64 {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(v[i], v[j]) })
	out := make([]float64, len(v))
	for i := 0; i < len(order); {
		j := i + 1
		for j < len(order) && v[order[j]] == v[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			out[k] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}
