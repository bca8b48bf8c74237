package metric

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// References
//
//	[popovic2015] M. Popović, chrF: character n-gram F-score for automatic MT evaluation
//	[popovic2017] M. Popović, chrF++: words helping character n-grams

// CHRF is the settings of a chrF score, with sacrebleu's names. New ones come from NewCHRF.
type CHRF struct {
	CharOrder    int     // highest n of n-grams of characters
	WordOrder    int     // highest n of n-grams of words; 2 is chrF++ [popovic2017]
	Beta         float64 // recall counts Beta times as much as precision
	Lowercase    bool
	Whitespace   bool // keep white space in n-grams of characters
	EpsSmoothing bool // average F over all orders, as chrF++.py does, instead of precision and recall over those that occur
}

// NewCHRF has sacrebleu's defaults: chrF2 [popovic2015].
func NewCHRF() CHRF { return CHRF{CharOrder: 6, Beta: 2} }

// Corpus scores hypotheses against references, from 0 to 100. Of several references a segment takes the one it scores
// best with; n-gram counts are then pooled over segments.
//
//	hypotheses [N]
//	references [N][≥1]
func (c CHRF) Corpus(hypotheses []string, references [][]string) (float64, error) {
	sample, err := c.Sample(hypotheses, references)
	if err != nil {
		return 0, err
	}
	return sample.Value(), nil
}

// Sentence scores one hypothesis, from 0 to 100.
func (c CHRF) Sentence(hypothesis string, references []string) (float64, error) {
	return c.Corpus([]string{hypothesis}, [][]string{references})
}

// Sample is the score by segment, for intervals and comparisons.
func (c CHRF) Sample(hypotheses []string, references [][]string) (Sample, error) {
	if err := checkRange("chrF", "char_order", c.CharOrder, 0, 64); err != nil {
		return Sample{}, err
	}
	if err := checkRange("chrF", "word_order", c.WordOrder, 0, 64); err != nil {
		return Sample{}, err
	}
	if c.CharOrder+c.WordOrder == 0 || !(c.Beta > 0) {
		return Sample{}, fmt.Errorf("metric: chrF: char_order %d, word_order %d, beta %g, want an order and beta above 0",
			c.CharOrder, c.WordOrder, c.Beta)
	}
	if err := checkSegments("chrF", hypotheses, references); err != nil {
		return Sample{}, err
	}
	rows := make([][]float64, len(hypotheses))
	for i, h := range hypotheses {
		hyp := c.ngrams(h)
		best := -1.0
		for _, r := range references[i] {
			row := c.segment(hyp, c.ngrams(r))
			if f := c.fscore(row); f > best {
				best, rows[i] = f, row
			}
		}
	}
	return Sample{Segments: rows, Score: c.fscore}, nil
}

// ngrams are those of characters, then those of words.
func (c CHRF) ngrams(text string) ngrams {
	if c.Lowercase {
		text = lower(text)
	}
	chars := text
	if !c.Whitespace {
		chars = strings.Join(fields(text), "")
	}
	return append(charNgrams(chars, c.CharOrder), wordNgrams(chrfWords(text), c.WordOrder)...)
}

// chrfWords splits at white space and cuts one mark of punctuation off the end, or else off the beginning, of a word.
func chrfWords(text string) (words []string) {
	const marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for _, w := range fields(text) {
		first, last := w[:1], w[len(w)-1:] // marks are single bytes, and no byte of a longer character is one
		switch {
		case utf8.RuneCountInString(w) == 1:
			words = append(words, w)
		case strings.Contains(marks, last):
			words = append(words, w[:len(w)-1], last)
		case strings.Contains(marks, first):
			words = append(words, first, w[1:])
		default:
			words = append(words, w)
		}
	}
	return words
}

// segment is, for each order, the n-grams of the hypothesis, of the reference, and those they share.
func (c CHRF) segment(hypothesis, reference ngrams) []float64 {
	row := make([]float64, 0, 3*len(hypothesis))
	for n := range hypothesis {
		hyp, ref, shared := matches(hypothesis[n], reference[n])
		if ref == 0 {
			hyp = 0 // a reference that is too short for n-grams says nothing about them
		}
		row = append(row, float64(hyp), float64(ref), float64(shared))
	}
	return row
}

// fscore is the F-score of the mean precision and the mean recall over orders.
func (c CHRF) fscore(sum []float64) float64 {
	const eps = 1e-16
	factor := c.Beta * c.Beta
	var eachF, precision, recall, orders float64
	for ; len(sum) > 0; sum = sum[3:] {
		hyp, ref, shared := sum[0], sum[1], sum[2]
		p, r := eps, eps
		if hyp > 0 {
			p = shared / hyp
		}
		if ref > 0 {
			r = shared / ref
		}
		if d := factor*p + r; d > 0 {
			eachF += (1 + factor) * p * r / d
		} else {
			eachF += eps
		}
		if hyp > 0 && ref > 0 {
			precision += p
			recall += r
			orders++
		}
	}
	if c.EpsSmoothing {
		return 100 * eachF / float64(c.CharOrder+c.WordOrder)
	}
	precision, recall = ratio(precision, orders), ratio(recall, orders)
	return 100 * ratio((1+factor)*precision*recall, factor*precision+recall)
}
