package lora

import (
	"bytes"
	"testing"
)

// FuzzParse decodes hostile settings: no panic, and what is accepted is written so that it reads back the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"peft_type": "LORA"}`, `{"peft_type": "LORA", "trainable_token_indices": {"embed_tokens": [1, 2]}, "bias": "all"}`,
		`{"peft_type": "LORA", "trainable_token_indices": [3, -1], "modules_to_save": ["a", ""], "use_dora": true, "lora_bias": true}`,
		`{"peft_type": "LORA", "init_lora_weights": "pissa_niter_4", "rank_pattern": {"a": 2}, "lora_alpha": 8.5, "ensure_weight_tying": true}`} {
		f.Add([]byte(s))
		for i := range len(s) {
			f.Add([]byte(s[:i]))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New()
		c.FromFile = true
		if c.Parse(b) != nil || c.Validate() != nil {
			return
		}
		first, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		d := New()
		d.FromFile = true
		if err := d.Parse(first); err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if second, err := d.JSON(); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s\nread and written again is (%v)\n%s", first, err, second)
		}
	})
}
