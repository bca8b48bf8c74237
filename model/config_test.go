package model_test

import (
	"strings"
	"testing"

	"github.com/graft-ml/graft/model"
)

// TestConfigErrors checks that what is wrong is told in the file's own words.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"an alias", `{"model_type": "gpt2", "n_embd": 0}`, "n_embd is 0, want 1 to"},
		{"an alias that the file leaves out", `{"model_type": "gpt2", "n_positions": -1, "hidden_size": 5}`, "hidden_size 5 is not a multiple of n_head 12"},
		{"the field itself instead of the alias", `{"model_type": "gpt2", "hidden_size": 0}`, "hidden_size is 0"},
		{"a kind", `{"model_type": "opt", "ffn_dim": "wide"}`, "ffn_dim is a string"},
		{"a kind of a family's own field", `{"model_type": "falcon", "alibi": 3}`, "alibi is a number"},
		{"an activation", `{"model_type": "bloom", "hidden_act": "mish"}`, `hidden_act is "mish", want one of gelu,`},
		{"eps by its alias", `{"model_type": "starcoder2", "norm_epsilon": 0}`, "norm_epsilon is 0"},
		{"rotary positions of an odd number", `{"model_type": "gptj", "rotary_dim": 3}`, "turn 3 of the 256 numbers"},
		{"rotary positions wider than a head", `{"model_type": "gptj", "rotary_dim": 512}`, "turn 512 of the 256 numbers"},
		{"too many experts", `{"model_type": "mixtral", "num_experts_per_tok": 9}`, "num_experts_per_tok is 9, want 1 to num_local_experts 8"},
		{"no multiplier", `{"model_type": "granite", "logits_scaling": 0}`, "logits_scaling is 0, want above 0"},
		{"layers without an entry", `{"model_type": "smollm3", "no_rope_layers": [1]}`, "no_rope_layers has 1 entries"},
		{"a foreign kind of layer", `{"model_type": "gpt_neo", "num_layers": 1, "attention_layers": ["near"]}`, `attention_layers has "near" at 0, want global or local`},
		{"runs of layers", `{"model_type": "gpt_neo", "attention_types": [[["global"], 1000000000]]}`, "attention_types has"},
		{"runs that are too few", `{"model_type": "gpt_neo", "attention_types": [[["global"], 3]]}`, "attention_layers has 3 entries, num_layers is 24"},
		{"factors of longrope", `{"model_type": "phi3", "rope_scaling": {"type": "su", "short_factor": [1], "long_factor": [1]}}`, "short_factor has 1 numbers, want 48"},
		{"an encoder without layers", `{"model_type": "t5", "num_layers": 0}`, "num_layers is 0, want 1 to"},
		{"a decoder of its own depth", `{"model_type": "t5", "num_decoder_layers": -1}`, "num_decoder_layers is -1, want 1 to"},
		{"odd buckets", `{"model_type": "mt5", "relative_attention_num_buckets": 31}`, "relative_attention_num_buckets is 31, want an even number"},
		{"buckets without distances", `{"model_type": "t5", "relative_attention_max_distance": 16}`, "relative_attention_max_distance is 16, want more than half of 32"},
		{"a gate of no known kind", `{"model_type": "t5", "feed_forward_proj": "gated-mish"}`, `feed_forward_proj is "mish"`},
		{"an encoder's heads", `{"model_type": "bart", "encoder_attention_heads": 7}`, "d_model 1024 is not a multiple of encoder_attention_heads 7"},
		{"two vocabularies", `{"model_type": "marian", "share_encoder_decoder_embeddings": false}`, "want one embedding of both stacks"},
		{"a start beyond the vocabulary", `{"model_type": "bart", "decoder_start_token_id": 50265}`, "decoder_start_token_id is null or beyond the vocabulary"},
		{"both ways", `{"model_type": "gemma3_text", "use_bidirectional_attention": true}`, "use_bidirectional_attention is true"},
	} {
		if _, err := model.ParseConfig([]byte(c.config)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseConfig(%s): %v, want %s", c.name, c.config, err, c.want)
		}
	}
}

// TestConfigDefaults checks that a file that says nothing but its type is a model.
func TestConfigDefaults(t *testing.T) {
	for _, a := range model.Architectures {
		if _, err := model.ParseConfig([]byte(`{"model_type": "` + a.ModelType + `"}`)); err != nil {
			t.Errorf("%s: %v", a.ModelType, err)
		}
	}
}

// TestNoCaps has null switch off what Gemma 2 has by default.
func TestNoCaps(t *testing.T) {
	for config, want := range map[string][2]float64{
		`{"model_type": "gemma2"}`: {50, 30},
		`{"model_type": "gemma2", "attn_logit_softcapping": null, "final_logit_softcapping": null}`: {0, 0},
		`{"model_type": "gemma2", "attn_logit_softcapping": 20.5}`:                                  {20.5, 30},
	} {
		c, err := model.ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		a, err := model.Lookup(c.ModelType)
		if err != nil {
			t.Fatal(err)
		}
		if s := a.Spec(c); s.Block.Attention.SoftCap != want[0] || s.LogitsCap != want[1] {
			t.Errorf("%s: caps %g and %g, want %g", config, s.Block.Attention.SoftCap, s.LogitsCap, want)
		}
	}
}

// FuzzParseConfig checks that no config.json does harm: it is refused, or describes blocks that can be built.
func FuzzParseConfig(f *testing.F) {
	for _, a := range model.Architectures {
		f.Add([]byte(`{"model_type": "` + a.ModelType + `", "num_hidden_layers": 2, "rope_scaling": {"type": "dynamic", "factor": 2}}`))
		f.Add([]byte(`{"model_type": "` + a.ModelType + `", "n_layer": 2, "layer_types": ["full_attention", "sliding_attention"]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := model.ParseConfig(b)
		if err != nil {
			return
		}
		a, err := model.Lookup(c.ModelType)
		if err != nil {
			t.Fatal(err)
		}
		s := a.Spec(c)
		for i := range min(c.NumHiddenLayers, 100) {
			if block := s.Block; s.Layer != nil {
				s.Layer(i, &block)
			}
		}
		if d := s.Block.Attention.Distances; d != nil {
			for _, at := range []int{-1 << 40, -100, 0, 1, 1 << 40} {
				if row := d.Row(at); row < 0 || row >= d.Rows {
					t.Errorf("distance %d has row %d of %d", at, row, d.Rows)
				}
			}
		}
	})
}
