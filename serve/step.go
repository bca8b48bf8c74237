package serve

import (
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
)

// piece are the next rows of a text that a step passes.
type piece struct {
	*sequence
	n      int
	logits int // the first of its rows that have logits, in those of the step
	want   int // how many have some
	drawn  *Token
}

// echoRows is how many rows of a step may have logits for one text.
const echoRows = 64

// sweep ends the requests that nobody waits for any more.
func (e *Engine) sweep() {
	over := func(s *sequence) bool {
		err := e.gone(s.request)
		if err == nil {
			return false
		}
		if s.begun {
			e.queue.done(s.lease.Key())
		}
		e.end(s, err)
		return true
	}
	e.running = slices.DeleteFunc(e.running, over)
	e.preempted = slices.DeleteFunc(e.preempted, over)
	e.queue.drop(over)
	e.asked.drop(func(x *reading) bool {
		err := e.gone(x.request)
		if err != nil {
			e.answer(x, err)
		}
		return err != nil
	})
}

// step passes the next rows of the texts that go on and says whether there were some.
func (e *Engine) step() bool {
	e.admit()
	list := e.reserve(e.choose())
	if len(list) == 0 {
		return false
	}
	byModel(e.m, list, func(s *piece) *Lease { return s.lease }, e.forward)
	e.mu.Lock()
	e.stats.Steps++
	e.mu.Unlock()
	return true
}

// choose lists the rows of a step: one of each text that goes on, and of the prompts as many as there is room for, in the order of their
// admission, one at least.
func (e *Engine) choose() (list []*piece) {
	left := e.o.MaxBatchTokens
	for _, s := range e.running {
		if !s.paused() && len(s.tokens)-s.rows == 1 {
			list = append(list, &piece{sequence: s, n: 1})
		}
	}
	left = max(1, left-len(list))
	for _, s := range e.running {
		if rest := len(s.tokens) - s.rows; !s.paused() && rest > 1 && left > 0 {
			n := min(rest, left)
			if s.g.Echo {
				n = min(n, echoRows)
			}
			list = append(list, &piece{sequence: s, n: n})
			left -= n
		}
	}
	return list
}

// reserve makes room for the rows of a step. Texts that came later, and those that wait for their reader, give their pages to those before
// them.
func (e *Engine) reserve(list []*piece) []*piece {
	for _, s := range list {
		if s.seq < 0 { // lost its pages to one before it in this list
			continue
		}
		need := s.n
		if s.rows == 0 {
			need += s.virtual
		}
		for !e.cache.Reserve(s.seq, need) {
			if e.known.evict() || e.preempt(s.sequence) {
				continue
			}
			e.yield(slices.Index(e.running, s.sequence))
			break
		}
	}
	return slices.DeleteFunc(list, func(s *piece) bool { return s.seq < 0 })
}

// forward passes rows through the model, each through the adapters of its text, and continues the texts whose last row was among them.
func (e *Engine) forward(m *model.Model, list []*piece, route bool) {
	err := guard(func() { e.compute(m, list, route) })
	e.arena.Reset()
	for _, s := range list {
		if err != nil {
			s.err = err
		}
		e.advance(s)
	}
}

// guard makes an error of a panic: a fault in a method of one request must not end those of others that run in other passes.
func guard(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("serve: the pass failed: %v", r)
		}
	}()
	f()
	return nil
}

// compute is forward up to the choice of the next tokens.
func (e *Engine) compute(m *model.Model, list []*piece, route bool) {
	p := op.NewPass(nil, nil, e.o.Mode, e.arena)
	p.Cache = e.cache
	var ids []int32
	var rows []int // that have logits
	var overlays []op.Overlay
	for _, s := range list {
		seg := op.Segment{Start: len(ids), End: len(ids) + s.n, Sequence: s.seq}
		if o := s.lease.Overlay(); o != nil && route {
			seg.Adapter, overlays = place(overlays, o)
		}
		p.Segments = append(p.Segments, seg)
		for i := range s.n {
			p.Positions = append(p.Positions, int32(s.rows+i))
		}
		s.logits = len(rows)
		for i := s.n - s.wants(); i < s.n; i++ {
			rows = append(rows, len(ids)+i)
		}
		s.want = len(rows) - s.logits
		ids = append(ids, s.tokens[s.rows:s.rows+s.n]...)
	}
	var logits kernel.Mat
	routed(p, overlays)
	hidden := m.Hidden(p, ids)
	if len(rows) > 0 {
		logits = m.LogitsIn(e.logits, p, hidden, rows)
		e.logits = logits.Data[:cap(logits.Data)]
	}
	kernel.Parallel(len(list), func(i int) {
		if s := list[i]; s.want > 0 {
			s.next(logits.RowRange(s.logits, s.logits+s.want))
		}
	})
}

