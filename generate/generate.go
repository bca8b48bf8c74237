// Package generate continues texts: greedy, sampled or by beam search, one or many at once, with a cache of keys and
// values so that a new token costs one row.
//
//	out, err := generate.Tokens(ctx, session, [][]int32{prompt}, generate.Options{MaxNewTokens: 50, Temperature: 0.8, Seed: 1}, nil)
//
// A model that reads sources tells a text from each, as its generation_config.json says:
//
//	o, _, err := generate.Options{MaxNewTokens: 20, LengthPenalty: 1}.Configure(file, 1)
//	out, err := generate.Sources(ctx, m, mode, sources, *m.Config.DecoderStartTokenID, o, nil)
//
// A sequence depends on nothing but its prompt, the options and its own index: a batch gives what each prompt alone
// gives with the same index.
package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// Session is a model with its cache. Not safe for concurrent use.
type Session interface {
	// Extend appends tokens[i] to live sequence i and returns the logits [len(tokens), V] after the last token of each.
	// Every tokens[i] has at least one token.
	Extend(tokens [][]int32) (kernel.Mat, error)
	// Select makes live sequence i continue what sequence parents[i] is now; sequences that nobody continues end.
	Select(parents []int)
}

// Options say how to continue a text. Names and order of the steps follow transformers' GenerationConfig.
type Options struct {
	MaxNewTokens      int       // at most so many tokens are added
	Temperature       float64   // 0 = greedy
	TopK              int       // keep the k most probable tokens; 0 = all
	TopP              float64   // keep the smallest set whose probability reaches p; 0 or 1 = all
	MinP              float64   // keep tokens at least so probable as p times the best; 0 = all
	RepetitionPenalty float64   // divides positive, multiplies negative logits of tokens seen; 0 or 1 = none
	NoRepeatNgram     int       // no n-gram of this length twice; 0 = allowed
	BadWords          [][]int32 // runs of tokens that never come
	MinNewTokens      int       // no sequence ends before
	ForcedBOS         *int32    // the first new token; nil = any
	ForcedEOS         *int32    // the last one where MaxNewTokens are reached; nil = any
	NumBeams          int       // above 1: beam search (not sampled)
	LengthPenalty     float64   // beams are scored by log-probability / length^penalty
	EarlyStopping     bool      // beams: stop when NumBeams are finished
	Patient           bool      // beams: else, go on while a way could still win by length, transformers\' early_stopping "never"
	Seed              uint64
	EOS               []int32 // tokens that end a sequence; they are part of the result

	first int // index of the first prompt
}

const maxBeams = 1024

// Validate reports every option out of its range.
func (o Options) Validate() error {
	var errs []error
	bad := func(key string, got any, want string) {
		errs = append(errs, fmt.Errorf("generate: %s is %v, want %s", key, got, want))
	}
	if o.MaxNewTokens < 1 {
		bad("max_new_tokens", o.MaxNewTokens, "at least 1")
	}
	for _, f := range []struct {
		key     string
		got     any
		value   float64
		highest float64
		want    string
	}{
		{"temperature", o.Temperature, o.Temperature, math.MaxFloat64, "at least 0"},
		{"top_k", o.TopK, float64(o.TopK), math.Inf(1), "at least 0"},
		{"top_p", o.TopP, o.TopP, 1, "0 to 1"},
		{"min_p", o.MinP, o.MinP, 1, "0 to 1"},
		{"repetition_penalty", o.RepetitionPenalty, o.RepetitionPenalty, math.MaxFloat32, "at least 0"},
		{"no_repeat_ngram_size", o.NoRepeatNgram, float64(o.NoRepeatNgram), math.Inf(1), "at least 0"},
		{"min_new_tokens", o.MinNewTokens, float64(o.MinNewTokens), math.Inf(1), "at least 0"},
		{"num_beams", o.NumBeams, float64(o.NumBeams), maxBeams, fmt.Sprintf("0 to %d", maxBeams)},
	} {
		if !(f.value >= 0 && f.value <= f.highest) { // NaN is neither
			bad(f.key, f.got, f.want)
		}
	}
	if math.IsNaN(o.LengthPenalty) || math.IsInf(o.LengthPenalty, 0) {
		bad("length_penalty", o.LengthPenalty, "a finite number")
	}
	for i, w := range o.BadWords {
		if len(w) == 0 {
			bad(fmt.Sprintf("bad_words_ids[%d]", i), "empty", "at least one token")
		}
	}
	if o.NumBeams > 1 && o.Temperature > 0 {
		bad("num_beams", o.NumBeams, "1 when temperature is above 0")
	}
	return errors.Join(errs...)
}

// Emit receives the tokens of sequence i as they are made; false ends that sequence. Beam search calls it at the end.
type Emit func(i int, id int32) (goOn bool)

// Tokens continues each prompt and returns the new tokens of each. When ctx ends, it returns what there is and ctx's error.
func Tokens(ctx context.Context, s Session, prompts [][]int32, o Options, emit Emit) ([][]int32, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	for i, p := range prompts {
		if len(p) == 0 {
			return nil, errNoPrompt(i)
		}
	}
	if emit == nil {
		emit = func(int, int32) bool { return true }
	}
	if o.NumBeams > 1 {
		return beams(ctx, s, prompts, o, emit)
	}
	return sample(ctx, s, prompts, o, emit)
}

func errNoPrompt(i int) error {
	return fmt.Errorf("generate: prompt %d is empty, want at least one token (a model without bos needs some text)", i)
}

// extend is s.Extend that refuses logits from which no token can be chosen.
func extend(s Session, tokens [][]int32) (kernel.Mat, error) {
	logits, err := s.Extend(tokens)
	if err != nil {
		return logits, err
	}
	for i := range logits.Rows {
		if id, is := Unfit(logits.Row(i)); is {
			return logits, fmt.Errorf("generate: the logit of token %d of sequence %d is %g, want finite numbers: the weights hold NaN or are too large", id, i, logits.Row(i)[id])
		}
	}
	return logits, nil
}

// Unfit finds the first logit that makes it impossible to choose a token: NaN or +Inf.
func Unfit(logits []float32) (id int, is bool) {
	if kernel.Max(logits) <= math.MaxFloat32 {
		return 0, false
	}
	return slices.IndexFunc(logits, func(v float32) bool { return v != v || v > math.MaxFloat32 }), true
}

// sample draws one token after another for all sequences at once.
func sample(ctx context.Context, s Session, prompts [][]int32, o Options, emit Emit) ([][]int32, error) {
	out := make([][]int32, len(prompts))
	choosers := make([]*Chooser, len(prompts))
	live := make([]int, len(prompts)) // index of the prompt that live sequence j continues
	next := slices.Clone(prompts)
	for i := range prompts {
		live[i] = i
		choosers[i] = NewChooser(o, i)
	}
	for len(live) > 0 {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		logits, err := extend(s, next)
		if err != nil {
			return out, err
		}
		var keep []int // live sequences that go on
		next = next[:0:0]
		for j, i := range live {
			history := append(slices.Clone(prompts[i]), out[i]...)
			id := choosers[i].Choose(logits.Row(j), history, len(out[i]))
			out[i] = append(out[i], id)
			if emit(i, id) && !o.Ends(id, len(out[i])) {
				keep = append(keep, j)
				next = append(next, []int32{id})
			}
		}
		if len(keep) < len(live) {
			s.Select(keep)
			for k, j := range keep {
				live[k] = live[j]
			}
			live = live[:len(keep)]
		}
	}
	return out, nil
}
