package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Config is a model's config.json: Hugging Face's names, of which graft reads these. Fields that the file leaves out have the
// default of its model_type.
type Config struct {
	ModelType             string          `json:"model_type"`
	Architectures         []string        `json:"architectures"`
	HiddenSize            int             `json:"hidden_size"`
	IntermediateSize      int             `json:"intermediate_size"`
	NumHiddenLayers       int             `json:"num_hidden_layers"`
	NumAttentionHeads     int             `json:"num_attention_heads"`
	NumKeyValueHeads      int             `json:"num_key_value_heads"`
	HeadDim               int             `json:"head_dim"`
	VocabSize             int             `json:"vocab_size"`
	MaxPositionEmbeddings int             `json:"max_position_embeddings"`
	HiddenAct             string          `json:"hidden_act"`
	RMSNormEps            float64         `json:"rms_norm_eps"`
	InitializerRange      float64         `json:"initializer_range"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	AttentionBias         bool            `json:"attention_bias"`
	MLPBias               bool            `json:"mlp_bias"`
	SlidingWindow         *int            `json:"sliding_window"`
	UseSlidingWindow      *bool           `json:"use_sliding_window"`
	MaxWindowLayers       int             `json:"max_window_layers"`
	LayerTypes            []string        `json:"layer_types"`
	RopeTheta             float64         `json:"rope_theta"`
	RopeScaling           *RopeParameters `json:"rope_scaling"`    // transformers 4
	RopeParameters        *RopeParameters `json:"rope_parameters"` // transformers 5, with rope_theta inside
	BOSTokenID            TokenIDs        `json:"bos_token_id"`
	EOSTokenID            TokenIDs        `json:"eos_token_id"`
}

// TokenIDs is a token id, a list of them, or null.
type TokenIDs []int32

// UnmarshalJSON implements json.Unmarshaler.
func (t *TokenIDs) UnmarshalJSON(b []byte) error {
	var one int32
	if string(b) == "null" {
		*t = nil
		return nil
	}
	if json.Unmarshal(b, &one) == nil {
		*t = TokenIDs{one}
		return nil
	}
	return json.Unmarshal(b, (*[]int32)(t))
}

// ParseConfig decodes config.json and checks it: all that is wrong is in the error, by its JSON key.
func ParseConfig(b []byte) (*Config, error) {
	var head struct {
		ModelType *string `json:"model_type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("model: config.json: %s", jsonProblem(err))
	}
	if head.ModelType == nil {
		return nil, errors.New("model: config.json: model_type is missing")
	}
	arch, err := Lookup(*head.ModelType)
	if err != nil {
		return nil, fmt.Errorf("model: config.json: %w", err)
	}
	c := arch.Defaults()
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("model: config.json: %s", jsonProblem(err))
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
		if c.HiddenSize%c.NumAttentionHeads != 0 {
			return nil, fmt.Errorf("model: config.json: hidden_size %d is not a multiple of num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads)
		}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

// jsonProblem says what is wrong in the words of the file rather than of Go.
func jsonProblem(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		want, ok := kinds[kind.Type.Kind()]
		if !ok {
			want = "an object"
		}
		return fmt.Sprintf("%s is %s, want %s", kind.Field, kindsOfJSON(kind.Value), want)
	}
	return err.Error()
}

// kinds are Go's kinds of values in the words of JSON.
var kinds = map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list",
	reflect.Int: "a whole number", reflect.Int32: "a whole number", reflect.Float64: "a number"}

// kindsOfJSON puts an article before the library's name of what it read, such as "number 1.5" or "array".
func kindsOfJSON(value string) string {
	switch {
	case value == "bool":
		return "true or false"
	case strings.HasPrefix(value, "number "):
		return strings.TrimPrefix(value, "number ")
	case strings.HasPrefix(value, "a") || strings.HasPrefix(value, "o"):
		return "an " + value
	}
	return "a " + value
}

// Bounds of sizes. The first keeps products of two from overflowing, the other the tables of rotary positions small.
const (
	limit     = 1 << 28
	headLimit = 1 << 16
)

// Validate reports every field that no model can have.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("model: config.json: "+format, args...))
	}
	for _, f := range []struct {
		key   string
		value int
		most  int
	}{{"hidden_size", c.HiddenSize, limit}, {"intermediate_size", c.IntermediateSize, limit}, {"num_hidden_layers", c.NumHiddenLayers, limit},
		{"num_attention_heads", c.NumAttentionHeads, limit}, {"num_key_value_heads", c.NumKeyValueHeads, limit}, {"head_dim", c.HeadDim, headLimit},
		{"vocab_size", c.VocabSize, limit}, {"max_position_embeddings", c.MaxPositionEmbeddings, limit}} {
		if f.value < 1 || f.value > f.most {
			bad("%s is %d, want 1 to %d", f.key, f.value, f.most)
		}
	}
	if c.NumKeyValueHeads > 0 && c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		bad("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if c.HeadDim%2 != 0 {
		bad("head_dim %d is odd, want an even number for rotary positions", c.HeadDim)
	}
	if !(c.RMSNormEps > 0) {
		bad("rms_norm_eps is %g, want above 0", c.RMSNormEps)
	}
	if _, ok := activations[c.HiddenAct]; !ok {
		bad("hidden_act is %q, want one of silu, swish", c.HiddenAct)
	}
	if len(c.LayerTypes) > 0 && len(c.LayerTypes) != c.NumHiddenLayers {
		bad("layer_types has %d entries, num_hidden_layers is %d", len(c.LayerTypes), c.NumHiddenLayers)
	}
	for i, t := range c.LayerTypes {
		if t != "full_attention" && t != "sliding_attention" {
			bad("layer_types[%d] is %q, want full_attention or sliding_attention", i, t)
		}
	}
	if c.SlidingWindow != nil && *c.SlidingWindow < 1 {
		bad("sliding_window is %d, want at least 1 or null", *c.SlidingWindow)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := c.rope()
	return err
}
