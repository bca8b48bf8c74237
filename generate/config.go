package generate

import (
	"encoding/json"
	"fmt"
	"slices"
)

// file is generation_config.json, or what config.json of old models has of it, in transformers' words. Null and absent keys change
// nothing.
type file struct {
	MaxNewTokens      *int            `json:"max_new_tokens"`
	MaxLength         *int            `json:"max_length"` // with the prompt
	MinNewTokens      *int            `json:"min_new_tokens"`
	MinLength         *int            `json:"min_length"` // with the prompt
	DoSample          *bool           `json:"do_sample"`
	Temperature       *float64        `json:"temperature"`
	TopK              *int            `json:"top_k"`
	TopP              *float64        `json:"top_p"`
	MinP              *float64        `json:"min_p"`
	RepetitionPenalty *float64        `json:"repetition_penalty"`
	NoRepeatNgram     *int            `json:"no_repeat_ngram_size"`
	BadWords          [][]int32       `json:"bad_words_ids"`
	ForcedBOS         ids             `json:"forced_bos_token_id"`
	ForcedEOS         ids             `json:"forced_eos_token_id"`
	EOS               ids             `json:"eos_token_id"`
	NumBeams          *int            `json:"num_beams"`
	LengthPenalty     *float64        `json:"length_penalty"`
	EarlyStopping     json.RawMessage `json:"early_stopping"` // true, false or "never"
}

// ids is a token id, or a list of them.
type ids []int32

// UnmarshalJSON implements json.Unmarshaler.
func (t *ids) UnmarshalJSON(b []byte) error {
	var one *int32
	if err := json.Unmarshal(b, &one); err != nil {
		return json.Unmarshal(b, (*[]int32)(t))
	}
	if one != nil {
		*t = ids{*one}
	}
	return nil
}

// unread are keys that would change what is generated and that graft does not follow, with the values that mean nothing.
var unread = []struct {
	key  string
	none []string
}{
	{"encoder_no_repeat_ngram_size", []string{"0"}}, {"encoder_repetition_penalty", []string{"1", "1.0"}}, {"num_beam_groups", []string{"1"}},
	{"diversity_penalty", []string{"0", "0.0"}}, {"typical_p", []string{"1", "1.0"}}, {"epsilon_cutoff", []string{"0", "0.0"}}, {"eta_cutoff", []string{"0", "0.0"}},
	{"penalty_alpha", nil}, {"suppress_tokens", []string{"[]"}}, {"begin_suppress_tokens", []string{"[]"}}, {"forced_decoder_ids", []string{"[]"}},
	{"exponential_decay_length_penalty", nil}, {"sequence_bias", nil}, {"force_words_ids", nil}, {"constraints", nil},
}

// Configure returns the options with what a generation_config.json says instead, for prompts of so many tokens, on which the
// lengths depend: a text that is told from a source has a prompt of one, the start token. ignored names keys that are set and that
// graft does not follow.
func (o Options) Configure(b []byte, prompt int) (with Options, ignored []string, err error) {
	var f file
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &f); err != nil {
		return o, nil, fmt.Errorf("generate: generation_config.json: %w", err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return o, nil, fmt.Errorf("generate: generation_config.json: %w", err)
	}
	for _, u := range unread {
		if v, ok := all[u.key]; ok && string(v) != "null" && !slices.Contains(u.none, string(v)) {
			ignored = append(ignored, u.key)
		}
	}
	return f.apply(o, prompt), ignored, nil
}

// apply puts what the file says over the options.
func (f *file) apply(o Options, prompt int) Options {
	for _, x := range []struct {
		from *int
		to   *int
		less int
	}{{f.MaxLength, &o.MaxNewTokens, prompt}, {f.MaxNewTokens, &o.MaxNewTokens, 0}, {f.MinLength, &o.MinNewTokens, prompt}, {f.MinNewTokens, &o.MinNewTokens, 0},
		{f.TopK, &o.TopK, 0}, {f.NoRepeatNgram, &o.NoRepeatNgram, 0}, {f.NumBeams, &o.NumBeams, 0}} {
		if x.from != nil {
			*x.to = max(*x.from-x.less, 0)
		}
	}
	for _, x := range []struct{ from, to *float64 }{{f.Temperature, &o.Temperature}, {f.TopP, &o.TopP}, {f.MinP, &o.MinP},
		{f.RepetitionPenalty, &o.RepetitionPenalty}, {f.LengthPenalty, &o.LengthPenalty}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	switch {
	case f.DoSample != nil && !*f.DoSample:
		o.Temperature = 0
	case f.DoSample != nil && f.Temperature == nil:
		o.Temperature = 1
	}
	for _, x := range []struct {
		from ids
		to   **int32
	}{{f.ForcedBOS, &o.ForcedBOS}, {f.ForcedEOS, &o.ForcedEOS}} {
		if len(x.from) > 0 {
			*x.to = &x.from[0]
		}
	}
	if f.EOS != nil {
		o.EOS = f.EOS
	}
	if f.BadWords != nil {
		o.BadWords = f.BadWords
	}
	if s := string(f.EarlyStopping); s != "" && s != "null" {
		o.EarlyStopping, o.Patient = s == "true", s == `"never"`
	}
	return o
}
