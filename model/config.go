package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Config is a model's config.json: Hugging Face's names, of which graft reads these. Families that call a field otherwise
// say so in a table of aliases, and have fields of their own in Family. Fields that the file leaves out have the default of
// its model_type.
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
	NormEps               float64         `json:"rms_norm_eps"`
	InitializerRange      float64         `json:"initializer_range"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	AttentionBias         bool            `json:"attention_bias"`
	MLPBias               bool            `json:"mlp_bias"`
	SlidingWindow         *int            `json:"sliding_window"`
	UseSlidingWindow      *bool           `json:"use_sliding_window"`
	MaxWindowLayers       int             `json:"max_window_layers"`
	LayerTypes            []string        `json:"layer_types"`
	RopeTheta             float64         `json:"rope_theta"`
	PartialRotaryFactor   float64         `json:"partial_rotary_factor"` // transformers 4
	RopeScaling           *RopeParameters `json:"rope_scaling"`          // transformers 4
	RopeParameters        *RopeParameters `json:"rope_parameters"`       // transformers 5, with rope_theta inside
	BOSTokenID            TokenIDs        `json:"bos_token_id"`
	EOSTokenID            TokenIDs        `json:"eos_token_id"`

	// Of encoders and classifiers.
	TypeVocabSize int               `json:"type_vocab_size"`
	EmbeddingSize int               `json:"embedding_size"` // 0 = hidden_size
	ProblemType   string            `json:"problem_type"`   // of a sequence classifier: which loss it has
	ID2Label      map[string]string `json:"id2label"`
	NumLabels     *int              `json:"num_labels"`

	// Of models with two stacks; the sizes above are the decoder's.
	DecoderStartTokenID *int32 `json:"decoder_start_token_id"`
	PadTokenID          *int32 `json:"pad_token_id"`

	// Family points to the fields that only this model_type has; nil = none.
	Family any `json:"-"`

	spelling map[string]string // the file's word for a field, where it is another
}

// Alias says that a family's config.json has another word for a field. A field may have several.
type Alias struct{ Field, Word string }

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
	if err := c.decode(b, arch.Aliases); err != nil {
		return nil, err
	}
	if arch.Complete != nil {
		arch.Complete(&c)
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
		if c.HiddenSize%c.NumAttentionHeads != 0 {
			return nil, fmt.Errorf("model: config.json: %s %d is not a multiple of %s %d", c.key("hidden_size"), c.HiddenSize, c.key("num_attention_heads"), c.NumAttentionHeads)
		}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

// decode reads config.json over the defaults, with the family's words put into Config's.
func (c *Config) decode(b []byte, aliases []Alias) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return fmt.Errorf("model: config.json: %s", jsonProblem(err))
	}
	c.spelling = map[string]string{}
	for i := len(aliases) - 1; i >= 0; i-- { // what is first in the table counts most
		a := aliases[i]
		v, ok := fields[a.Word]
		_, own := fields[a.Field]
		if ok && !(own && string(v) == "null") {
			fields[a.Field] = v
			own = false
		}
		if !own {
			c.spelling[a.Field] = a.Word
		}
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("model: config.json: %w", err)
	}
	for _, to := range []any{c, c.Family} {
		if to == nil {
			continue
		}
		if err := json.Unmarshal(b, to); err != nil {
			return fmt.Errorf("model: config.json: %s", c.jsonProblem(err))
		}
	}
	return nil
}

// key is the file's word for a field.
func (c *Config) key(field string) string {
	if word, ok := c.spelling[field]; ok {
		return word
	}
	return field
}

// jsonProblem says what is wrong in the words of the file.
func (c *Config) jsonProblem(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		field, rest, nested := strings.Cut(kind.Field, ".")
		if kind.Field = c.key(field); nested {
			kind.Field += "." + rest
		}
	}
	return jsonProblem(err)
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
var kinds = map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list", reflect.Map: "an object",
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

// Bounds of sizes. The first keeps products of two from overflowing, the other the tables of heads and positions small.
const (
	limit     = 1 << 28
	headLimit = 1 << 16
)

// Validate reports every field that no model can have.
func (c *Config) Validate() error {
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return fmt.Errorf("model: config.json: %w", err)
	}
	errs := append(c.checkSizes(), c.checkLayers()...)
	if !(c.NormEps > 0) {
		errs = append(errs, c.bad("rms_norm_eps", "is %g, want above 0", c.NormEps))
	}
	if _, ok := activation(c.HiddenAct); !ok {
		var names []string
		for _, a := range activations {
			names = append(names, a.name)
		}
		errs = append(errs, c.bad("hidden_act", "is %q, want one of %s", c.HiddenAct, strings.Join(names, ", ")))
	}
	if arch.Check != nil {
		errs = append(errs, arch.Check(c)...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, r := range arch.Spec(c).Ropes {
		if _, err := r.build(c); err != nil {
			return err
		}
	}
	return nil
}

// bad is an error about a field.
func (c *Config) bad(field, format string, args ...any) error {
	return fmt.Errorf("model: config.json: %s "+format, append([]any{c.key(field)}, args...)...)
}

func (c *Config) checkSizes() (errs []error) {
	for _, f := range []struct {
		key         string
		value, most int
	}{{"hidden_size", c.HiddenSize, limit}, {"intermediate_size", c.IntermediateSize, limit}, {"num_hidden_layers", c.NumHiddenLayers, limit},
		{"num_attention_heads", c.NumAttentionHeads, headLimit}, {"num_key_value_heads", c.NumKeyValueHeads, headLimit}, {"head_dim", c.HeadDim, headLimit},
		{"vocab_size", c.VocabSize, limit}, {"max_position_embeddings", c.MaxPositionEmbeddings, limit}} {
		if f.value < 1 || f.value > f.most {
			errs = append(errs, c.bad(f.key, "is %d, want 1 to %d", f.value, f.most))
		}
	}
	for _, f := range []struct {
		key   string
		value int
	}{{"type_vocab_size", c.TypeVocabSize}, {"embedding_size", c.EmbeddingSize}, {"num_labels", c.Classes()}} {
		if f.value < 0 || f.value > limit || f.key == "num_labels" && f.value == 0 {
			errs = append(errs, c.bad(f.key, "is %d, want 1 to %d", f.value, limit))
		}
	}
	if c.NumKeyValueHeads > 0 && c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		errs = append(errs, c.bad("num_attention_heads", "%d is not a multiple of %s %d", c.NumAttentionHeads, c.key("num_key_value_heads"), c.NumKeyValueHeads))
	}
	return errs
}

func (c *Config) checkLayers() (errs []error) {
	if len(c.LayerTypes) > 0 && len(c.LayerTypes) != c.NumHiddenLayers {
		errs = append(errs, c.bad("layer_types", "has %d entries, %s is %d", len(c.LayerTypes), c.key("num_hidden_layers"), c.NumHiddenLayers))
	}
	for i, t := range c.LayerTypes {
		if t != "full_attention" && t != "sliding_attention" {
			errs = append(errs, fmt.Errorf("model: config.json: layer_types[%d] is %q, want full_attention or sliding_attention", i, t))
		}
	}
	if c.SlidingWindow != nil && *c.SlidingWindow < 1 {
		errs = append(errs, c.bad("sliding_window", "is %d, want at least 1 or null", *c.SlidingWindow))
	}
	return errs
}

// sliding says that a layer has a window by layer_types, which must have its entry.
func (c *Config) sliding(layer int) bool { return c.LayerTypes[layer] == "sliding_attention" }

// window is the sliding window, 0 if there is none.
func (c *Config) window() int {
	if c.SlidingWindow == nil {
		return 0
	}
	return *c.SlidingWindow
}
