package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
)

// worst is the section that shows the examples with the largest loss per target.
var worst = Section{Name: "worst", Title: "Hardest examples", Make: func(in *Input) (any, []Block, error) {
	picked := in.worst()
	if in.Pieces == nil || len(picked) == 0 {
		return nil, nil, nil
	}
	var list []hard
	var passages Passages
	for _, i := range picked {
		h := hard{Place: in.Set[i].Place.String(), Loss: in.Tuned.Examples[i].PerToken(), BaseLoss: in.Base.Examples[i].PerToken(), Note: in.note(i)}
		list = append(list, h)
		caption := fmt.Sprintf("%s: loss %s, %s %s", h.Place, decimals(h.Loss), in.baseName(), decimals(h.BaseLoss))
		if h.Note != "" {
			caption += "; " + h.Note
		}
		passages = append(passages, Passage{Caption: caption, Pieces: in.passage(i)})
	}
	if in.Set[picked[0]].Labels != nil { // the whole is the target
		return list, []Block{passages}, nil
	}
	return list, []Block{Paragraph("Targets are coloured by their loss after training: the stronger, the less expected."), passages}, nil
}}

// hard is an example in report.json.
type hard struct {
	Place    string  `json:"place"`
	Loss     float64 `json:"loss"` // per target
	BaseLoss float64 `json:"base_loss"`
	Note     string  `json:"note,omitempty"` // what was predicted instead of what
}

// note says what was predicted wrongly for an example.
func (in *Input) note(i int) string {
	if in.Predictions == nil {
		return ""
	}
	return in.Predictions.Notes[i]
}

// shownExamples is how many are enough to see what goes wrong; before and after bound their length in tokens.
const (
	shownExamples = 8
	shownBefore   = 160
	shownTargets  = 240
)

// worst lists examples by falling loss per target, ties in the order of the data.
func (in *Input) worst() []int {
	order := make([]int, 0, len(in.Set))
	for i := range in.Set {
		if in.Tuned.Examples[i].Weight > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(in.Tuned.Examples[b].PerToken(), in.Tuned.Examples[a].PerToken())
	})
	return order[:min(len(order), shownExamples)]
}

// passage is the text of an example, cut around its first target.
func (in *Input) passage(example int) []Piece {
	e := &in.Set[example]
	texts, first := in.Pieces(e.IDs), firstTarget(e)
	from, to := max(0, first-shownBefore), min(len(texts), first+shownTargets)
	var out []Piece
	if e.Source != nil {
		source := in.Pieces(e.Source)
		out = append(out, Piece{Text: strings.Join(source[:min(len(source), shownBefore)], "") + " → "})
	}
	if from > 0 {
		out = append(out, Piece{Text: "… "})
	}
	target := in.targets(example)
	for i := from; i < to; i++ {
		p := Piece{Text: texts[i]}
		p.Loss, p.Target = target(i)
		out = append(out, p)
	}
	if to < len(texts) {
		out = append(out, Piece{Text: " …"})
	}
	return out
}

func firstTarget(e *data.Example) int {
	switch {
	case len(e.Loss) > 0:
		return len(e.Prompt())
	case e.Answer != nil:
		return int(e.Answer[0])
	}
	return 0
}

// targets tells of each token whether it is a target, and its loss.
func (in *Input) targets(example int) func(i int) (loss float64, is bool) {
	e, rows, whole := &in.Set[example], in.Tuned.Rows[example], in.Tuned.Examples[example].PerToken()
	switch {
	case e.Answer != nil:
		return func(i int) (float64, bool) { return whole, i >= int(e.Answer[0]) && i <= int(e.Answer[1]) && i > 0 }
	case e.Labels != nil:
		return func(int) (float64, bool) { return 0, false }
	case e.Tags != nil:
		return func(i int) (float64, bool) { return float64(rows[i]), e.Tags[i] != data.NoTarget }
	}
	weights := e.Weights()
	return func(i int) (float64, bool) { // row i−1 foretells token i
		if weights[i] > 0 {
			return float64(rows[i-1]), true
		}
		return 0, false
	}
}
