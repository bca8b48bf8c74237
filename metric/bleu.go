package metric

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// References
//
//	[papineni2002] K. Papineni et al., BLEU: a method for automatic evaluation of machine translation
//	[chen2014] B. Chen, C. Cherry, A systematic comparison of smoothing techniques for sentence-level BLEU
//	[post2018] M. Post, A call for clarity in reporting BLEU scores: sacrebleu

// BLEU is the settings of a BLEU score, with sacrebleu's names. New ones come from NewBLEU.
type BLEU struct {
	Tokenize       string // 13a, none, zh, char or intl
	Lowercase      bool
	SmoothMethod   string   // what a count of 0 becomes: none, floor, add-k or exp [chen2014]
	SmoothValue    *float64 // of floor and add-k; at least 0; nil is 0.1 and 1
	MaxNgramOrder  int      // highest n of n-grams
	EffectiveOrder bool     // leave out orders for which a segment is too short; for sentences
}

// NewBLEU has sacrebleu's defaults.
func NewBLEU() BLEU { return BLEU{Tokenize: "13a", SmoothMethod: "exp", MaxNgramOrder: 4} }

// smoothings are the methods with the values they have by default.
var smoothings = []struct {
	method string
	takes  bool // a value
	value  float64
}{{method: "none"}, {method: "floor", takes: true, value: 0.1}, {method: "add-k", takes: true, value: 1}, {method: "exp"}}

// BLEUScore is a score with what it is made of.
type BLEUScore struct {
	Score      float64   // 0 to 100
	Counts     []float64 // matched n-grams, n from 1; after add-k smoothing
	Totals     []float64 // n-grams of the hypotheses, n from 1; after add-k smoothing
	Precisions []float64 // in percent, smoothed
	BP         float64   // brevity penalty
	SysLen     int       // words of the hypotheses
	RefLen     int       // words of the references, of each segment the one closest in length
	Signature  string    // sacrebleu's, to be quoted with the score
}

// String is the score as sacrebleu prints it.
func (s BLEUScore) String() string {
	parts := make([]string, len(s.Precisions))
	for i, p := range s.Precisions {
		parts[i] = fmt.Sprintf("%.1f", p)
	}
	return fmt.Sprintf("BLEU = %.2f %s (BP = %.3f ratio = %.3f hyp_len = %d ref_len = %d)", s.Score,
		strings.Join(parts, "/"), s.BP, ratio(float64(s.SysLen), float64(s.RefLen)), s.SysLen, s.RefLen)
}

// Corpus scores hypotheses against references: n-gram counts are pooled over all segments [papineni2002].
//
//	hypotheses [N]
//	references [N][≥1]  all references of segment n; their number may differ between segments
func (b BLEU) Corpus(hypotheses []string, references [][]string) (BLEUScore, error) {
	sample, err := b.Sample(hypotheses, references)
	if err != nil {
		return BLEUScore{}, err
	}
	s := b.compute(sample.total())
	s.Signature = b.signature(references)
	return s, nil
}

// Sentence scores one hypothesis. EffectiveOrder should be true, or short sentences score close to 0.
func (b BLEU) Sentence(hypothesis string, references []string) (BLEUScore, error) {
	return b.Corpus([]string{hypothesis}, [][]string{references})
}

// Sample is the score by segment, for intervals and comparisons.
func (b BLEU) Sample(hypotheses []string, references [][]string) (Sample, error) {
	cut, err := bleuTokenizerNamed(b.Tokenize)
	if err != nil {
		return Sample{}, err
	}
	if _, _, err := b.smoothing(); err != nil {
		return Sample{}, err
	}
	if err := checkRange("BLEU", "max_ngram_order", b.MaxNgramOrder, 1, 64); err != nil {
		return Sample{}, err
	}
	if err := checkSegments("BLEU", hypotheses, references); err != nil {
		return Sample{}, err
	}
	words := func(s string) []string {
		if b.Lowercase {
			s = lower(s)
		}
		return fields(cut.cut(trimRight(s)))
	}
	rows := make([][]float64, len(hypotheses))
	for i, h := range hypotheses {
		refs := make([][]string, len(references[i]))
		for j, r := range references[i] {
			refs[j] = words(r)
		}
		rows[i] = b.segment(words(h), refs)
	}
	return Sample{Segments: rows, Score: func(sum []float64) float64 { return b.compute(sum).Score }}, nil
}

