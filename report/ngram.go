package report

import (
	"fmt"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/metric"
)

// NGram is the baseline that knows nothing but the training rows: an interpolated Kneser-Ney model of their tokens.
type NGram struct {
	Order    int
	Rows     int // of the training set that were counted
	Of       int // rows of the training set
	Examples []metric.Loss
}

// ngramOrder is the usual one; ngramTokens bounds time and memory, for a token costs about a microsecond and 100 bytes.
const (
	ngramOrder  = 5
	ngramTokens = 2_000_000
)

// CountNGrams counts the training rows, up to two million tokens of them, and measures the held-out ones.
func CountNGrams(train, heldOut data.Set, vocab int) (*NGram, error) {
	m, err := metric.NewKneserNey(ngramOrder, vocab)
	if err != nil {
		return nil, err
	}
	n := &NGram{Order: ngramOrder, Of: len(train)}
	tokens := 0
	for i := range train {
		if tokens += len(train[i].IDs); tokens > ngramTokens && i > 0 {
			break
		}
		if err := m.Add(train[i].IDs, train[i].Weights()); err != nil {
			return nil, fmt.Errorf("%s: %w", train[i].Place, err)
		}
		n.Rows++
	}
	m.Finish()
	for i := range heldOut {
		l, err := m.Loss(heldOut[i].IDs, heldOut[i].Weights())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", heldOut[i].Place, err)
		}
		n.Examples = append(n.Examples, l)
	}
	return n, nil
}
