package adapter

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// TrainableTokens trains the embeddings of single tokens, and of a head that shares them.
var TrainableTokens = peft.Method{Type: "TRAINABLE_TOKENS", Name: "trainable_tokens", New: func() peft.Config { return &TokensConfig{TokenIndices: []int{}, init: true} }}

var tokenDefaults = peft.Object{"init_weights": true, "target_modules": nil, "token_indices": []any{}}

// TokensConfig holds the settings of TRAINABLE_TOKENS: adapter_config.json.
type TokensConfig struct {
	peft.Common
	TargetModules peft.Names // ends of names of embeddings; null is the input embedding
	TokenIndices  []int      // token_indices
	init          bool
	peft.Record   // what adapter_config.json said
}

// Settings are the keys of the method.
func (c *TokensConfig) Settings() []peft.Setting {
	return []peft.Setting{{Key: "target_modules", To: &c.TargetModules}, {Key: "token_indices", To: &c.TokenIndices}, {Key: "init_weights", To: &c.init},
		{Key: "base_model_name_or_path", To: &c.BaseModel}, {Key: "task_type", To: &c.TaskType}}
}

// Shared implements peft.Config.
func (c *TokensConfig) Shared() *peft.Common { return &c.Common }

// Parse implements peft.Config.
func (c *TokensConfig) Parse(b []byte) error {
	record, unknown, err := peft.ReadSettings(b, "TRAINABLE_TOKENS", tokenDefaults, c.Settings())
	for _, key := range unknown {
		c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
	}
	c.Record = record
	return err
}

// JSON implements peft.Config.
func (c *TokensConfig) JSON() ([]byte, error) {
	return c.Record.JSON("TRAINABLE_TOKENS", tokenDefaults, c.Settings())
}

// Validate implements peft.Config.
func (c *TokensConfig) Validate() error {
	if len(c.TokenIndices) == 0 {
		return errors.New("trainable_tokens: token_indices is empty, want ids of tokens")
	}
	if p := c.TargetModules.Pattern; strings.ContainsAny(p, `*+?()[]{}|^$\\`) {
		return fmt.Errorf("trainable_tokens: target_modules is the pattern %q, want a name or a list of names", p)
	}
	return c.beside().Validate("")
}

// beside says the same in the words of other methods.
func (c *TokensConfig) beside() peft.Beside {
	if c.TargetModules.IsNull() {
		return peft.Beside{TokenIndices: peft.TokenIndices{List: c.TokenIndices}}
	}
	by := map[string][]int{}
	names := c.TargetModules.List
	if c.TargetModules.Pattern != "" {
		names = []string{c.TargetModules.Pattern}
	}
	for _, name := range names {
		by[name] = c.TokenIndices
	}
	return peft.Beside{TokenIndices: peft.TokenIndices{ByModule: by}}
}

// Attach implements peft.Config.
func (c *TokensConfig) Attach(m layer.Model, _ *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a, err := c.beside().Attach(m, nil, &c.Common)
	if err != nil {
		return nil, err
	}
	if c.TargetModules.IsNull() {
		for s := range m.Slots() {
			c.TargetModules = peft.Names{List: []string{s.Name[strings.LastIndexByte(s.Name, '.')+1:]}} // as PEFT stores it
			break
		}
	}
	return &tokensAdapter{a}, nil
}

// tokensAdapter is TRAINABLE_TOKENS attached to a model.
type tokensAdapter struct{ *peft.Companions }

// Params implements peft.Adapter: alone, the method has no name of its own in the file.
func (a *tokensAdapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for name, p := range a.Companions.Params() {
			if !yield(strings.Replace(name, ".token_adapter.", ".", 1), p) {
				return
			}
		}
	}
}

// Deltas implements peft.Merger.
func (a *tokensAdapter) Deltas() []merge.Delta { return a.Companions.Deltas() }

// Extras implements peft.Extended: a head that shares the rows has them in the file, too.
func (a *tokensAdapter) Extras() []peft.Extra { return a.TiedTokens() }

// Idle implements peft.Idler.
func (a *tokensAdapter) Idle() string {
	if a.Companions.Idle() {
		return "every row is the base's"
	}
	return ""
}
