package metric

import (
	"regexp"
	"strings"
)

// References
//
//	[snover2006] M. Snover et al., A study of translation edit rate with targeted human annotation

// TER is the settings of a translation edit rate [snover2006], with sacrebleu's names. The zero value has its defaults.
type TER struct {
	Normalized    bool // cut off punctuation
	NoPunct       bool // remove punctuation
	AsianSupport  bool // cut or remove Asian characters and punctuation, too
	CaseSensitive bool
}

// Corpus is the edits that turn the hypotheses into references, per 100 words of reference: the lower, the better, and
// it may exceed 100. An edit is a word inserted, removed or replaced, or a run of words moved. Of several references a
// segment takes the one that needs least edits, and the mean of their lengths.
//
//	hypotheses [N]
//	references [N][≥1]
func (t TER) Corpus(hypotheses []string, references [][]string) (float64, error) {
	sample, err := t.Sample(hypotheses, references)
	if err != nil {
		return 0, err
	}
	return sample.Value(), nil
}

// Sentence is the rate of one hypothesis.
func (t TER) Sentence(hypothesis string, references []string) (float64, error) {
	return t.Corpus([]string{hypothesis}, [][]string{references})
}

// Sample is the rate by segment, for intervals and comparisons.
func (t TER) Sample(hypotheses []string, references [][]string) (Sample, error) {
	if err := checkSegments("TER", hypotheses, references); err != nil {
		return Sample{}, err
	}
	rows := make([][]float64, len(hypotheses))
	for i, h := range hypotheses {
		hyp := fields(t.tokenize(h))
		least, length := -1, 0
		for _, r := range references[i] {
			// sacrebleu cuts references twice, which shows in text like "&amp;quot;"
			ref := fields(t.tokenize(t.tokenize(r)))
			length += len(ref)
			if edits := translationEdits(hyp, ref); least < 0 || edits < least {
				least = edits
			}
		}
		rows[i] = []float64{float64(least), float64(length) / float64(len(references[i]))}
	}
	return Sample{Segments: rows, Score: editRate}, nil
}

// editRate is edits per 100 words; 100 where something was said and nothing was to be.
func editRate(sum []float64) float64 {
	edits, words := sum[0], sum[1]
	if words == 0 {
		return 100 * float64(count(edits > 0))
	}
	return 100 * (edits / words)
}

// tokenize is Tercom's.
func (t TER) tokenize(s string) string {
	s = trimRight(s)
	if !t.CaseSensitive {
		s = lower(s)
	}
	if t.Normalized {
		s = tercomWestern(s)
		if t.AsianSupport {
			s = asian.ReplaceAllString(s, " $0 ")
		}
	}
	if t.NoPunct {
		s = strings.Map(func(r rune) rune {
			if strings.ContainsRune(`.,?:;!"()`, r) {
				return -1
			}
			return r
		}, s)
		if t.AsianSupport {
			s = asianPunctuation.ReplaceAllString(s, "")
		}
	}
	return squeeze(s)
}

// tercomWestern is the Western part: 13a's, but possessives are words.
func tercomWestern(s string) string {
	if s == "" {
		return ""
	}
	for _, w := range [...][2]string{{"\n-", ""}, {"\n", " "}, {"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
		s = strings.ReplaceAll(s, w[0], w[1])
	}
	s = western[0].from.ReplaceAllString(" "+s+" ", western[0].to)
	s = strings.ReplaceAll(s, "'s ", " 's ")
	for _, w := range western[1:] {
		s = w.from.ReplaceAllString(s, w.to)
	}
	return s
}

// asianPunctuation is of Asian scripts, and what of ASCII has full width.
var asianPunctuation = regexp.MustCompile(`[` + asianMarks + `]`)

const asianMarks = `\x{3001}\x{3002}\x{3008}-\x{3011}\x{3014}-\x{301f}\x{ff61}-\x{ff65}\x{30fb}` +
	`\x{ff0e}\x{ff0c}\x{ff1f}\x{ff1a}\x{ff1b}\x{ff01}\x{ff02}\x{ff08}\x{ff09}`

// asian is what becomes a word of its own: ideographs, radicals, strokes, 3200 to 3F22 (which means to end at 32FF),
// compatibility forms, and punctuation. The reference also has rules for runs of kana, which cannot match: they ask
// for the beginning of the text, where there always is a space.
var asian = regexp.MustCompile(`[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{31c0}-\x{31ef}\x{2e80}-\x{2eff}` +
	`\x{3300}-\x{33ff}\x{f900}-\x{faff}\x{fe30}-\x{fe4f}\x{3200}-\x{3f22}` + asianMarks + `]`)
