package generate

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model/modeltest"
)

func TestConfigure(t *testing.T) {
	base := Options{MaxNewTokens: 20, LengthPenalty: 1, Seed: 7}
	zero, two := int32(0), int32(2)
	for _, c := range []struct {
		says, json string
		want       Options
		ignored    []string
	}{
		{"nothing", `{}`, base, nil},
		{"nulls", `{"num_beams": null, "early_stopping": null, "forced_bos_token_id": null, "bad_words_ids": null, "suppress_tokens": null}`, base, nil},
		{"of a summariser", `{"bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": true, "eos_token_id": 2, "forced_bos_token_id": 0, "forced_eos_token_id": 2,
			"length_penalty": 2.0, "max_length": 142, "min_length": 56, "no_repeat_ngram_size": 3, "num_beams": 4}`,
			Options{MaxNewTokens: 141, MinNewTokens: 55, EarlyStopping: true, EOS: []int32{2}, ForcedBOS: &zero, ForcedEOS: &two, LengthPenalty: 2, NoRepeatNgram: 3, NumBeams: 4, Seed: 7}, nil},
		{"of a translator", `{"bad_words_ids": [[58100]], "eos_token_id": [0], "forced_eos_token_id": [2, 3], "max_length": 512, "max_new_tokens": 8, "num_beams": 6, "early_stopping": "never"}`,
			Options{MaxNewTokens: 8, BadWords: [][]int32{{58100}}, EOS: []int32{0}, ForcedEOS: &two, LengthPenalty: 1, NumBeams: 6, Patient: true, Seed: 7}, nil},
		{"sampling", `{"do_sample": true, "top_p": 0.9, "top_k": 50, "typical_p": 0.5, "diversity_penalty": 0.0}`,
			Options{MaxNewTokens: 20, LengthPenalty: 1, Temperature: 1, TopP: 0.9, TopK: 50, Seed: 7}, []string{"typical_p"}},
		{"not sampling", `{"do_sample": false, "temperature": 0.6}`, base, nil},
	} {
		got, ignored, err := base.Configure([]byte(c.json), 1)
		if err != nil || !reflect.DeepEqual(got, c.want) || !slices.Equal(ignored, c.ignored) {
			t.Errorf("%s: %+v, %q, %v, want %+v, %q", c.says, got, ignored, err, c.want, c.ignored)
		}
	}
	for _, bad := range []string{`{`, `[]`, `{"num_beams": "four"}`, `{"eos_token_id": "</s>"}`} {
		if _, _, err := base.Configure([]byte(bad), 1); err == nil || !strings.Contains(err.Error(), "generation_config.json") {
			t.Errorf("Configure(%s): %v, want an error that names the file", bad, err)
		}
	}
}

func FuzzConfigure(f *testing.F) {
	f.Add([]byte(`{"eos_token_id": [0, null], "bad_words_ids": [[]], "early_stopping": "never", "max_length": -3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, _, err := (Options{MaxNewTokens: 1}).Configure(b, 1); err == nil {
			o.Validate()
		}
	})
}

// TestForced generates with tokens that must or must not come, greedily and by beams.
func TestForced(t *testing.T) {
	first, last := int32(9), int32(2)
	for _, beams := range []int{1, 3} {
		o := Options{MaxNewTokens: 6, NumBeams: beams, LengthPenalty: 1}
		run := func(o Options) []int32 {
			t.Helper()
			out, err := Tokens(context.Background(), newToy(11, 4), prompts[:1], o, nil)
			if err != nil {
				t.Fatal(err)
			}
			return out[0]
		}
		free := run(o)
		o.ForcedBOS, o.ForcedEOS = &first, &last
		if got := run(o); len(got) != 6 || got[0] != first || got[5] != last {
			t.Errorf("%d beams: %v, want first %d and last %d of 6", beams, got, first, last)
		}
		o.ForcedBOS, o.ForcedEOS, o.EOS = nil, nil, []int32{free[0], free[1]}
		if got := run(o); len(got) == 6 && beams == 1 {
			t.Errorf("%v does not end although %v end a text", got, o.EOS)
		}
		o.MinNewTokens = 4
		if got := run(o); len(got) < 5 || slices.ContainsFunc(got[:4], func(id int32) bool { return slices.Contains(o.EOS, id) }) {
			t.Errorf("%d beams: %v, want no end before 4 tokens", beams, got)
		}
		o.EOS, o.MinNewTokens, o.BadWords = nil, 0, [][]int32{{free[2]}, {free[0], free[1]}}
		if got := run(o); slices.Contains(got, free[2]) || got[0] == free[0] && got[1] == free[1] {
			t.Errorf("%d beams: %v has one of %v", beams, got, o.BadWords)
		}
	}
}

// TestSources tells more sources than one batch holds, each as it would be told alone, sampled ones by their index.
func TestSources(t *testing.T) {
	i := slices.IndexFunc(modeltest.Tiny, func(c modeltest.Config) bool { return c.Name == "bart" })
	m := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[i]))
	rng := rand.New(rand.NewPCG(1, 2))
	var sources [][]int32
	for i := range batchSources + 3 {
		ids := make([]int32, 1+i%5)
		for j := range ids {
			ids[j] = int32(rng.IntN(m.Config.VocabSize))
		}
		sources = append(sources, ids)
	}
	start := *m.Config.DecoderStartTokenID
	for _, o := range []Options{{MaxNewTokens: 3}, {MaxNewTokens: 3, Temperature: 1, Seed: 5}, {MaxNewTokens: 3, NumBeams: 2, LengthPenalty: 1}} {
		told, last := map[int]int{}, int32(0)
		got, err := Sources(t.Context(), m.Model, kernel.ModeF32, sources, start, o, func(i int, id int32) bool { told[i]++; last = id; return true })
		if err != nil || len(got) != len(sources) || len(told) != len(sources) {
			t.Fatalf("%d of %d sources, %d told, %v", len(got), len(sources), len(told), err)
		}
		for _, i := range []int{0, batchSources - 1, batchSources, len(sources) - 1} {
			one := o
			one.first = i
			s := begun(t, m.Model, sources[i:i+1])
			if alone := tokens(t, s, [][]int32{{start}}, one); !slices.Equal(alone[0], got[i]) {
				t.Errorf("%+v: source %d: %v, alone %v", o, i, got[i], alone[0])
			}
		}
		if end := got[len(got)-1]; end[len(end)-1] != last {
			t.Errorf("the last token told is %d, want %d", last, end[len(end)-1])
		}
	}
	for _, bad := range [][][]int32{{{}}, {{99}}, {{-1}}} {
		if _, err := Sources(t.Context(), m.Model, kernel.ModeF32, bad, start, Options{MaxNewTokens: 1}, nil); err == nil {
			t.Errorf("sources %v: no error", bad)
		}
	}
	if _, err := Tokens(t.Context(), NewSession(m.Model, kernel.ModeF32), [][]int32{{start}}, Options{MaxNewTokens: 1}, nil); err == nil || !strings.Contains(err.Error(), "bart reads a source") {
		t.Errorf("without a source: %v, want an error that says so", err)
	}
}
