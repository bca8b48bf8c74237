package prefix_test

import (
	"bytes"
	"testing"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/prefix"
)

var methods = []peft.Method{prefix.PrefixTuning, prefix.PromptTuning, prefix.PTuning, prefix.AdaptionPrompt}

// FuzzParse decodes hostile settings: no panic, and what is accepted is written so that it reads back the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "token_dim": 24, "prefix_projection": true, "init_weights": "zero"}`,
		`{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": -1, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": null}`,
		`{"peft_type": "P_TUNING", "num_virtual_tokens": 1e3, "encoder_dropout": 0.5, "encoder_num_layers": 99999999999}`,
		`{"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": "2", "target_modules": ["self_attn"]}`,
	} {
		f.Add([]byte(s))
		for i := range len(s) {
			f.Add([]byte(s[:i]))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := peft.ParseConfig(b, methods)
		if err != nil || c.Validate() != nil {
			return
		}
		first, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		d, err := peft.ParseConfig(first, methods)
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if second, err := d.JSON(); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s\nread and written again is (%v)\n%s", first, err, second)
		}
	})
}
