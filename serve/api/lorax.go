package api

import (
	"fmt"
	"math"
	"net/http"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/serve"
)

// chooseLoRAX is choose for bodies that may name an adapter as LoRAX does, by adapter_id in parameters.
func (s *Server) chooseLoRAX(x *exchange) (chosen, error) {
	f := x.body
	if !f.has("parameters") {
		return s.choose(x)
	}
	p := f.object("parameters")
	if f.err != nil {
		return chosen{}, f.err
	}
	c, err := s.byAdapterID(x, p)
	if err != nil {
		return c, err
	}
	f.nested(p)
	return c, nil
}

// byAdapterID reads adapter_id or merged_adapters.
func (s *Server) byAdapterID(x *exchange, p *fields) (c chosen, err error) {
	c.id = s.Name
	name := p.str("adapter_id", "")
	p.only("adapter_source", "adapters come from this server's folder only, want \"local\"", "local", "")
	p.ignore("api_token")
	merged := p.object("merged_adapters")
	if p.err != nil {
		return c, p.err
	}
	if name != "" && merged != nil {
		return c, refuse(p.name("merged_adapters"), "%s and adapter_id exclude each other", p.name("merged_adapters"))
	}
	if merged != nil {
		c.uses, err = s.merged(merged)
	} else if name != "" && name != s.Name {
		if _, err = s.info(name); err == nil {
			c.uses, c.id = peft.Fully(name), name
		}
	}
	if err != nil {
		return c, err
	}
	x.adapter = label(c.uses)
	return c, nil
}

// merged reads several adapters with weights. They count side by side: what the model does is changed by the weighted sum of what each would
// change, exactly; the other strategies change the numbers themselves and need a file of their own (graft combine).
func (s *Server) merged(f *fields) ([]peft.Use, error) {
	ids := f.texts("ids", maxTogether)
	weights := f.list("weights")
	if kind := f.str("merge_strategy", "linear"); kind != "linear" {
		f.wrong("merge_strategy", "%q is not done while serving, want linear (graft combine makes an adapter by ties or dare)", shown(kind))
	}
	f.ignore("density", "majority_sign_method")
	if len(ids) == 0 {
		f.wrong("ids", "missing, want names of adapters")
	}
	if weights != nil && len(weights) != len(ids) {
		f.wrong("weights", "%d numbers, want %d, one for each of ids", len(weights), len(ids))
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	uses := peft.Fully(ids...)
	seen := map[string]bool{}
	for i, name := range ids {
		if _, err := s.info(name); err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, refuse(f.name("ids"), "%s: %s twice", f.name("ids"), name)
		}
		seen[name] = true
		if weights == nil {
			continue
		}
		w, ok := numeric(weights[i])
		if !ok || !(math.Abs(w) <= 1e3) {
			return nil, refuse(f.name("weights"), "%s[%d]: want a number from -1000 to 1000", f.name("weights"), i)
		}
		uses[i].Scale = w
	}
	return uses, nil
}

// loraxJob reads inputs and parameters.
func (s *Server) loraxJob(x *exchange) (j *job, details, full bool, err error) {
	f := x.body
	j = &job{n: 1, logprobs: 0, goesOn: true}
	text := f.str("inputs", "")
	if !f.has("inputs") {
		f.wrong("inputs", "missing, want a text")
	}
	p := f.object("parameters")
	if p == nil {
		p = f.within("parameters.", nil)
	}
	if f.err != nil {
		return j, false, false, f.err
	}
	if j.chosen, err = s.byAdapterID(x, p); err != nil {
		return j, false, false, err
	}
	asked := s.loraxSampling(p, j)
	details, full = p.flag("details", false), p.flag("return_full_text", false)
	cut := p.whole("truncate", 0, 1, math.MaxInt32)
	f.ignore("stream")
	f.nested(p)
	if err := f.end(); err != nil {
		return j, false, false, err
	}
	j.prompts = []prompt{s.encode(text, true)}
	if ids := j.prompts[0].ids; cut > 0 && len(ids) > cut {
		j.prompts[0].ids = ids[len(ids)-cut:]
	}
	return j, details, full, s.room(j, asked)
}

