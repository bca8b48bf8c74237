package metric

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ngrams counts n-grams by their text, n from 1: ngrams[n-1].
type ngrams []map[string]int

// wordNgrams counts the n-grams of words, up to the given order. Words have no white space in them, so an n-gram of
// words is a piece of the text that joins them: no n-gram needs memory of its own.
func wordNgrams(words []string, order int) ngrams {
	text := strings.Join(words, " ")
	starts := make([]int, len(words)+1) // of word i; the last is where one more word would start
	for i, w := range words {
		starts[i+1] = starts[i] + len(w) + 1
	}
	return pieces(text, starts, 1, order)
}

// charNgrams counts the n-grams of characters, up to the given order.
func charNgrams(text string, order int) ngrams {
	starts := make([]int, 0, utf8.RuneCountInString(text)+1)
	for i := range text {
		starts = append(starts, i)
	}
	return pieces(text, append(starts, len(text)), 0, order)
}

// pieces counts the pieces of text from each start to n starts on, less the gap between units.
func pieces(text string, starts []int, gap, order int) ngrams {
	out := make(ngrams, order)
	units := len(starts) - 1
	for n := range out {
		out[n] = make(map[string]int, max(units-n, 0))
		for i := 0; i+n < units; i++ {
			out[n][text[starts[i]:starts[i+n+1]-gap]]++
		}
	}
	return out
}

// most keeps, of each n-gram, the higher of both counts.
func (g ngrams) most(other ngrams) {
	for n, counts := range other {
		for text, c := range counts {
			g[n][text] = max(g[n][text], c)
		}
	}
}

// matches counts the n-grams of the hypothesis and of the reference, and those they share.
func matches(hypothesis, reference map[string]int) (hyp, ref, shared int) {
	for text, c := range hypothesis {
		hyp += c
		shared += min(c, reference[text])
	}
	for _, c := range reference {
		ref += c
	}
	return hyp, ref, shared
}

// checkSegments holds that there is a hypothesis and that each has a reference.
func checkSegments(metric string, hypotheses []string, references [][]string) error {
	if err := sameLength(metric+": segments", len(references), len(hypotheses)); err != nil {
		return err
	}
	for i, r := range references {
		if len(r) == 0 {
			return fmt.Errorf("metric: %s: segment %d has no reference, want at least 1", metric, i)
		}
	}
	return nil
}

// checkRange is an error unless v is from low to high.
func checkRange(metric, field string, v, low, high int) error {
	if v < low || v > high {
		return fmt.Errorf("metric: %s: %s is %d, want %d to %d", metric, field, v, low, high)
	}
	return nil
}
