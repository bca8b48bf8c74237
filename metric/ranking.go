package metric

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// ROCAUC is the probability that a random positive item scores above a random negative one, ties counting half: the
// area under the ROC curve. It is NaN where one of the two kinds is missing.
//
//	actual [N]  whether an item is positive
//	score [N]   the higher, the more positive
func ROCAUC(actual []bool, score []float64) (float64, error) {
	groups, err := rank(actual, score)
	if err != nil {
		return 0, err
	}
	var above, area, positives, negatives float64 // above: positives that score higher than the group at hand
	for _, g := range groups {
		area += g.negatives * (above + g.positives/2)
		above += g.positives
		positives += g.positives
		negatives += g.negatives
	}
	return area / (positives * negatives), nil
}

// AveragePrecision is Σ (Rₙ − Rₙ₋₁)·Pₙ over the distinct scores as thresholds, highest first. It is 0 without positives.
//
//	actual [N]  whether an item is positive
//	score [N]   the higher, the more positive
func AveragePrecision(actual []bool, score []float64) (float64, error) {
	groups, err := rank(actual, score)
	if err != nil {
		return 0, err
	}
	var positives, seen, sum float64
	for _, g := range groups {
		positives += g.positives
		seen += g.positives + g.negatives
		sum += g.positives * positives / seen
	}
	return ratio(sum, positives), nil
}

// tied is the items of one score.
type tied struct{ positives, negatives float64 }

// rank groups items by score, highest first.
func rank(actual []bool, score []float64) ([]tied, error) {
	if err := sameLength("scores", len(actual), len(score)); err != nil {
		return nil, err
	}
	order := make([]int, len(score))
	for i, s := range score {
		if math.IsNaN(s) {
			return nil, fmt.Errorf("metric: scores: item %d is NaN, want a number", i)
		}
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(score[j], score[i]) })
	var groups []tied
	for n, i := range order {
		if n == 0 || score[i] != score[order[n-1]] {
			groups = append(groups, tied{})
		}
		g := &groups[len(groups)-1]
		g.positives += float64(count(actual[i]))
		g.negatives += float64(count(!actual[i]))
	}
	return groups, nil
}
