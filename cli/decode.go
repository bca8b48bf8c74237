package cli

import (
	"cmp"
	"context"
	"slices"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/report"
	"github.com/graft-ml/graft/task"
	"github.com/urfave/cli/v2"
)

// predictor has a model do its task on rows.
type predictor struct {
	*subject
	task     task.Task
	decoder  decoder
	settings data.Settings
	chat     data.Chat
	encoder  *data.Encoder // made for the first row
	names    []string      // of the labels
	generate generate.Options
	stop     []string
	top      int
	null     bool
	written  report.Texts // of rows that say what should be written
	rows     int
	tokens   int64
	arena    *op.Arena
}

// decoder makes answers of what a model says; each head has one.
type decoder struct {
	head model.HeadKind
	// read answers one row, given its examples and the scores of each: [1, n] of heads about whole texts, else [tokens, n].
	read func(p *predictor, row *data.Row, examples []data.Example, scores []kernel.Mat) (any, error)
	// all answers all rows at once, instead of read.
	all func(p *predictor, ctx context.Context, rows []data.Row) ([]any, error)
}

var decoders = []decoder{
	{head: model.SequenceLabels, read: (*predictor).class},
	{head: model.TokenLabels, read: (*predictor).tags},
	{head: model.AnswerSpan, read: (*predictor).answers},
	{head: model.MaskedToken, all: (*predictor).fillings},
	{head: model.NextToken, all: (*predictor).continuations},
	{head: model.TargetToken, all: (*predictor).continuations},
}

// newPredictor prepares what reads the rows.
func (e *env) newPredictor(c *cli.Context, s *subject, path string) (*predictor, error) {
	p := &predictor{subject: s, arena: op.NewArena(), top: c.Int("top"), null: c.Bool("null")}
	i := slices.IndexFunc(decoders, func(d decoder) bool { return d.head == s.model.Kind })
	t, ok := task.For(s.model)
	if i < 0 || !ok {
		return nil, usagef("predict: %s has no head: train one with model.task", s.path)
	}
	p.decoder, p.task = decoders[i], t
	if err := s.needText(); err != nil {
		return nil, err
	}
	r, err := trainedBy(path, s.folder)
	if err != nil {
		return nil, err
	}
	p.settings = data.Settings{Shape: shapeFor(c.String("shape"), r, t.Name), Task: t.Name, KeepOrigin: true, Predict: true, Workers: 1}
	s.asTrained(&p.settings, r)
	template := ""
	if r != nil {
		template = r.Model.ChatTemplate
	}
	if p.chat, err = openChat(s.tok, template); err != nil {
		return nil, err
	}
	if p.names = s.model.Config.ClassNames(); len(p.names) == 0 {
		p.names = model.DefaultLabels(s.model.Config.Classes())
	}
	g := generateSettings(c)
	p.generate, err = e.generation(c, s, r, &g)
	p.stop = g.Stop
	return p, err
}

// answer answers some rows, in their order.
func (p *predictor) answer(ctx context.Context, rows []data.Row) ([]any, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	if p.encoder == nil {
		var err error
		if p.encoder, err = data.NewEncoder(p.tok, p.chat, p.settings, &rows[0]); err != nil {
			return nil, err
		}
	}
	p.rows += len(rows)
	if p.decoder.all != nil {
		return p.decoder.all(p, ctx, rows)
	}
	set, counts, dropped, err := p.encode(rows)
	if err != nil {
		return nil, err
	}
	scores, err := p.scores(ctx, set)
	if err != nil {
		return nil, err
	}
	var out []any
	at := 0
	for i := range rows {
		if dropped[i] != "" {
			out = append(out, unanswered{placeOf(&rows[i]), dropped[i]})
			continue
		}
		n := counts[i]
		a, err := p.decoder.read(p, &rows[i], set[at:at+n], scores[at:at+n])
		if err != nil {
			return out, err
		}
		out, at = append(out, a), at+n
	}
	return out, nil
}

// unanswered is the line of a row that nothing can be said about.
type unanswered struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// encode makes examples of the rows; a row that gives none has a reason.
func (p *predictor) encode(rows []data.Row) (set data.Set, counts []int, dropped []string, err error) {
	counts, dropped = make([]int, len(rows)), make([]string, len(rows))
	for i := range rows {
		got, err := p.encoder.Encode(&rows[i])
		if err != nil {
			return nil, nil, nil, err
		}
		if counts[i] = len(got.Examples); counts[i] == 0 {
			dropped[i] = cmp.Or(got.Dropped, "empty row")
		}
		for _, x := range got.Examples {
			p.tokens += int64(len(x.IDs))
		}
		set = append(set, got.Examples...)
	}
	return set, counts, dropped, nil
}

// scoreTokens bounds one forward pass.
const scoreTokens = 4096

// scores are those of each example.
func (p *predictor) scores(ctx context.Context, set data.Set) ([]kernel.Mat, error) {
	var out []kernel.Mat
	for b, err := range set.Batches(scoreTokens) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		m, err := p.task.Predict(p.model, op.NewPass(b.Segments, b.Positions, p.mode, p.arena), b)
		if err != nil {
			return nil, err
		}
		p.arena.Reset()
		for i, s := range b.Segments {
			from, to := s.Start, s.End
			if p.task.Head == model.SequenceLabels {
				from, to = i, i+1
			}
			out = append(out, kernel.NewMat(m.Data[from*m.Stride:to*m.Stride], to-from, m.Cols))
		}
	}
	return out, nil
}
