package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
)

// reading is a text that is passed once.
type reading struct {
	*request
	Reading
	embed bool // else scores are wanted
	// What the text is told by, of the head or of Pool: [1, n], or a row for each token.
	found kernel.Mat
	done  chan struct{}
}

// Classify tells the classes of a text by a model with a head for that, the most probable first. Of problems where a text may have several
// labels each has a probability of its own; of regression the scores are the values, in the order of the labels.
func (e *Engine) Classify(ctx context.Context, r Reading) ([]Label, error) {
	found, err := e.score(ctx, r, model.SequenceLabels)
	if err != nil {
		return nil, err
	}
	return e.labels(found.Row(0)), nil
}

// Tag tells the classes of each token of a text, the most probable first.
func (e *Engine) Tag(ctx context.Context, r Reading) ([][]Label, error) {
	found, err := e.score(ctx, r, model.TokenLabels)
	if err != nil {
		return nil, err
	}
	list := make([][]Label, found.Rows)
	for t := range list {
		list[t] = named(task.Softmax(found.Row(t)), e.names())
	}
	return list, nil
}

// Embed turns a text into a vector [C] of length 1, made of its last hidden states as Reading.Pool says.
func (e *Engine) Embed(ctx context.Context, r Reading) ([]float32, error) {
	found, err := e.pass(ctx, &reading{Reading: r, embed: true})
	if err != nil {
		return nil, err
	}
	return found.Row(0), nil
}

// Score tells how probable each token of a text is behind those before it, by a model that continues texts: tokens as in Result.Prompt. The
// first has no probability. top is how many others are told beside each.
func (e *Engine) Score(ctx context.Context, r Reading, top int) ([]Token, error) {
	x, err := e.Generate(ctx, Generation{Adapters: r.Adapters, Prompt: r.Tokens, Logprobs: max(0, top), Echo: true}, nil)
	return x.Prompt, err
}

// score passes a text through the model's head, which must be of a kind.
func (e *Engine) score(ctx context.Context, r Reading, head model.HeadKind) (kernel.Mat, error) {
	if e.m.Kind != head {
		return kernel.Mat{}, fmt.Errorf("serve: %w: the model has a head %s, want %s", ErrRequest, e.m.Kind, head)
	}
	return e.pass(ctx, &reading{Reading: r})
}

// pass has a text passed through the model.
func (e *Engine) pass(ctx context.Context, x *reading) (kernel.Mat, error) {
	if err := e.checkReading(x); err != nil {
		return kernel.Mat{}, fmt.Errorf("serve: %w: %w", ErrRequest, err)
	}
	var err error
	if x.request, err = e.acquire(ctx, x.Adapters); err != nil {
		return kernel.Mat{}, err
	}
	c := e.m.Config
	if n, v := len(x.Tokens), virtualOf(x.lease); c.MaxPositionEmbeddings > 0 && n+v > c.MaxPositionEmbeddings {
		err = fmt.Errorf("serve: %w: the text has %d tokens and %d virtual ones before it, want at most %d together", ErrRequest, n, v, c.MaxPositionEmbeddings)
		e.leave(x.request, err)
		return kernel.Mat{}, err
	}
	x.done = make(chan struct{})
	defer context.AfterFunc(ctx, e.ring)()
	e.mu.Lock()
	e.readings = append(e.readings, x)
	e.mu.Unlock()
	e.ring()
	<-x.done
	return x.found, x.err
}

func (e *Engine) checkReading(x *reading) error {
	x.Pool = cmp.Or(x.Pool, PoolMean)
	errs := []error{e.m.CheckTokens(x.Tokens), e.m.CheckTypes(x.Types)}
	switch {
	case len(x.Tokens) == 0:
		errs = append(errs, errors.New("the text is empty, want at least one token"))
	case x.Types != nil && len(x.Types) != len(x.Tokens):
		errs = append(errs, fmt.Errorf("the text has %d tokens and %d token types, want as many", len(x.Tokens), len(x.Types)))
	case e.m.Encoder != nil:
		errs = append(errs, fmt.Errorf("%s tells a text from a source, want a model of one stack", e.m.Config.ModelType))
	case pools[x.Pool] == nil:
		errs = append(errs, fmt.Errorf("pool is %q, want %s, %s or %s", x.Pool, PoolMean, PoolFirst, PoolLast))
	}
	return errors.Join(errs...)
}

// names are those of the model's classes.
func (e *Engine) names() []string {
	c := e.m.Config
	if names := c.ClassNames(); len(names) == c.Classes() {
		return names
	}
	return model.DefaultLabels(c.Classes())
}

// labels are what scores [n] of a text say, by the model's problem_type.
func (e *Engine) labels(scores []float32) []Label {
	switch c := e.m.Config; {
	case c.ProblemType == "regression" || c.ProblemType == "" && c.Classes() == 1:
		list := make([]Label, len(scores))
		for i, name := range e.names() {
			list[i] = Label{name, scores[i]}
		}
		return list
	case c.ProblemType == "multi_label_classification":
		return named(task.Sigmoid(scores), e.names())
	}
	return named(task.Softmax(scores), e.names())
}

// named lists classes from the most probable on, equal ones in their order.
func named(p []float64, names []string) []Label {
	list := make([]Label, len(p))
	for i := range p {
		list[i] = Label{names[i], float32(p[i])}
	}
	slices.SortStableFunc(list, func(a, b Label) int { return cmp.Compare(b.Score, a.Score) })
	return list
}

