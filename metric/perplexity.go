package metric

import (
	"fmt"
	"math"
)

// Loss sums the negative log-likelihoods of target tokens, in nats. Its zero value is ready to use. Tokens weigh
// equally wherever they stand: the mean of the perplexities of rows is another number, and no perplexity of a corpus.
type Loss struct {
	Sum    float64 // Σ weight·(−log p), in nats
	Weight float64 // Σ weight: the number of target tokens where each weighs 1
}

// Add adds a token of weight 1.
func (l *Loss) Add(nll float64) { l.AddWeighted(nll, 1) }

// AddWeighted adds a token of the given weight.
func (l *Loss) AddWeighted(nll, weight float64) {
	l.Sum += weight * nll
	l.Weight += weight
}

// Merge adds the tokens of another sum.
func (l *Loss) Merge(o Loss) {
	l.Sum += o.Sum
	l.Weight += o.Weight
}

// PerToken is the loss per target token, in nats; NaN without tokens.
func (l Loss) PerToken() float64 { return l.Sum / l.Weight }

// Perplexity is exp of the loss per token: the number of equally likely tokens that would be as hard to guess.
func (l Loss) Perplexity() float64 { return math.Exp(l.PerToken()) }

// BitsPerToken is the loss per target token in bits.
func (l Loss) BitsPerToken() float64 { return l.PerToken() / math.Ln2 }

// BitsPerByte spreads the loss over the bytes of text that the target tokens stand for, so that models with different
// tokenizers compare.
func (l Loss) BitsPerByte(bytes int) float64 { return l.Sum / math.Ln2 / float64(bytes) }

// NLL is the negative log-likelihood of target under the softmax of logits, in nats, computed in float64.
//
//	logits [V]
func NLL[F float32 | float64](logits []F, target int) (float64, error) {
	if target < 0 || target >= len(logits) {
		return 0, fmt.Errorf("metric: loss: target is %d, want 0 to %d", target, len(logits)-1)
	}
	top := math.Inf(-1)
	for _, x := range logits {
		top = max(top, float64(x))
	}
	sum := 0.0
	for _, x := range logits {
		sum += math.Exp(float64(x) - top) // at most 1: never overflows
	}
	return math.Log(sum) + top - float64(logits[target]), nil
}