// segment is the words of the hypothesis, those of the closest reference, and, by n, the matches and the n-grams.
func (b BLEU) segment(hypothesis []string, references [][]string) []float64 {
	var allowed ngrams // an n-gram may match as often as it occurs in the reference that has most of it
	closest := len(references[0])
	for _, r := range references {
		if g := wordNgrams(r, b.MaxNgramOrder); allowed == nil {
			allowed = g
		} else {
			allowed.most(g)
		}
		near, nearest := abs(len(r)-len(hypothesis)), abs(closest-len(hypothesis))
		if near < nearest || near == nearest && len(r) < closest {
			closest = len(r)
		}
	}
	row := make([]float64, 2+2*b.MaxNgramOrder)
	row[0], row[1] = float64(len(hypothesis)), float64(closest)
	for n, g := range wordNgrams(hypothesis, b.MaxNgramOrder) {
		total, _, shared := matches(g, allowed[n])
		row[2+n], row[2+b.MaxNgramOrder+n] = float64(shared), float64(total)
	}
	return row
}

// compute is the formula: brevity penalty times the geometric mean of the smoothed precisions.
func (b BLEU) compute(sum []float64) BLEUScore {
	order := b.MaxNgramOrder
	sum = slices.Clone(sum) // smoothing adds to it
	s := BLEUScore{SysLen: int(sum[0]), RefLen: int(sum[1]), Counts: sum[2 : 2+order], Totals: sum[2+order:],
		Precisions: make([]float64, order), BP: brevity(sum[0], sum[1])}
	if !anyPositive(s.Counts) {
		return s
	}
	effective := b.smooth(&s)
	logs := 0.0
	for _, p := range s.Precisions[:effective] {
		if p == 0 {
			return s // log 0: so is the score
		}
		logs += math.Log(p)
	}
	s.Score = s.BP * math.Exp(logs/float64(effective))
	return s
}

// smooth fills in the precisions and returns how many of them count.
func (b BLEU) smooth(s *BLEUScore) (effective int) {
	value, _, _ := b.smoothing() // checked before
	effective = len(s.Precisions)
	halved := 1.0
	for n := range s.Precisions {
		if b.SmoothMethod == "add-k" && n > 0 {
			s.Counts[n] += value
			s.Totals[n] += value
		}
		if s.Totals[n] == 0 {
			break
		}
		if b.EffectiveOrder {
			effective = n + 1
		}
		switch {
		case s.Counts[n] > 0:
			s.Precisions[n] = 100 * s.Counts[n] / s.Totals[n]
		case b.SmoothMethod == "exp":
			halved *= 2
			s.Precisions[n] = 100 / (halved * s.Totals[n])
		case b.SmoothMethod == "floor":
			s.Precisions[n] = 100 * value / s.Totals[n]
		}
	}
	return effective
}

// brevity is the penalty for a system that says less than the references.
func brevity(sys, ref float64) float64 {
	if sys >= ref {
		return 1
	}
	if sys == 0 {
		return 0
	}
	return math.Exp(1 - ref/sys)
}

// smoothing is the value of the smoothing method, and whether it has one.
func (b BLEU) smoothing() (value float64, takes bool, err error) {
	var names []string
	for _, s := range smoothings {
		names = append(names, s.method)
		if s.method != b.SmoothMethod {
			continue
		}
		if !s.takes || b.SmoothValue == nil {
			return s.value, s.takes, nil
		}
		if !(*b.SmoothValue >= 0) {
			return 0, false, fmt.Errorf("metric: BLEU: smooth_value is %g, want at least 0", *b.SmoothValue)
		}
		return *b.SmoothValue, true, nil
	}
	return 0, false, fmt.Errorf("metric: BLEU: smooth_method is %q, want one of %s", b.SmoothMethod, strings.Join(names, ", "))
}

// signature is sacrebleu's account of the settings.
func (b BLEU) signature(references [][]string) string {
	smooth := b.SmoothMethod
	if value, takes, _ := b.smoothing(); takes {
		smooth += fmt.Sprintf("[%.2f]", value)
	}
	return fmt.Sprintf("nrefs:%s|case:%s|eff:%s|tok:%s|smooth:%s|version:2.6.0", numReferences(references),
		pick(b.Lowercase, "lc", "mixed"), pick(b.EffectiveOrder, "yes", "no"), b.Tokenize, smooth)
}

// numReferences is the number of references of each segment, "var" where it differs.
func numReferences(references [][]string) string {
	for _, r := range references {
		if len(r) != len(references[0]) {
			return "var"
		}
	}
	return fmt.Sprint(len(references[0]))
}

func pick(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func anyPositive(v []float64) bool {
	for _, x := range v {
		if x > 0 {
			return true
		}
	}
	return false
}

func abs(x int) int { return max(x, -x) }
