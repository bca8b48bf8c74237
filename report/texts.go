package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/graft-ml/graft/metric"
)

// Texts are what models wrote for some held-out examples, beside what was wanted.
type Texts struct {
	Prompts []string   // [n]: what they were given
	Wanted  [][]string // [n][≥ 1]: one or more right answers
	Tuned   []string   // [n]
	Base    []string   // [n]; nil = was not asked
}

// check holds the lists to one length.
func (t *Texts) check() error {
	if t == nil {
		return nil
	}
	n := len(t.Tuned)
	if len(t.Prompts) != n || len(t.Wanted) != n || t.Base != nil && len(t.Base) != n {
		return fmt.Errorf("report: texts: %d prompts, %d wanted, %d of the base, want %d each", len(t.Prompts), len(t.Wanted), len(t.Base), n)
	}
	return nil
}

// textMeasure is a figure by which texts are judged.
type textMeasure struct {
	name, title string
	// fits says that the figure means something for such references.
	fits func(wanted [][]string) bool
	// sample is the figure by text, from 0 to 100.
	sample func(written []string, wanted [][]string) (metric.Sample, error)
}

var textMeasures = []textMeasure{
	{"bleu", "BLEU", nil, func(written []string, wanted [][]string) (metric.Sample, error) {
		return bleuFor(wanted).Sample(written, wanted)
	}},
	{"chrf", "chrF", nil, metric.NewCHRF().Sample},
	{"rouge_l", "ROUGE-L", latin, rougeL},
	{"exact", "exact match", short, exactMatch},
}

// bleuFor is BLEU with the words of the references' script: in scripts without spaces characters are words.
func bleuFor(wanted [][]string) metric.BLEU {
	b := metric.NewBLEU()
	letters, han, kana := 0, 0, 0
	for _, list := range wanted {
		for _, s := range list {
			for _, r := range s {
				switch {
				case unicode.Is(unicode.Han, r):
					han++
				case unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Khmer, unicode.Lao, unicode.Myanmar):
					kana++
				case unicode.IsLetter(r):
					letters++
				}
			}
		}
	}
	switch {
	case 2*kana > letters+han: // Japanese has some of both
		b.Tokenize = "char"
	case han > letters:
		b.Tokenize = "zh"
	}
	return b
}

// latin says that most references have words for ROUGE, which knows a to z and digits only.
func latin(wanted [][]string) bool {
	n := 0
	for _, list := range wanted {
		if strings.ContainsFunc(list[0], func(r rune) bool { return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) }) {
			n++
		}
	}
	return 2*n > len(wanted)
}

// shortText is the mean length in characters up to which a text can be expected to be told word by word.
const shortText = 24

func short(wanted [][]string) bool {
	n := 0
	for _, list := range wanted {
		n += utf8.RuneCountInString(list[0])
	}
	return n <= shortText*len(wanted)
}

func rougeL(written []string, wanted [][]string) (metric.Sample, error) {
	r := metric.ROUGE{Types: []string{"rougeL"}}
	values := make([]float64, len(written))
	for i, s := range written {
		got, err := r.ScoreMulti(wanted[i], s)
		if err != nil {
			return metric.Sample{}, err
		}
		values[i] = 100 * got[0].F1
	}
	return metric.MeanSample(values), nil
}

func exactMatch(written []string, wanted [][]string) (metric.Sample, error) {
	values := make([]float64, len(written))
	for i, s := range written {
		for _, w := range wanted[i] {
			if strings.Join(strings.Fields(s), " ") == strings.Join(strings.Fields(w), " ") {
				values[i] = 100
			}
		}
	}
	return metric.MeanSample(values), nil
}

// Scores are the figures of what the fine-tuned model wrote, from 0 to 100; none of no texts.
func (t *Texts) Scores() (list []Score, err error) {
	if t == nil || len(t.Tuned) == 0 {
		return nil, nil
	}
	for _, m := range textMeasures {
		if m.fits != nil && !m.fits(t.Wanted) {
			continue
		}
		s, err := m.sample(t.Tuned, t.Wanted)
		if err != nil {
			return nil, err
		}
		list = append(list, Score{m.name, s.Value()})
	}
	return list, nil
}

// written is the section about what the models write.
var written = Section{Name: "texts", Title: "Generated texts", Make: func(in *Input) (any, []Block, error) {
	if in.Texts == nil || len(in.Texts.Tuned) == 0 {
		return nil, nil, nil
	}
	v, err := in.texts()
	if err != nil {
		return nil, nil, err
	}
	return v, v.blocks(in), nil
}}

