package api

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
)

// job is a request for texts, whichever form it came in.
type job struct {
	chosen
	prompts  []prompt
	n        int // texts of each prompt
	options  generate.Options
	bias     map[int32]float32
	logprobs int // of each token; negative = none
	echo     bool
	stop     []string
	special  bool // special tokens are part of the text
	goesOn   bool // the text goes on with the prompt's, and is not a turn of its own
}

// prompt is what is continued.
type prompt struct {
	ids   []int32
	text  string  // "" where the request gave ids
	types []int32 // token_type_ids; nil = all 0
}

// maxTop is the most candidates that are told of a token.
const maxTop = 20

// sampling reads the fields that say how texts are continued, by the names of OpenAI and of vLLM.
func (s *Server) sampling(f *fields, j *job) {
	o := &j.options
	o.Temperature = f.number("temperature", 1, 0, 100)
	o.TopP = f.number("top_p", 1, 0, 1)
	o.TopK = max(f.whole("top_k", 0, -1, math.MaxInt32), 0)
	o.MinP = f.number("min_p", 0, 0, 1)
	o.RepetitionPenalty = f.number("repetition_penalty", 1, 1e-3, 1e3)
	o.MinNewTokens = f.whole("min_tokens", 0, 0, s.Limits.NewTokens)
	o.Seed = s.seed(f)
	o.EOS = slices.Clone(s.EOS)
	if f.flag("ignore_eos", false) {
		o.EOS = nil
	}
	o.EOS = append(o.EOS, s.tokenIDs(f, "stop_token_ids", s.Limits.StopStrings)...)
	j.n = f.whole("n", 1, 1, s.Limits.Choices)
	j.stop = s.stops(f, "stop")
	j.bias = s.biases(f)
	j.special = !f.flag("skip_special_tokens", true)
	f.only("presence_penalty", "not supported, want 0 or repetition_penalty", 0)
	f.only("frequency_penalty", "not supported, want 0 or repetition_penalty", 0)
	f.only("use_beam_search", "not supported, want false", false)
	f.only("best_of", "not supported, want it to be n", j.n)
	f.ignore("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "cache_prompt")
}

// seed is the request's, or one that nobody knows.
func (s *Server) seed(f *fields) uint64 {
	v, ok := f.take("seed")
	if !ok {
		return newSeed()
	}
	n, ok := integer(v)
	if !ok {
		f.wrong("seed", "%s, want a whole number", kindOf(v))
	}
	return uint64(n)
}

// stops are the texts that end an answer.
func (s *Server) stops(f *fields, field string) []string {
	list := f.texts(field, s.Limits.StopStrings)
	for i, w := range list {
		if w == "" || len(w) > maxStop {
			f.wrong(fmt.Sprintf("%s[%d]", field, i), "%d bytes, want 1 to %d", len(w), maxStop)
		}
	}
	return list
}

// maxStop is the longest stop string in bytes.
const maxStop = 256

// biases reads logit_bias: an object of token ids, or the lists of pairs that llama-server takes.
func (s *Server) biases(f *fields) map[int32]float32 {
	v, ok := f.take("logit_bias")
	if !ok {
		return nil
	}
	o, ok := v.(data.Object)
	if !ok {
		f.wrong("logit_bias", "%s, want an object of token ids", kindOf(v))
		return nil
	}
	if len(o) > maxBiases {
		f.wrong("logit_bias", "%d tokens, want at most %d", len(o), maxBiases)
		return nil
	}
	bias := make(map[int32]float32, len(o))
	for i := range o {
		at := "logit_bias." + shown(o[i].Name)
		id, err := strconv.Atoi(o[i].Name)
		if err != nil || !s.isToken(int64(id)) {
			f.wrong(at, "no token of the model, want 0 to %d", s.Tokenizer.VocabSize()-1)
			return nil
		}
		x, ok := numeric(o[i].Value)
		if !ok || !(math.Abs(x) <= 100) {
			f.wrong(at, "want a number from -100 to 100")
			return nil
		}
		bias[int32(id)] = float32(x)
	}
	return bias
}

// maxBiases is OpenAI's.
const maxBiases = 1024

func (s *Server) isToken(id int64) bool { return id >= 0 && id < int64(s.Tokenizer.VocabSize()) }

// tokenIDs is a list of token ids.
func (s *Server) tokenIDs(f *fields, field string, most int) []int32 {
	list := f.list(field)
	if len(list) > most {
		f.wrong(field, "%d tokens, want at most %d", len(list), most)
		return nil
	}
	ids, at := s.ids32(list)
	if at >= 0 {
		f.wrong(fmt.Sprintf("%s[%d]", field, at), "want a token id, 0 to %d", s.Tokenizer.VocabSize()-1)
	}
	return ids
}

// ids32 turns a list into token ids; at is the place of the first that is none, or -1.
func (s *Server) ids32(list []any) (ids []int32, at int) {
	ids = make([]int32, len(list))
	for i, v := range list {
		n, ok := v.(int64)
		if !ok || !s.isToken(n) {
			return nil, i
		}
		ids[i] = int32(n)
	}
	return ids, -1
}

// unasked is a number of tokens where a request says none.
const unasked = -1

// room settles how many tokens may be added, and refuses prompts that leave room for none.
func (s *Server) room(j *job, asked int) error {
	if choices := len(j.prompts) * j.n; choices > s.Limits.Choices {
		return refuse("n", "%d prompts with %d texts each, want at most %d texts", len(j.prompts), j.n, s.Limits.Choices)
	}
	longest := 0
	for i, p := range j.prompts {
		if len(p.ids) == 0 {
			return refuse("prompt", "prompt %d is empty, want at least one token", i)
		}
		longest = max(longest, len(p.ids))
	}
	left := s.MaxLen - longest
	want := asked
	if want == unasked {
		want = max(min(s.Limits.DefaultNew, left), 1)
	}
	if want > left {
		e := refuse("prompt", "the prompt has %d tokens and %d are to be added, the model's length is %d", longest, want, s.MaxLen)
		e.Code = "context_length_exceeded"
		return e
	}
	j.options.MaxNewTokens = want
	if j.options.MinNewTokens > want {
		return refuse("min_tokens", "min_tokens: is %d, want at most the %d tokens that are added", j.options.MinNewTokens, want)
	}
	return nil
}