// wants is how many of a piece's last rows must have logits.
func (s *piece) wants() int {
	switch last := s.rows + s.n; {
	case s.g.Echo && s.rows < len(s.g.Prompt):
		return s.n
	case last == len(s.tokens):
		return 1
	}
	return 0
}

// next chooses a token, if the text's last row is among those with logits [want, V], and tells how probable those of the prompt were.
func (s *piece) next(logits kernel.Mat) {
	s.scratch = slices.Grow(s.scratch[:0], logits.Cols)[:logits.Cols]
	for i := range logits.Rows {
		x := logits.Row(i)
		if id, is := generate.Unfit(x); is {
			s.err = fmt.Errorf("serve: the logit of token %d is %g, want finite numbers: the weights hold NaN or are too large", id, x[id])
			return
		}
		after := s.rows + s.n - s.want + i + 1
		switch {
		case after == len(s.tokens) && s.made() < s.g.Options.MaxNewTokens:
			s.draw(x)
		case after == len(s.result.Prompt) && after < len(s.g.Prompt): // not told before its pages were taken
			s.result.Prompt = append(s.result.Prompt, s.tell(x, func() int32 { return s.tokens[after] }))
		}
	}
}

// draw chooses a token from logits [V], which it changes.
func (s *piece) draw(x []float32) {
	t := s.tell(x, func() int32 {
		for id, b := range s.g.LogitBias { // each changes a number of its own
			x[id] += b
		}
		return s.chooser.Choose(x, s.tokens, s.made())
	})
	s.drawn = &t
}

// tell is a token with its probability by logits [V]; choose may change these.
func (s *piece) tell(x []float32, choose func() int32) (t Token) {
	if s.g.Logprobs < 0 {
		return Token{ID: choose()}
	}
	logProbabilities(s.scratch, x)
	t.Top = highest(s.scratch, s.g.Logprobs)
	t.ID = choose()
	t.Logprob = s.scratch[t.ID]
	return t
}

// logProbabilities is y = x − log Σ exp(x).
func logProbabilities(y, x []float32) {
	copy(y, x)
	top, sum := kernel.SoftmaxRow(y)
	norm := top + float32(math.Log(float64(sum)))
	for i, v := range x {
		y[i] = v - norm
	}
}

// highest lists the n highest of all numbers, equal ones by their place.
func highest(x []float32, n int) []Candidate {
	if n <= 0 {
		return nil
	}
	list := make([]Candidate, 0, n+1)
	for id, v := range x {
		if len(list) == n && !(v > list[n-1].Logprob) {
			continue
		}
		at := len(list)
		for at > 0 && v > list[at-1].Logprob {
			at--
		}
		list = slices.Insert(list, at, Candidate{int32(id), v})
		list = list[:min(len(list), n)]
	}
	return list
}

// advance notes what a step has done for a text, and ends it if that was all.
func (e *Engine) advance(s *piece) {
	s.rows += s.n
	if s.err != nil {
		e.finish(s.sequence, s.err)
		return
	}
	e.know(s.sequence)
	if s.drawn == nil {
		if s.rows == len(s.tokens) { // nothing new was asked for
			s.result.Finish = FinishLength
			e.finish(s.sequence, nil)
		}
		return
	}
	id := s.drawn.ID
	s.tokens = append(s.tokens, id)
	s.out <- *s.drawn // there is room, or the text would pause
	e.queue.charge(s.lease.Key(), 1)
	e.count(s.request, AdapterStats{Tokens: 1})
	switch o := &s.g.Options; {
	case slices.Contains(o.EOS, id):
		s.result.Finish = FinishStop
	case s.made() >= o.MaxNewTokens:
		s.result.Finish = FinishLength
	default:
		return
	}
	e.finish(s.sequence, nil)
}

// finish ends a running text.
func (e *Engine) finish(s *sequence, err error) {
	e.running = slices.DeleteFunc(e.running, func(x *sequence) bool { return x == s })
	e.queue.done(s.lease.Key())
	e.end(s, err)
}
