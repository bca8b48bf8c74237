package prefix

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// PromptTuning trains the input embeddings of virtual tokens [lester2021].
//
//	E [n, C]
var PromptTuning = peft.Method{Type: "PROMPT_TUNING", Name: "prompt_tuning", New: func() peft.Config { return NewPrompt() }}

// Prompt holds the settings of prompt tuning: adapter_config.json.
type Prompt struct {
	Virtual
	Init          string // prompt_tuning_init: a name of the table of starts
	Text          string // prompt_tuning_init_text
	TokenizerName string // tokenizer_name_or_path, which PEFT demands with TEXT
	// TextTokens are the tokens of Text by the model's tokenizer. Attach needs them for a start with TEXT.
	TextTokens []int32
}

// NewPrompt returns PEFT's defaults.
func NewPrompt() *Prompt { return &Prompt{Init: "RANDOM"} }

// starts are the initial values of virtual token i: which row of the input embeddings; nil = none, N(0, 1) instead.
var starts = []struct {
	name string
	row  func(c *Prompt, rng *rand.Rand, vocab, i int) int
}{
	{"RANDOM", nil},
	{"TEXT", func(c *Prompt, _ *rand.Rand, _, i int) int { return int(c.TextTokens[i%len(c.TextTokens)]) }},
	{"SAMPLE_VOCAB", func(_ *Prompt, rng *rand.Rand, vocab, _ int) int { return rng.IntN(vocab) }},
}

func promptDefaults() peft.Object {
	return withVirtual(peft.Object{"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": nil, "tokenizer_kwargs": nil, "tokenizer_name_or_path": nil})
}

// Settings lists the keys of adapter_config.json that count.
func (c *Prompt) Settings() []peft.Setting {
	return c.Virtual.with(
		peft.Setting{Key: "prompt_tuning_init", To: &c.Init},
		peft.Setting{Key: "prompt_tuning_init_text", To: &c.Text},
		peft.Setting{Key: "tokenizer_name_or_path", To: &c.TokenizerName})
}

// Parse implements peft.Config.
func (c *Prompt) Parse(b []byte) error {
	return c.parse(b, PromptTuning.Type, promptDefaults(), c.Settings())
}

// JSON implements peft.Config.
func (c *Prompt) JSON() ([]byte, error) {
	return c.record.JSON(PromptTuning.Type, promptDefaults(), c.Settings())
}

// Validate implements peft.Config.
func (c *Prompt) Validate() error {
	var names []string
	var errs []error
	for _, s := range starts {
		names = append(names, s.name)
	}
	if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+c.Init+" ") {
		errs = append(errs, fmt.Errorf("prefix: prompt_tuning_init is %q, want one of %s", c.Init, strings.Join(names, ", ")))
	}
	if c.Init == "TEXT" && c.Text == "" {
		errs = append(errs, fmt.Errorf("prefix: prompt_tuning_init is \"TEXT\" without prompt_tuning_init_text"))
	}
	return c.validate(errs...)
}

// Attach implements peft.Config.
func (c *Prompt) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	x, err := prompted(m)
	if err != nil {
		return nil, err
	}
	s := x.PromptShape()
	if err := c.fit(s, s.EmbedDim, s.Heads); err != nil {
		return nil, err
	}
	tokens, err := c.start(x, rng)
	if err != nil {
		return nil, err
	}
	saved, err := c.beside(m)
	if err != nil {
		return nil, err
	}
	return (&Adapter{model: x, tokens: int(c.NumVirtualTokens), saved: saved, encoder: plain{op.NewParam(tokens, c.rows(), s.EmbedDim)}}).attach(), nil
}

// start gives the initial values. Settings of a file have them in it.
func (c *Prompt) start(m layer.Prompted, rng *rand.Rand) ([]float32, error) {
	s, n := m.PromptShape(), c.rows()
	for _, x := range starts {
		if x.name != c.Init || x.row == nil || c.FromFile {
			continue
		}
		if c.Init == "TEXT" && len(c.TextTokens) == 0 {
			return nil, fmt.Errorf("prefix: prompt_tuning_init_text %.60q has no tokens, want at least one", c.Text)
		}
		v := make([]float32, n*s.EmbedDim)
		for i := range n {
			id := x.row(c, rng, s.VocabSize, i)
			if id < 0 || id >= s.VocabSize {
				return nil, fmt.Errorf("prefix: token %d of prompt_tuning_init_text, want 0 to vocab_size %d - 1", id, s.VocabSize)
			}
			m.InputEmbedding(v[i*s.EmbedDim:(i+1)*s.EmbedDim], id)
		}
		return v, nil
	}
	return normal(rng, n*s.EmbedDim), nil
}
