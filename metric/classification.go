package metric

import (
	"math"
	"slices"
)

// References
//
//	[gorodkin2004] J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient
//	[cohen1960] J. Cohen, A coefficient of agreement for nominal scales

// Classification is a comparison of classes, one per item.
type Classification struct {
	Labels    []int   // that occur, actual or predicted; ascending
	Confusion [][]int // [actual][predicted], both in the order of Labels
	Classes   []Counts
}

// Classify compares the class of each item.
//
//	actual [N]     class numbers
//	predicted [N]  class numbers
func Classify(actual, predicted []int) (*Classification, error) {
	if err := sameLength("classes", len(actual), len(predicted)); err != nil {
		return nil, err
	}
	labels := slices.Concat(actual, predicted)
	slices.Sort(labels)
	labels = slices.Compact(labels)
	c := &Classification{Labels: labels, Confusion: make([][]int, len(labels)), Classes: make([]Counts, len(labels))}
	for i := range c.Confusion {
		c.Confusion[i] = make([]int, len(labels))
	}
	for n, a := range actual {
		i, _ := slices.BinarySearch(labels, a)
		j, _ := slices.BinarySearch(labels, predicted[n])
		c.Confusion[i][j]++
		c.Classes[i].Actual++
		c.Classes[j].Predicted++
		if i == j {
			c.Classes[i].Correct++
		}
	}
	return c, nil
}

// Class is the scores of one label; all 0 of a label that does not occur.
func (c *Classification) Class(label int) PRF {
	i, found := slices.BinarySearch(c.Labels, label)
	if !found {
		return PRF{}
	}
	return c.Classes[i].PRF()
}

// Averages of the labels that occur.
func (c *Classification) Averages() Averages { return average(c.Classes) }

// Accuracy is the share of items whose class is right.
func (c *Classification) Accuracy() float64 {
	n, correct, _ := c.moments()
	return correct / n
}

// BalancedAccuracy is the mean recall of the classes that truly occur.
func (c *Classification) BalancedAccuracy() float64 {
	var recalls []float64
	for _, class := range c.Classes {
		if class.Actual > 0 {
			recalls = append(recalls, class.PRF().Recall)
		}
	}
	return mean(recalls)
}

// Matthews is the correlation of actual and predicted classes, in [-1, 1], for any number of classes: R_K of
// [gorodkin2004] eq. 8. It is 0 where either side has one class only.
func (c *Classification) Matthews() float64 {
	n, correct, agree := c.moments()
	var aa, pp float64
	for _, class := range c.Classes {
		aa += float64(class.Actual) * float64(class.Actual)
		pp += float64(class.Predicted) * float64(class.Predicted)
	}
	return ratio(correct*n-agree, math.Sqrt((n*n-pp)*(n*n-aa)))
}

// Kappa is [cohen1960]'s agreement beyond chance, in [-1, 1]. It is NaN where all items are of one class on both
// sides, for then chance agrees fully.
func (c *Classification) Kappa() float64 {
	n, correct, agree := c.moments()
	observed, chance := correct/n, agree/(n*n)
	if chance == 1 {
		return math.NaN()
	}
	return (observed - chance) / (1 - chance)
}

// moments are the number of items, of right ones, and the sum over classes of support times predictions.
func (c *Classification) moments() (n, correct, agree float64) {
	for _, class := range c.Classes {
		n += float64(class.Actual)
		correct += float64(class.Correct)
		agree += float64(class.Actual) * float64(class.Predicted)
	}
	return n, correct, agree
}
