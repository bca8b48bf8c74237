package api

import (
	"math"

	"github.com/graft-ml/graft/serve"
)

// lowest stands for minus infinity, which JSON has no word for; vLLM says the same.
const lowest = -9999

func finite(x float32) float64 {
	if !(float64(x) > lowest) || math.IsInf(float64(x), 1) {
		return lowest
	}
	return float64(x)
}

// oldLogprobs is the form of /v1/completions.
type oldLogprobs struct {
	Offset []int                `json:"text_offset"`
	Probs  []*float64           `json:"token_logprobs"`
	Tokens []string             `json:"tokens"`
	Top    []map[string]float64 `json:"top_logprobs"`
}

// oldProbs tells tokens of a text; at is where the text of the first begins. first says that the first has no probability: nothing is before it.
func (s *Server) oldProbs(list []serve.Token, at, top int, first bool) *oldLogprobs {
	l := &oldLogprobs{Offset: []int{}, Probs: []*float64{}, Tokens: []string{}, Top: []map[string]float64{}}
	for i, t := range list {
		text, p := s.Tokenizer.Piece(t.ID), finite(t.Logprob)
		l.Tokens, l.Offset = append(l.Tokens, text), append(l.Offset, at)
		if !s.Tokenizer.Special(t.ID) { // which are not part of the text
			at += len(text)
		}
		if first && i == 0 {
			l.Probs, l.Top = append(l.Probs, nil), append(l.Top, nil)
			continue
		}
		l.Probs = append(l.Probs, &p)
		candidates := map[string]float64{text: p}
		for _, c := range t.Top[:min(top, len(t.Top))] {
			candidates[s.Tokenizer.Piece(c.ID)] = finite(c.Logprob)
		}
		if top == 0 {
			candidates = nil
		}
		l.Top = append(l.Top, candidates)
	}
	return l
}

// chatLogprobs is the form of /v1/chat/completions.
type chatLogprobs struct {
	Content []chatLogprob `json:"content"`
	Refusal *struct{}     `json:"refusal"`
}

type chatLogprob struct {
	chatCandidate
	Top []chatCandidate `json:"top_logprobs"`
}

type chatCandidate struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

func (s *Server) chatProbs(list []serve.Token, top int) *chatLogprobs {
	l := &chatLogprobs{Content: []chatLogprob{}}
	for _, t := range list {
		x := chatLogprob{s.candidate(t.ID, t.Logprob), []chatCandidate{}}
		for _, c := range t.Top[:min(top, len(t.Top))] {
			x.Top = append(x.Top, s.candidate(c.ID, c.Logprob))
		}
		l.Content = append(l.Content, x)
	}
	return l
}

func (s *Server) candidate(id int32, logprob float32) chatCandidate {
	c := chatCandidate{Token: s.Tokenizer.Piece(id), Logprob: finite(logprob), Bytes: []int{}}
	for _, b := range s.Tokenizer.Bytes(id) {
		c.Bytes = append(c.Bytes, int(b))
	}
	return c
}
