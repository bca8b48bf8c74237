package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/graft-ml/graft/serve"
	"github.com/graft-ml/graft/task"
)

// each has all texts of a request read, at once, so that the engine can put them into one batch. The first error, by the order of the texts, counts.
func (x *exchange) each(prompts []prompt, read func(ctx context.Context, i int) error) error {
	for i, p := range prompts {
		if n := len(p.ids); n < 1 || n > x.server.MaxLen {
			return refuse("input", "input[%d] has %d tokens, want 1 to %d", i, n, x.server.MaxLen)
		}
		x.tokens.prompt += len(p.ids)
	}
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	errs := make([]error, len(prompts))
	var work sync.WaitGroup
	for i := range prompts {
		work.Go(func() {
			if errs[i] = read(ctx, i); errs[i] != nil {
				cancel()
			}
		})
	}
	work.Wait()
	return worst(errs)
}

// worst is the first error that is not only the echo of another's.
func worst(errs []error) (first error) {
	for _, err := range errs {
		if err != nil && (first == nil || asError(first).Status == statusGone) {
			first = err
		}
	}
	return first
}

// classification is the answer about one text.
type classification struct {
	Index  int       `json:"index"`
	Label  string    `json:"label"` // the most probable
	Probs  []float32 `json:"probs"` // of all classes, the most probable first
	Num    int       `json:"num_classes"`
	Labels []string  `json:"labels"` // what probs are of
}

func (s *Server) classify(x *exchange) error {
	c, list, pairs, err := s.texts(x)
	if err != nil {
		return err
	}
	prompts := make([]prompt, len(list))
	for i, text := range list {
		e := s.Tokenizer.Encode(text, true)
		if pairs != nil {
			e = s.Tokenizer.EncodePair(text, pairs[i], true)
		}
		prompts[i] = prompt{ids: e.IDs, types: e.TypeIDs}
	}
	data := make([]classification, len(prompts))
	err = x.each(prompts, func(ctx context.Context, i int) error {
		labels, err := s.Engine.Classify(ctx, s.reading(c, prompts[i]))
		if err != nil {
			return err
		}
		data[i] = classification{Index: i, Num: len(labels), Probs: []float32{}, Labels: []string{}}
		for _, l := range labels {
			data[i].Probs, data[i].Labels = append(data[i].Probs, l.Score), append(data[i].Labels, l.Name)
		}
		if len(labels) > 0 {
			data[i].Label = labels[0].Name
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string]any{"id": newID("classify-"), "object": "list", "created": s.Now().Unix(), "model": c.id, "data": data, "usage": x.readUsage()})
}

func (s *Server) reading(c chosen, p prompt) serve.Reading {
	return serve.Reading{Adapters: c.uses, Tokens: p.ids, Types: p.types}
}

// texts reads the fields of /classify and /ner: input, or inputs as LoRAX has it, and for pairs the second texts.
func (s *Server) texts(x *exchange) (c chosen, list, pairs []string, err error) {
	f := x.body
	if c, err = s.chooseLoRAX(x); err != nil {
		return c, nil, nil, err
	}
	field := "input"
	if f.has("inputs") && !f.has("input") {
		field = "inputs"
	}
	list, pairs = f.texts(field, s.Limits.Prompts), f.texts("text_pair", s.Limits.Prompts)
	f.ignore("user")
	switch {
	case len(list) == 0:
		f.wrong(field, "missing, want a string or a list of strings")
	case pairs != nil && len(pairs) != len(list):
		f.wrong("text_pair", "%d texts, want %d, one for each of %s", len(pairs), len(list), field)
	}
	if err := f.end(); err != nil {
		return c, nil, nil, err
	}
	return c, list, pairs, nil
}

// tagged is the answer about the words of one text.
type tagged struct {
	Index    int               `json:"index"`
	Entities []task.EntitySpan `json:"entities"`
}

func (s *Server) ner(x *exchange) error {
	c, list, pairs, err := s.texts(x)
	if err != nil {
		return err
	}
	if pairs != nil {
		return refuse("text_pair", "text_pair: words of pairs are not told apart")
	}
	prompts, words := make([]prompt, len(list)), make([][]int32, len(list))
	for i, text := range list { // word by word, as models of this kind have learned it
		e := s.Tokenizer.EncodeWords(strings.Fields(text), true)
		prompts[i], words[i] = prompt{ids: e.IDs, types: e.TypeIDs}, e.Words
	}
	data := make([]tagged, len(prompts))
	err = x.each(prompts, func(ctx context.Context, i int) error {
		labels, err := s.Engine.Tag(ctx, s.reading(c, prompts[i]))
		if err == nil {
			data[i].Index = i
			data[i].Entities, err = entities(list[i], words[i], labels)
		}
		return err
	})
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string]any{"object": "list", "model": c.id, "data": data, "usage": x.readUsage()})
}

// entities joins words to entities, each word with the label of its first token. word says of each token which word it is of.
func entities(text string, word []int32, labels [][]serve.Label) ([]task.EntitySpan, error) {
	if len(labels) != len(word) {
		return nil, fmt.Errorf("api: %d labels for %d tokens", len(labels), len(word))
	}
	list := strings.Fields(text)
	places, ok := task.FindWords(text, list)
	if !ok {
		return nil, errors.New("api: the words of a text are not in it")
	}
	tags := make([]task.WordTag, len(list))
	for i := range tags {
		tags[i] = task.WordTag{Tag: "O", Probability: 1}
	}
	last := int32(-1)
	for t, w := range word {
		if w >= 0 && w != last && len(labels[t]) > 0 {
			tags[w] = task.WordTag{Tag: labels[t][0].Name, Probability: float64(labels[t][0].Score)}
		}
		last = w
	}
	found, err := task.FindEntities(text, places, tags)
	return append([]task.EntitySpan{}, found...), err
}