// read passes texts that wait, as many as a step may have rows, and says whether there were some.
func (e *Engine) read() bool {
	var list []*reading
	for rows := 0; ; {
		key, x, ok := e.asked.next()
		if !ok || rows > 0 && rows+len(x.Tokens) > e.o.MaxBatchTokens {
			break
		}
		rows += len(x.Tokens)
		e.asked.take(key, float64(len(x.Tokens)))
		x.begun = true
		e.mu.Lock()
		e.pending--
		e.mu.Unlock()
		list = append(list, x)
	}
	byModel(e.m, list, func(x *reading) *Lease { return x.lease }, e.passAll)
	return len(list) > 0
}

// byModel cuts a list into those that can pass in one forward, side by side those of the same adapters, and, by adapter, those that run
// on a model of their own.
func byModel[T any](m *model.Model, list []T, lease func(x T) *Lease, pass func(m *model.Model, list []T, route bool)) {
	slices.SortStableFunc(list, func(a, b T) int { return strings.Compare(lease(a).key, lease(b).key) })
	var together []T
	for len(list) > 0 {
		l, n := lease(list[0]), 1
		for n < len(list) && lease(list[n]).adapters == l.adapters {
			n++
		}
		if l.alone() {
			pass(l.adapters.Model, list[:n], false)
		} else {
			together = append(together, list[:n]...)
		}
		list = list[n:]
	}
	if len(together) > 0 {
		pass(m, together, true)
	}
}

// passAll passes texts through the model, each through its adapters, and answers them.
func (e *Engine) passAll(m *model.Model, list []*reading, route bool) {
	err := guard(func() { e.find(m, list, route) })
	e.arena.Reset()
	for _, x := range list {
		e.count(x.request, AdapterStats{Requests: 1, PromptTokens: int64(len(x.Tokens))})
		e.asked.done(x.lease.Key())
		if x.err = err; err == nil {
			x.err = finite(x.found)
		}
		e.answer(x, x.err)
	}
}

// packed is the pass of texts.
func (e *Engine) packed(list []*reading, route bool) (p *op.Pass, ids []int32) {
	p = op.NewPass(nil, nil, e.o.Mode, e.arena)
	var overlays []op.Overlay
	for _, x := range list {
		seg := op.Segment{Start: len(ids), End: len(ids) + len(x.Tokens)}
		if o := x.lease.Overlay(); o != nil && route {
			seg.Adapter, overlays = place(overlays, o)
		}
		p.Segments = append(p.Segments, seg)
		for i := range x.Tokens {
			p.Positions = append(p.Positions, int32(i))
		}
		ids = append(ids, x.Tokens...)
	}
	p.Types = typesOf(list)
	routed(p, overlays)
	return p, ids
}

// routed makes a pass go through overlays, if there are some.
func routed(p *op.Pass, overlays []op.Overlay) {
	if len(overlays) == 0 {
		return
	}
	if err := p.Route(overlays); err != nil {
		panic(err) // the segments are ours
	}
}

// find passes texts through the model and keeps of each what its request is about.
func (e *Engine) find(m *model.Model, list []*reading, route bool) {
	p, ids := e.packed(list, route)
	hidden := m.Hidden(p, ids)
	scores := false
	for i, x := range list {
		if scores = scores || !x.embed; x.embed {
			s := p.Segments[i]
			x.found = embedding(pools[x.Pool], op.Of(hidden).View().RowRange(s.Start, s.End))
		}
	}
	if !scores {
		return
	}
	y := m.Scores(p, hidden)
	for i, x := range list {
		switch s := p.Segments[i]; {
		case x.embed:
		case m.Kind == model.SequenceLabels:
			x.found = y.RowRange(i, i+1)
		default:
			x.found = y.RowRange(s.Start, s.End)
		}
	}
}

// place finds an overlay in a list, or puts it there, and counts from 1.
func place(list []op.Overlay, o op.Overlay) (int, []op.Overlay) {
	if i := slices.Index(list, o); i >= 0 {
		return i + 1, list
	}
	return len(list) + 1, append(list, o)
}

// typesOf are the token types of all texts, nil if none has some.
func typesOf(list []*reading) (types []int32) {
	if !slices.ContainsFunc(list, func(x *reading) bool { return x.Types != nil }) {
		return nil
	}
	for _, x := range list {
		if x.Types == nil {
			types = append(types, make([]int32, len(x.Tokens))...)
		}
		types = append(types, x.Types...)
	}
	return types
}

// finite reports scores that are no numbers.
func finite(m kernel.Mat) error {
	for t := range m.Rows {
		for i, v := range m.Row(t) {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("serve: score %d of row %d is %g, want finite numbers: the weights hold NaN or are too large", i, t, v)
			}
		}
	}
	return nil
}

// answer ends a reading.
func (e *Engine) answer(x *reading, err error) {
	e.leave(x.request, err)
	close(x.done)
}

// pools make one row of several, which go into y [C].
var pools = map[Pool]func(y []float32, x kernel.Mat){
	PoolFirst: func(y []float32, x kernel.Mat) { copy(y, x.Row(0)) },
	PoolLast:  func(y []float32, x kernel.Mat) { copy(y, x.Row(x.Rows-1)) },
	PoolMean: func(y []float32, x kernel.Mat) {
		for t := range x.Rows {
			kernel.Axpy(y, 1/float32(x.Rows), x.Row(t))
		}
	},
}

// embedding is what a pool makes of hidden states [T, C], divided by its length.
func embedding(pool func(y []float32, x kernel.Mat), x kernel.Mat) kernel.Mat {
	y := make([]float32, x.Cols)
	pool(y, x)
	if n := math.Sqrt(kernel.SumSquares(y)); n > 0 {
		kernel.Scale(y, float32(1/n))
	}
	return kernel.NewMat(y, 1, len(y))
}
