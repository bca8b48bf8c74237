package metric

import "fmt"

// MultiLabel is a comparison of sets of labels, one set per item.
type MultiLabel struct {
	Labels         []Counts // by label
	Samples        PRF      // mean over the items of each one's scores
	SubsetAccuracy float64  // share of items whose set is right
	HammingLoss    float64  // share of wrong yes-or-no decisions
}

// ClassifyMulti compares sets of labels.
//
//	actual [N][K]     whether item n has label k
//	predicted [N][K]
func ClassifyMulti(actual, predicted [][]bool) (*MultiLabel, error) {
	if err := sameLength("sets of labels", len(actual), len(predicted)); err != nil {
		return nil, err
	}
	k := len(actual[0])
	if k == 0 {
		return nil, fmt.Errorf("metric: sets of labels: 0 labels, want at least 1")
	}
	m := &MultiLabel{Labels: make([]Counts, k)}
	wrong := 0
	for n := range actual {
		if len(actual[n]) != k || len(predicted[n]) != k {
			return nil, fmt.Errorf("metric: sets of labels: item %d has %d actual and %d predicted labels, want %d",
				n, len(actual[n]), len(predicted[n]), k)
		}
		w := m.add(actual[n], predicted[n])
		wrong += w
		if w == 0 {
			m.SubsetAccuracy++
		}
	}
	items := float64(len(actual))
	m.SubsetAccuracy /= items
	m.HammingLoss = float64(wrong) / (items * float64(k))
	m.Samples = m.Samples.times(1 / items)
	return m, nil
}

// add counts one item and returns how many of its decisions are wrong.
func (m *MultiLabel) add(actual, predicted []bool) (wrong int) {
	var item Counts
	for k, a := range actual {
		one := Counts{Correct: count(a && predicted[k]), Predicted: count(predicted[k]), Actual: count(a)}
		m.Labels[k] = m.Labels[k].add(one)
		item = item.add(one)
		wrong += count(a != predicted[k])
	}
	m.Samples = m.Samples.plus(item.PRF(), 1)
	return wrong
}

// Averages over the labels.
func (m *MultiLabel) Averages() Averages { return average(m.Labels) }

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
