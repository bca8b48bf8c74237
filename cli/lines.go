package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/report"
	"github.com/graft-ml/graft/task"
)

// classLine is an answer about a text with one label of several.
type classLine struct {
	Line int `json:"line"`
	task.Prediction
	Probabilities []task.Prediction `json:"probabilities"` // of all labels, the most probable first
}

// labelsLine is an answer about a text with any of several labels.
type labelsLine struct {
	Line          int               `json:"line"`
	Labels        []string          `json:"labels"`
	Probabilities []task.Prediction `json:"probabilities"` // of each label by itself
}

// valuesLine is an answer about a text with numbers.
type valuesLine struct {
	Line   int       `json:"line"`
	Value  float32   `json:"value"` // the first
	Values []float32 `json:"values"`
}

func (p *predictor) class(row *data.Row, _ []data.Example, scores []kernel.Mat) (any, error) {
	line, logits := placeOf(row), scores[0].Data
	switch task.ProblemType(p.model.Config, &data.Batch{}) {
	case data.Regression:
		return valuesLine{line, logits[0], logits}, nil
	case data.MultiLabel:
		l := labelsLine{Line: line, Labels: []string{}, Probabilities: task.ChooseLabels(logits, p.names, 0)}
		for _, x := range task.ChooseLabels(logits, p.names, report.LabelThreshold) {
			l.Labels = append(l.Labels, x.Name)
		}
		return l, nil
	}
	ranked := task.RankClasses(logits, p.names)
	return classLine{line, ranked[0], ranked}, nil
}

// tagsLine is an answer about the words of a text.
type tagsLine struct {
	Line          int               `json:"line"`
	Text          string            `json:"text"` // in which the places of entities count
	Words         []string          `json:"words"`
	Tags          []string          `json:"tags"`
	Probabilities []float64         `json:"probabilities"`
	Entities      []task.EntitySpan `json:"entities"`
}

func (p *predictor) tags(row *data.Row, examples []data.Example, scores []kernel.Mat) (any, error) {
	e := &examples[0]
	tags, err := task.TagWords(e, scores[0], p.names)
	if err != nil {
		return nil, err
	}
	l := tagsLine{Line: placeOf(row), Words: e.Origin.Words, Entities: []task.EntitySpan{}}
	text, words := task.JoinWords(e.Origin.Words)
	if whole, ok := row.Fields.Get("text"); ok {
		if s, is := whole.(string); is {
			if found, ok := task.FindWords(s, e.Origin.Words); ok {
				text, words = s, found
			}
		}
	}
	l.Text = text
	for _, t := range tags {
		l.Tags, l.Probabilities = append(l.Tags, t.Tag), append(l.Probabilities, t.Probability)
	}
	found, err := task.FindEntities(text, words, tags)
	if err == nil {
		l.Entities = append(l.Entities, found...)
	}
	return l, err
}

// answerLine is an answer to a question.
type answerLine struct {
	Line          int               `json:"line"`
	ID            string            `json:"id,omitempty"`
	Answer        string            `json:"answer"` // "" = there is none
	Start         int               `json:"start"`  // characters of the context
	End           int               `json:"end"`
	Probability   float64           `json:"probability"`
	NullScoreDiff *float64          `json:"null_score_diff,omitempty"`
	Best          []task.AnswerSpan `json:"best"`
}

func (p *predictor) answers(row *data.Row, examples []data.Example, scores []kernel.Mat) (any, error) {
	a, err := task.FindAnswers(examples, scores, task.AnswerOptions{Null: p.null})
	if err != nil {
		return nil, err
	}
	l := answerLine{Line: placeOf(row), ID: examples[0].Origin.ID, Answer: a.Best.Text, Start: a.Best.Start, End: a.Best.End, Probability: a.Best.Probability,
		Best: a.NBest[:min(p.top, len(a.NBest))]}
	if p.null {
		l.NullScoreDiff = &a.NullScoreDiff
	}
	return l, nil
}

