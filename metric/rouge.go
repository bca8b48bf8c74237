package metric

import (
	"fmt"
	"slices"
	"strings"
)

// References
//
//	[lin2004] C.-Y. Lin, ROUGE: a package for automatic evaluation of summaries

// ROUGE is the settings of ROUGE scores, as rouge-score 0.1.2 computes them. Text is lowered and split at everything
// but a to z and 0 to 9, so that other scripts have no words. New ones come from NewROUGE.
type ROUGE struct {
	// Types are the scores wanted: rouge1 to rouge9 (overlap of n-grams), rougeL (longest common subsequence of the
	// whole text) and rougeLsum (of sentences, which stand on lines of their own).
	Types      []string
	UseStemmer bool // reduce words of more than three letters to their stems
}

// NewROUGE has the scores that papers report, without stemming.
func NewROUGE() ROUGE { return ROUGE{Types: []string{"rouge1", "rouge2", "rougeL", "rougeLsum"}} }

// Score compares a prediction with a reference; one score per type, in the order of Types.
func (r ROUGE) Score(reference, prediction string) ([]PRF, error) {
	out := make([]PRF, len(r.Types))
	ref, pred := r.words(reference), r.words(prediction)
	for i, t := range r.Types {
		switch n, ok := rougeOrder(t); {
		case ok:
			out[i] = rougeN(ref, pred, n)
		case t == "rougeL":
			out[i] = Counts{len(subsequence(ref, pred)), len(pred), len(ref)}.PRF()
		case t == "rougeLsum":
			out[i] = rougeLsum(r.sentences(reference), r.sentences(prediction))
		default:
			return nil, fmt.Errorf("metric: ROUGE: type is %q, want rouge1 to rouge9, rougeL or rougeLsum", t)
		}
	}
	return out, nil
}

// ScoreMulti compares a prediction with several references: by type, the score of the highest F1.
func (r ROUGE) ScoreMulti(references []string, prediction string) ([]PRF, error) {
	if len(references) == 0 {
		return nil, fmt.Errorf("metric: ROUGE: no reference, want at least 1")
	}
	var best []PRF
	for _, ref := range references {
		scores, err := r.Score(ref, prediction)
		if err != nil {
			return nil, err
		}
		for i, s := range scores {
			if best == nil {
				best = slices.Clone(scores)
			}
			if s.F1 > best[i].F1 {
				best[i] = s
			}
		}
	}
	return best, nil
}

// Corpus is the mean over segments of precision, recall and F1, one per type.
//
//	predictions [N]
//	references [N][≥1]
func (r ROUGE) Corpus(predictions []string, references [][]string) ([]PRF, error) {
	if err := checkSegments("ROUGE", predictions, references); err != nil {
		return nil, err
	}
	sums := make([]PRF, len(r.Types))
	for i, p := range predictions {
		scores, err := r.ScoreMulti(references[i], p)
		if err != nil {
			return nil, err
		}
		for j, s := range scores {
			sums[j] = sums[j].plus(s, 1/float64(len(predictions)))
		}
	}
	return sums, nil
}

// rougeOrder is n of rougeN.
func rougeOrder(name string) (n int, ok bool) {
	digit, found := strings.CutPrefix(name, "rouge")
	if !found || len(digit) != 1 || digit[0] < '1' || digit[0] > '9' {
		return 0, false
	}
	return int(digit[0] - '0'), true
}

// rougeN is the overlap of n-grams.
func rougeN(reference, prediction []string, n int) PRF {
	pred, ref, shared := matches(wordNgrams(prediction, n)[n-1], wordNgrams(reference, n)[n-1])
	return Counts{shared, pred, ref}.PRF()
}

// words of the text.
func (r ROUGE) words(text string) []string {
	words := strings.FieldsFunc(lower(text), func(c rune) bool { return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') })
	if r.UseStemmer {
		for i, w := range words {
			if len(w) > 3 {
				words[i] = Stem(w)
			}
		}
	}
	return words
}

// sentences are the words of each line that is not empty.
func (r ROUGE) sentences(text string) (out [][]string) {
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			out = append(out, r.words(line))
		}
	}
	return out
}

// rougeLsum matches each sentence of the reference with all of the prediction: a word is hit if it is in the longest
// common subsequence with any of them ([lin2004] sec. 3.2), and, as ROUGE 1.5.5 has it, no word more often than it
// occurs.
func rougeLsum(reference, prediction [][]string) PRF {
	left := func(sentences [][]string) (map[string]int, int) {
		words, n := map[string]int{}, 0
		for _, s := range sentences {
			for _, w := range s {
				words[w]++
			}
			n += len(s)
		}
		return words, n
	}
	inRef, refs := left(reference)
	inPred, preds := left(prediction)
	c := Counts{Predicted: preds, Actual: refs}
	for _, ref := range reference {
		hit := make([]bool, len(ref))
		for _, pred := range prediction {
			for _, i := range subsequence(ref, pred) {
				hit[i] = true
			}
		}
		for i, w := range ref {
			if hit[i] && inRef[w] > 0 && inPred[w] > 0 {
				inRef[w]--
				inPred[w]--
				c.Correct++
			}
		}
	}
	return c.PRF()
}

// subsequence is a longest common subsequence, as indices of a, last first. Of several it is the one that the
// reference's walk back through the table finds.
func subsequence(a, b []string) (indices []int) {
	width := len(b) + 1
	table := make([]int32, (len(a)+1)*width) // [i][j]: length within the first i of a and j of b
	for i, w := range a {
		row, next := table[i*width:][:width], table[(i+1)*width:][:width]
		for j, v := range b {
			if w == v {
				next[j+1] = row[j] + 1
			} else {
				next[j+1] = max(row[j+1], next[j])
			}
		}
	}
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			i--
			j--
			indices = append(indices, i)
		case table[i*width+j-1] > table[(i-1)*width+j]:
			j--
		default:
			i--
		}
	}
	return indices
}
