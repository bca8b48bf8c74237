package metric

import "math"

// Counts are what precision and recall of one class are made of.
type Counts struct {
	Correct   int // predicted to be of the class, and rightly
	Predicted int
	Actual    int // the class's support
}

// PRF is precision, recall and their harmonic mean F1, in [0, 1].
type PRF struct {
	Precision, Recall, F1 float64
}

// PRF divides; what has no predictions has precision 0, what has no support has recall 0.
func (c Counts) PRF() PRF {
	correct, predicted, actual := float64(c.Correct), float64(c.Predicted), float64(c.Actual)
	return PRF{ratio(correct, predicted), ratio(correct, actual), ratio(2*correct, predicted+actual)}
}

// add sums counts.
func (c Counts) add(d Counts) Counts {
	return Counts{c.Correct + d.Correct, c.Predicted + d.Predicted, c.Actual + d.Actual}
}

// Averages of the scores of several classes.
type Averages struct {
	Micro, Macro, Weighted PRF
}

// average of no class has macro scores NaN (numpy's mean of nothing, as seqeval returns) and the others 0.
func average(classes []Counts) Averages {
	var pool Counts
	var macro, weighted PRF
	for _, c := range classes {
		pool = pool.add(c)
		macro = macro.plus(c.PRF(), 1)
		weighted = weighted.plus(c.PRF(), float64(c.Actual))
	}
	if pool.Actual > 0 {
		weighted = weighted.times(1 / float64(pool.Actual))
	}
	if len(classes) == 0 {
		nan := math.NaN()
		return Averages{Macro: PRF{nan, nan, nan}}
	}
	return Averages{pool.PRF(), macro.times(1 / float64(len(classes))), weighted}
}

func (p PRF) plus(q PRF, weight float64) PRF {
	return PRF{p.Precision + weight*q.Precision, p.Recall + weight*q.Recall, p.F1 + weight*q.F1}
}

func (p PRF) times(a float64) PRF { return PRF{a * p.Precision, a * p.Recall, a * p.F1} }