// loraxSampling reads the parameters that say how the text is continued. Without do_sample and without any of temperature, top_k and top_p
// it is greedy, as there.
func (s *Server) loraxSampling(p *fields, j *job) (asked int) {
	o := &j.options
	sampled := p.flag("do_sample", false) || p.has("temperature") || p.has("top_p") || p.has("top_k")
	o.Temperature = p.number("temperature", 1, 0, 100)
	if !sampled {
		o.Temperature = 0
	}
	o.TopP = p.number("top_p", 1, 0, 1)
	o.TopK = p.whole("top_k", 0, 0, math.MaxInt32)
	o.RepetitionPenalty = p.number("repetition_penalty", 1, 1e-3, 1e3)
	o.Seed = s.seed(p)
	o.EOS = s.EOS
	if p.flag("ignore_eos_token", false) {
		o.EOS = nil
	}
	j.stop = s.stops(p, "stop")
	p.only("typical_p", "not supported", 1)
	p.only("watermark", "not supported", false)
	p.only("best_of", "not supported, want 1", 1)
	p.only("return_k_alternatives", "not supported", 0)
	p.only("frequency_penalty", "not supported, want repetition_penalty", 0)
	p.only("decoder_input_details", "not supported, want false", false)
	p.only("response_format", "not supported")
	p.only("schema", "not supported")
	p.only("apply_chat_template", "not supported, want /v1/chat/completions", false)
	return p.whole("max_new_tokens", unasked, 1, s.Limits.NewTokens)
}

// loraxToken is a token as LoRAX tells it.
type loraxToken struct {
	ID      int32   `json:"id"`
	Text    string  `json:"text"`
	Logprob float64 `json:"logprob"`
	Special bool    `json:"special"`
}

// loraxDetails are about the whole text.
type loraxDetails struct {
	Finish    string       `json:"finish_reason"`
	Prompt    int          `json:"prompt_tokens"`
	Generated int          `json:"generated_tokens"`
	Seed      *uint64      `json:"seed"`
	Prefill   []loraxToken `json:"prefill,omitempty"`
	Tokens    []loraxToken `json:"tokens,omitempty"`
}

func (s *Server) loraxToken(t serve.Token) loraxToken {
	return loraxToken{t.ID, s.Tokenizer.Piece(t.ID), finite(t.Logprob), s.Tokenizer.Special(t.ID)}
}

func (j *job) loraxDetails(e *ending) *loraxDetails {
	d := &loraxDetails{Finish: "length", Prompt: len(j.prompts[0].ids), Generated: len(e.result.Tokens)}
	switch {
	case e.halted:
		d.Finish = "stop_sequence"
	case e.result.Finish == serve.FinishStop:
		d.Finish = "eos_token"
	}
	if j.options.Temperature > 0 {
		d.Seed = &j.options.Seed
	}
	return d
}

func (s *Server) loraxGenerate(x *exchange) error {
	j, details, full, err := s.loraxJob(x)
	if err != nil {
		return err
	}
	all, err := x.whole(j)
	if err != nil {
		return err
	}
	answer := map[string]any{"generated_text": all[0].text}
	if full {
		answer["generated_text"] = s.shownPrompt(j.prompts[0]) + all[0].text
	}
	if details {
		d := j.loraxDetails(all[0].last)
		for _, t := range all[0].tokens {
			d.Tokens = append(d.Tokens, s.loraxToken(t))
		}
		answer["details"] = d
	}
	return x.json(http.StatusOK, answer)
}

// loraxEvent is one event of a stream: a token, with the last also the whole text.
type loraxEvent struct {
	Token   loraxToken    `json:"token"`
	Text    *string       `json:"generated_text"`
	Details *loraxDetails `json:"details"`
}

func (s *Server) loraxStream(x *exchange) error {
	j, _, full, err := s.loraxJob(x)
	if err != nil {
		return err
	}
	out := events{x}
	whole := ""
	if full {
		whole = s.shownPrompt(j.prompts[0])
	}
	var before *loraxEvent // a token waits for the next, since the last one has more to tell
	err = x.run(j, func(p piece) error {
		whole += p.text
		for i, t := range p.tokens {
			e := &loraxEvent{Token: s.loraxToken(t)}
			if e.Token.Text = ""; i == len(p.tokens)-1 {
				e.Token.Text = p.text // of tokens that wait for each other the last has the text
			}
			if before != nil {
				if err := out.send(before); err != nil {
					return err
				}
			}
			before = e
		}
		if p.last == nil {
			return nil
		}
		if before == nil {
			return fmt.Errorf("api: an answer without a token")
		}
		if len(p.tokens) == 0 {
			before.Token.Text += p.text
		}
		before.Text, before.Details = &whole, j.loraxDetails(p.last)
		return out.send(before)
	})
	if err != nil {
		return out.end(err)
	}
	return nil
}