// fillingsLine is a text with its masks filled in.
type fillingsLine struct {
	Line  int         `json:"line"`
	Text  string      `json:"text"` // with the best fillings
	Masks [][]filling `json:"masks"`
}

// filling is a token for a mask.
type filling struct {
	Token       string  `json:"token"`
	ID          int32   `json:"id"`
	Probability float64 `json:"probability"`
}

func (p *predictor) fillings(ctx context.Context, rows []data.Row) ([]any, error) {
	mask, ok := p.tok.MASK()
	if !ok {
		return nil, errors.New("predict: the tokenizer has no mask_token, so no text can have one")
	}
	var out []any
	for i := range rows {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		got, err := p.encoder.Encode(&rows[i])
		if err != nil {
			return out, err
		}
		if len(got.Examples) == 0 {
			out = append(out, unanswered{placeOf(&rows[i]), cmp.Or(got.Dropped, "empty row")})
			continue
		}
		l := fillingsLine{Line: placeOf(&rows[i]), Masks: [][]filling{}}
		for k := range got.Examples {
			p.tokens += int64(len(got.Examples[k].IDs))
			l.Text += p.fill(&got.Examples[k], mask, &l)
		}
		out = append(out, l)
	}
	return out, nil
}

// fill lists the best tokens for the masks of an example and gives its text with the best.
func (p *predictor) fill(e *data.Example, mask int32, l *fillingsLine) string {
	var at []int
	for t, id := range e.IDs {
		if id == mask {
			at = append(at, t)
		}
	}
	ids := slices.Clone(e.IDs)
	if len(at) > 0 {
		b := data.Set{*e}.Batch([]int32{0})
		pass := op.NewPass(b.Segments, b.Positions, p.mode, p.arena)
		pass.Types = b.Types
		scores := p.model.Logits(pass, p.model.Hidden(pass, b.Tokens), at) // [masks, V]
		for k, t := range at {
			best := p.bestTokens(scores.Row(k))
			ids[t] = best[0].ID
			l.Masks = append(l.Masks, best)
		}
		p.arena.Reset()
	}
	return p.tok.Decode(ids, true)
}

// bestTokens are the most probable tokens.
func (p *predictor) bestTokens(logits []float32) (list []filling) {
	probabilities := task.Softmax(logits)
	order := make([]int32, min(len(logits), p.tok.VocabSize()))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(probabilities[b], probabilities[a]) })
	for _, id := range order[:min(p.top, len(order))] {
		token, _ := p.tok.Token(id)
		list = append(list, filling{token, id, probabilities[id]})
	}
	return list
}

// textLine is a continuation.
type textLine struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

func (p *predictor) continuations(ctx context.Context, rows []data.Row) ([]any, error) {
	out := make([]any, len(rows))
	var prompts [][]int32
	var at []int
	for i := range rows {
		ids, err := p.encoder.Prompt(&rows[i])
		if err != nil {
			return nil, err
		}
		p.tokens += int64(len(ids))
		if len(ids) == 0 {
			out[i] = unanswered{placeOf(&rows[i]), "empty prompt"}
			continue
		}
		prompts, at = append(prompts, ids), append(at, i)
	}
	if len(prompts) == 0 {
		return out, nil
	}
	texts, err := p.write(ctx, prompts, p.generate, nil)
	if err != nil {
		return nil, err
	}
	for k, i := range at {
		p.tokens += int64(len(texts[k]))
		text := cut(p.tok.Decode(texts[k], true), p.stop)
		out[i] = textLine{placeOf(&rows[i]), text}
		if wanted, ok := p.encoder.Wanted(&rows[i]); ok {
			p.written.Prompts = append(p.written.Prompts, "")
			p.written.Tuned, p.written.Wanted = append(p.written.Tuned, strings.TrimSpace(text)), append(p.written.Wanted, []string{wanted})
		}
	}
	return out, nil
}
