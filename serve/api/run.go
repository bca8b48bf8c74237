package api

import (
	"context"
	"sync"

	"github.com/graft-ml/graft/serve"
)

// mailbox hands pieces from the engine to the answer without ever making the engine wait: a client that reads slowly has its pieces pile
// up, and there are never more than the tokens that it asked for. Safe for concurrent use by any number of senders and one receiver.
type mailbox struct {
	mu    sync.Mutex
	list  []piece
	ready chan struct{}
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

func (m *mailbox) put(p piece) {
	m.mu.Lock()
	m.list = append(m.list, p)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []piece {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.list = nil
	return list
}

// choices is how many texts a job has.
func (j *job) choices() int { return len(j.prompts) * j.n }

// generation is what the engine is asked for one choice. Of several texts of one prompt, the first is the one that the seed alone gives.
func (j *job) generation(choice int) serve.Generation {
	o := j.options
	const golden = 0x9e3779b97f4a7c15 // far apart, whatever the seeds
	o.Seed += uint64(choice%j.n) * golden
	return serve.Generation{Adapters: j.uses, Prompt: j.prompts[choice/j.n].ids, Options: o, LogitBias: j.bias, Logprobs: j.logprobs,
		Echo: j.echo && j.logprobs >= 0}
}

// run has the engine work on all choices of a job and tells each piece as it comes, in the order within each choice. When tell or a choice
// fails the others are cancelled; run returns when none is at work any more.
func (x *exchange) run(j *job, tell func(piece) error) error {
	x.body = nil // it may be large, and the answer may take long
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	box := newMailbox()
	var work sync.WaitGroup
	for c := range j.choices() {
		work.Go(func() { x.server.one(ctx, j, c, box) })
	}
	defer work.Wait()
	defer cancel()
	began, seen := x.server.Now(), make([]bool, j.choices())
	for left := j.choices(); left > 0; {
		<-box.ready // each choice ends with a last piece, however it ends
		for _, p := range box.take() {
			if !seen[p.choice] {
				seen[p.choice] = true
				x.server.metrics.first(x.adapter, x.server.Now().Sub(began))
			}
			if p.last != nil {
				left--
				if p.last.err != nil {
					return p.last.err
				}
				x.count(j, &p)
			}
			if err := tell(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// one works on one choice.
func (s *Server) one(ctx context.Context, j *job, choice int, box *mailbox) {
	t := s.newTeller(j, choice)
	r, err := s.Engine.Generate(ctx, j.generation(choice), func(tok serve.Token) bool {
		p, goOn := t.next(tok)
		if p.text != "" || len(p.tokens) > 0 {
			box.put(p)
		}
		return goOn
	})
	p := t.end()
	p.last = &ending{result: r, reason: string(r.Finish), halted: t.halted, err: err}
	if t.halted {
		p.last.reason = string(serve.FinishStop)
	}
	box.put(p)
}

// count adds a choice to what the request used; a prompt counts once, however many texts it has.
func (x *exchange) count(j *job, p *piece) {
	if p.choice%j.n == 0 {
		x.tokens.prompt += len(j.prompts[p.choice/j.n].ids)
		x.tokens.cached += p.last.result.Cached
	}
	x.tokens.completion += len(p.last.result.Tokens)
}

// usage is what a request used, as OpenAI says it.
type usage struct {
	Prompt     int           `json:"prompt_tokens"`
	Completion int           `json:"completion_tokens"`
	Total      int           `json:"total_tokens"`
	Details    *usageDetails `json:"prompt_tokens_details,omitempty"`
}

type usageDetails struct {
	Cached int `json:"cached_tokens"`
}

func (x *exchange) usage() *usage {
	t := x.tokens
	return &usage{Prompt: t.prompt, Completion: t.completion, Total: t.prompt + t.completion, Details: &usageDetails{t.cached}}
}

// told is a whole choice.
type told struct {
	text   string
	tokens []serve.Token
	last   *ending
}

// whole runs a job and gives each choice when all are done.
func (x *exchange) whole(j *job) ([]told, error) {
	out := make([]told, j.choices())
	err := x.run(j, func(p piece) error {
		c := &out[p.choice]
		c.text += p.text
		c.tokens = append(c.tokens, p.tokens...)
		c.last = p.last
		return nil
	})
	return out, err
}
