package report

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/metric"
)

// outcome is the section about the loss: the base, the result, and what counting would give.
var outcome = Section{Name: "loss", Title: "Held-out loss", Make: func(in *Input) (any, []Block, error) {
	v, err := in.outcome()
	if err != nil {
		return nil, nil, err
	}
	return v, v.blocks(in), nil
}}

// outcomeValue is the section in report.json.
type outcomeValue struct {
	Examples   int     `json:"examples"`
	Targets    int     `json:"targets"`
	Level      float64 `json:"level"`     // of the intervals
	Resamples  int     `json:"resamples"` // of the bootstrap
	Rows       []score `json:"models"`
	Difference versus  `json:"difference"` // fine-tuned − base
	NGram      *versus `json:"difference_ngram,omitempty"`
	Improved   int     `json:"improved"` // examples whose loss is below the base's
}

// score is the loss of one model.
type score struct {
	Name       string   `json:"name"`
	Loss       float64  `json:"loss"` // per target, in nats
	Low        float64  `json:"low"`
	High       float64  `json:"high"`
	Perplexity float64  `json:"perplexity"`
	Accuracy   *float64 `json:"accuracy,omitempty"`
}

// versus is a comparison of two losses on the same examples.
type versus struct {
	Value  float64 `json:"value"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	PValue float64 `json:"p_value"`
}

// rival is a model on its way to a score.
type rival struct {
	name     string
	sample   metric.Sample
	accuracy *float64
}

func (in *Input) outcome() (*outcomeValue, error) {
	v := &outcomeValue{Examples: len(in.Set), Targets: in.Tuned.Sums.Targets, Level: in.level, Resamples: in.Resamples}
	base, tuned := in.Base.Accuracy(), in.Tuned.Accuracy()
	models := []rival{{in.baseName(), in.base, &base}, {"fine-tuned", in.tuned, &tuned}}
	if in.Prior != nil {
		models = append(models, rival{in.Prior.Name, Sample(in.Prior.Examples), in.Prior.Accuracy})
	}
	if in.NGram != nil {
		models = append(models, rival{fmt.Sprintf("%d-gram", in.NGram.Order), Sample(in.NGram.Examples), nil})
	}
	for _, m := range models {
		i, err := m.sample.Interval(in.level, in.Resamples, in.Seed)
		if err != nil {
			return nil, err
		}
		v.Rows = append(v.Rows, score{m.name, i.Value, i.Low, i.High, math.Exp(i.Value), m.accuracy})
	}
	var err error
	if v.Difference, err = in.versus(in.base); err != nil {
		return nil, err
	}
	if in.NGram != nil {
		d, err := in.versus(Sample(in.NGram.Examples))
		if err != nil {
			return nil, err
		}
		v.NGram = &d
	}
	for i := range in.Set {
		if in.Tuned.Examples[i].Sum < in.Base.Examples[i].Sum {
			v.Improved++
		}
	}
	return v, nil
}

// versus compares the result with a baseline.
func (in *Input) versus(baseline metric.Sample) (versus, error) {
	c, err := metric.Paired(baseline, in.tuned, in.Resamples, in.Seed)
	return versus{c.Difference, c.Low, c.High, c.PValue}, err
}

func (v *outcomeValue) blocks(in *Input) []Block {
	t := Table{Head: []string{"model", "loss per target", "95 % interval", "perplexity", "accuracy"}}
	for _, s := range v.Rows {
		accuracy := "–"
		if s.Accuracy != nil {
			accuracy = percent(*s.Accuracy)
		}
		t.Rows = append(t.Rows, []string{s.Name, decimals(s.Loss), decimals(s.Low) + "–" + decimals(s.High), large(s.Perplexity), accuracy})
	}
	if in.Predictions != nil { // labels have no perplexity
		t = t.without(3)
	}
	if p := in.Predictions; p != nil && p.Problem == data.Regression {
		t = t.without(3) // nor have numbers an accuracy
	}
	blocks := []Block{
		Paragraph(v.Difference.sentence(in.baseName()) + fmt.Sprintf(" The loss fell on %d of %d examples.", v.Improved, v.Examples)),
		t,
	}
	if v.NGram != nil {
		counted := "all training rows"
		if in.NGram.Rows < in.NGram.Of {
			counted = fmt.Sprintf("the first %d of %d training rows", in.NGram.Rows, in.NGram.Of)
		}
		blocks = append(blocks, Paragraph(fmt.Sprintf("The %d-gram model (interpolated Kneser-Ney) counts the tokens of %s and knows nothing else. ", in.NGram.Order, counted)+
			v.NGram.sentence(fmt.Sprintf("%d-gram model", in.NGram.Order))))
	}
	if in.Prior != nil {
		blocks = append(blocks, Paragraph(in.Prior.Says))
	}
	return append(blocks, Paragraph(fmt.Sprintf("Losses are means over %d targets in %d examples, in nats. Intervals come from %d resamples of the examples.",
		v.Targets, v.Examples, v.Resamples)))
}

// sentence says in words what a difference means.
func (d versus) sentence(other string) string {
	if d.Value == 0 {
		return fmt.Sprintf("The fine-tuned loss equals the %s's.", other)
	}
	verdict := "which chance may explain"
	if d.PValue < 0.05 {
		verdict = "more than chance explains"
	}
	way := "below"
	if d.Value > 0 {
		way = "above"
	}
	return fmt.Sprintf("The fine-tuned loss is %s %s the %s's (95 %%: %s to %s, p = %.2g), %s.",
		decimals(math.Abs(d.Value)), way, other, signed(d.Low), signed(d.High), d.PValue, verdict)
}

// decimals writes a loss.
func decimals(v float64) string { return fmt.Sprintf("%.4f", v) }

// signed writes a difference of losses, with the true minus sign.
func signed(v float64) string {
	if v < 0 {
		return fmt.Sprintf("−%.4f", -v)
	}
	return fmt.Sprintf("+%.4f", v)
}

// large writes a number that may have any size.
func large(v float64) string {
	if v < 1e5 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2e", v)
}
