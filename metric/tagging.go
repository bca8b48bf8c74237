package metric

import (
	"fmt"
	"maps"
	"slices"
)

// Tagging is a comparison of the entities of sentences. An entity is right if type and both ends are.
type Tagging struct {
	Types    []string // that occur, actual or predicted; ascending by their bytes
	Classes  []Counts // of the types
	Accuracy float64  // share of words with the right tag
	rows     [][]float64
}

// EvaluateTags compares tags of words by entities as seqeval 1.2.2 does.
//
//	actual [sentences][words]
//	predicted [sentences][words]
//	scheme  of the tags, read strictly; nil reads leniently, seqeval's default
func EvaluateTags(actual, predicted [][]string, scheme *Scheme) (*Tagging, error) {
	if err := sameLength("sentences", len(actual), len(predicted)); err != nil {
		return nil, err
	}
	read := Entities
	if scheme != nil {
		read = scheme.Entities
	}
	t := &Tagging{}
	classes := map[string]Counts{}
	words, right := 0, 0
	for i := range actual {
		if len(actual[i]) != len(predicted[i]) {
			return nil, fmt.Errorf("metric: sentences: sentence %d has %d predicted tags, want %d", i, len(predicted[i]), len(actual[i]))
		}
		want, err := read(actual[i])
		if err != nil {
			return nil, fmt.Errorf("%w in actual sentence %d", err, i)
		}
		got, err := read(predicted[i])
		if err != nil {
			return nil, fmt.Errorf("%w in predicted sentence %d", err, i)
		}
		t.rows = append(t.rows, compare(classes, want, got))
		words += len(actual[i])
		right += agreement(actual[i], predicted[i])
	}
	t.Types = slices.Sorted(maps.Keys(classes))
	for _, name := range t.Types {
		t.Classes = append(t.Classes, classes[name])
	}
	t.Accuracy = ratio(float64(right), float64(words))
	return t, nil
}

// compare adds a sentence's entities to the counts of their types, and returns the sentence's own counts.
func compare(classes map[string]Counts, want, got []Entity) []float64 {
	var sum Counts
	add := func(e Entity, c Counts) {
		classes[e.Type] = classes[e.Type].add(c)
		sum = sum.add(c)
	}
	for _, e := range want {
		add(e, Counts{Actual: 1})
	}
	for _, e := range got {
		add(e, Counts{Predicted: 1, Correct: count(slices.Contains(want, e))})
	}
	return []float64{float64(sum.Correct), float64(sum.Predicted), float64(sum.Actual)}
}

// agreement counts equal tags.
func agreement(a, b []string) (n int) {
	for i := range a {
		n += count(a[i] == b[i])
	}
	return n
}

// Averages over the types; the macro average of no type is NaN.
func (t *Tagging) Averages() Averages { return average(t.Classes) }

// Sample is the micro F1 by sentence, for intervals and comparisons.
func (t *Tagging) Sample() Sample {
	return Sample{Segments: t.rows, Score: func(sum []float64) float64 { return ratio(2*sum[0], sum[1]+sum[2]) }}
}
