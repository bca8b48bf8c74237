package prefix

import (
	"errors"
	"fmt"
	"math"

	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// Count is a number that PEFT writes as null until the model says it; 0 is null.
type Count int

// Value is the JSON value.
func (c *Count) Value() any {
	if *c == 0 {
		return nil
	}
	return int(*c)
}

// maxCount keeps hostile settings from overflowing products.
const maxCount = 1 << 20

// Virtual are the settings that all methods of virtual tokens have. What is 0 is taken from the model, as PEFT does.
type Virtual struct {
	peft.Common
	NumVirtualTokens Count    // num_virtual_tokens, of one text
	TokenDim         Count    // token_dim: of an input embedding, or of one key
	NumLayers        Count    // num_layers
	NumHeads         Count    // num_attention_heads
	NumSubmodules    Count    // num_transformer_submodules: 2 for encoder-decoders, else 1
	ModulesToSave    []string // modules_to_save

	record peft.Record
}

// Shared implements peft.Config.
func (c *Virtual) Shared() *peft.Common { return &c.Common }

// Forget makes the settings such as came from no file.
func (c *Virtual) Forget() { c.record.Forget() }

// with lists what is common, and more.
func (c *Virtual) with(more ...peft.Setting) []peft.Setting {
	return append([]peft.Setting{
		{Key: "num_virtual_tokens", To: &c.NumVirtualTokens, Want: "a whole number"},
		{Key: "token_dim", To: &c.TokenDim, Want: "a whole number"},
		{Key: "num_layers", To: &c.NumLayers, Want: "a whole number"},
		{Key: "num_attention_heads", To: &c.NumHeads, Want: "a whole number"},
		{Key: "num_transformer_submodules", To: &c.NumSubmodules, Want: "a whole number"},
		{Key: "modules_to_save", To: &c.ModulesToSave},
		{Key: "base_model_name_or_path", To: &c.BaseModel},
		{Key: "task_type", To: &c.TaskType},
	}, more...)
}

// withVirtual adds the common keys to PEFT's defaults of a method.
func withVirtual(o peft.Object) peft.Object {
	for _, key := range []string{"num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules", "modules_to_save"} {
		o[key] = nil
	}
	return o
}

// parse decodes adapter_config.json of a type.
func (c *Virtual) parse(b []byte, kind string, defaults peft.Object, settings []peft.Setting) error {
	return parse(b, &c.Common, &c.record, kind, defaults, settings)
}

func parse(b []byte, c *peft.Common, r *peft.Record, kind string, defaults peft.Object, settings []peft.Setting) error {
	record, unknown, err := peft.ReadSettings(b, kind, defaults, settings)
	for _, key := range unknown {
		c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
	}
	*r = record
	return err
}

// validate reports settings that cannot be, with the method's own problems.
func (c *Virtual) validate(errs ...error) error {
	counts := map[string]Count{"num_virtual_tokens": c.NumVirtualTokens, "token_dim": c.TokenDim, "num_layers": c.NumLayers}
	for _, key := range []string{"num_virtual_tokens", "token_dim", "num_layers"} {
		n, least := counts[key], 0
		if key == "num_virtual_tokens" {
			least = 1
		}
		errs = append(errs, within(key, int(n), least))
	}
	return errors.Join(errs...)
}

// within reports a number below least or too large for any use.
func within(key string, n, least int) error {
	if n < least || n > maxCount {
		return fmt.Errorf("prefix: %s is %d, want %d to %d", key, n, least, maxCount)
	}
	return nil
}

// rate reports a share that is none.
func rate(key string, f float64) error {
	if !(f >= 0 && f < 1) || math.IsNaN(f) {
		return fmt.Errorf("prefix: %s is %g, want 0 or more and less than 1", key, f)
	}
	return nil
}

// rows is how many virtual tokens a table of input embeddings has. PEFT's has as many for a decoder that reads a source as for its
// encoder, and never uses them.
func (c *Virtual) rows() int { return int(c.NumVirtualTokens) * int(c.NumSubmodules) }

// fit takes from the model what is not set, and reports what differs. dim is the width of a token in one layer, heads its heads.
func (c *Virtual) fit(s layer.PromptShape, dim, heads int) error {
	var errs []error
	must := func(key string, to *Count, want int, counts bool) {
		if *to == 0 {
			*to = Count(want)
		}
		if counts && int(*to) != want {
			errs = append(errs, fmt.Errorf("prefix: %s is %d, the model has %d", key, *to, want))
		}
	}
	must("token_dim", &c.TokenDim, dim, true)
	// Of two stacks PEFT names the encoder's, which is right for a prefix only where the decoder has as many; then the shape of the
	// prefix tells.
	must("num_layers", &c.NumLayers, s.Layers, s.Stacks == 1 && heads == s.KeyValueHeads && dim == s.KeyValueHeads*s.HeadDim)
	must("num_attention_heads", &c.NumHeads, heads, false)
	must("num_transformer_submodules", &c.NumSubmodules, s.Stacks, true)
	if int(c.NumVirtualTokens) >= s.MaxPositions {
		errs = append(errs, fmt.Errorf("prefix: num_virtual_tokens is %d, want less than max_position_embeddings %d", c.NumVirtualTokens, s.MaxPositions))
	}
	return errors.Join(errs...)
}

// beside trains what modules_to_save names.
func (c *Virtual) beside(m layer.Model) (*peft.Companions, error) {
	return peft.Beside{ModulesToSave: c.ModulesToSave}.Attach(m, nil, &c.Common)
}