// textsValue is the section in report.json.
type textsValue struct {
	Texts     int           `json:"texts"`
	Signature string        `json:"bleu_signature"` // sacrebleu's
	Level     float64       `json:"level"`          // of the intervals
	Resamples int           `json:"resamples"`      // of the bootstrap
	Scores    []textScore   `json:"scores"`
	Examples  []textExample `json:"examples"`
}

// textScore is a figure of the fine-tuned model, and of the base, from 0 to 100.
type textScore struct {
	Name       string   `json:"name"`
	Value      float64  `json:"value"`
	Low        float64  `json:"low"`
	High       float64  `json:"high"`
	Base       *float64 `json:"base,omitempty"`
	Difference *versus  `json:"difference,omitempty"` // fine-tuned − base
	title      string
}

// textExample is one text with what was wanted.
type textExample struct {
	Prompt string `json:"prompt"`
	Wanted string `json:"wanted"`
	Base   string `json:"base,omitempty"`
	Tuned  string `json:"tuned"`
}

// shownTexts are enough to see how the models write.
const shownTexts = 5

func (in *Input) texts() (*textsValue, error) {
	t := in.Texts
	score, err := bleuFor(t.Wanted).Corpus(t.Tuned, t.Wanted)
	if err != nil {
		return nil, err
	}
	v := &textsValue{Texts: len(t.Tuned), Signature: score.Signature, Level: in.level, Resamples: in.Resamples}
	for _, m := range textMeasures {
		if m.fits != nil && !m.fits(t.Wanted) {
			continue
		}
		s, err := in.textScore(m)
		if err != nil {
			return nil, err
		}
		v.Scores = append(v.Scores, s)
	}
	for i := range min(shownTexts, len(t.Tuned)) {
		e := textExample{Prompt: t.Prompts[i], Wanted: t.Wanted[i][0], Tuned: t.Tuned[i]}
		if t.Base != nil {
			e.Base = t.Base[i]
		}
		v.Examples = append(v.Examples, e)
	}
	return v, nil
}

func (in *Input) textScore(m textMeasure) (s textScore, err error) {
	t := in.Texts
	tuned, err := m.sample(t.Tuned, t.Wanted)
	if err != nil {
		return s, err
	}
	i, err := tuned.Interval(in.level, in.Resamples, in.Seed)
	if err != nil {
		return s, err
	}
	s = textScore{Name: m.name, Value: i.Value, Low: i.Low, High: i.High, title: m.title}
	if t.Base == nil {
		return s, nil
	}
	base, err := m.sample(t.Base, t.Wanted)
	if err != nil {
		return s, err
	}
	c, err := metric.Paired(base, tuned, in.Resamples, in.Seed)
	s.Base, s.Difference = &c.Baseline, &versus{c.Difference, c.Low, c.High, c.PValue}
	return s, err
}

func (v *textsValue) blocks(in *Input) []Block {
	t := Table{Head: []string{"measure", "fine-tuned", "95 % interval", in.baseName(), "difference", "p"}}
	for _, s := range v.Scores {
		row := []string{s.title, tenth(s.Value), tenth(s.Low) + "–" + tenth(s.High), "–", "–", "–"}
		if s.Base != nil {
			row[3], row[4], row[5] = tenth(*s.Base), strings.Replace(fmt.Sprintf("%+.1f", s.Difference.Value), "-", "−", 1), fmt.Sprintf("%.2g", s.Difference.PValue)
		}
		t.Rows = append(t.Rows, row)
	}
	says := fmt.Sprintf("The models wrote texts for %d held-out examples, scored from 0 to 100 against what was wanted. BLEU's signature is %s.", v.Texts, v.Signature)
	if latin(in.Texts.Wanted) {
		says += " ROUGE-L is the F1 of rouge-score without stemming."
	}
	blocks := []Block{Paragraph(says), t}
	for _, e := range v.Examples {
		x := Table{Head: []string{"prompt", line(e.Prompt)}, Rows: [][]string{{"wanted", line(e.Wanted)}}}
		if in.Texts.Base != nil {
			x.Rows = append(x.Rows, []string{in.baseName(), line(e.Base)})
		}
		x.Rows = append(x.Rows, []string{"fine-tuned", line(e.Tuned)})
		blocks = append(blocks, x)
	}
	return blocks
}

func tenth(v float64) string { return fmt.Sprintf("%.1f", v) }

// line is a text in one line, cut where it is long.
func line(s string) string {
	const most = 400
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", " ⏎ ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + " …"
	}
	return s
}
