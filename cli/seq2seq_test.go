package cli

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
)

// tellers are small models that tell a text of a source, for the tokenizer of single letters, whose [SEP] ends texts.
var tellers = []struct{ name, config string }{
	{"t5", `{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 12, "d_kv": 4, "d_ff": 14, "num_layers": 1, "num_decoder_layers": 2, "num_heads": 3,
		"relative_attention_num_buckets": 6, "relative_attention_max_distance": 7, "vocab_size": 57, "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}`},
	{"bart", `{"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 12, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 3,
		"encoder_ffn_dim": 10, "decoder_ffn_dim": 14, "max_position_embeddings": 32, "vocab_size": 57, "init_std": 0.3, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}`},
	{"marian", `{"model_type": "marian", "architectures": ["MarianMTModel"], "d_model": 12, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 3, "decoder_attention_heads": 3,
		"encoder_ffn_dim": 10, "decoder_ffn_dim": 14, "activation_function": "swish", "scale_embedding": true, "max_position_embeddings": 32, "vocab_size": 57, "init_std": 0.3,
		"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}`},
}

const (
	// toldRows are words in English and German, written small.
	toldRows = `{"source": "the cat", "target": "die katze"}
{"source": "a dog", "target": "ein hund"}
{"source": "my day", "target": "mein tag"}
{"source": "", "target": "nichts"}
`
	toldLines = "target_modules = \"all-linear\"\n[eval]\nsamples = 1\nprompts = [\"a cat\"]\ngenerate = 2\n"
)

// newTellerWorld is newTaskWorld for texts told of sources; its tokenizer has an end.
func newTellerWorld(t *testing.T, config, lines string) {
	t.Helper()
	newTaskWorld(t, config, toldRows, "auto", lines)
	file("base/tokenizer_config.json", `{"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}`)(t)
	file("base/generation_config.json", `{"max_length": 5}`)(t)
}

// TestTellers has models that read sources checked, trained, resumed, evaluated, merged and asked; the merged model does as the run.
func TestTellers(t *testing.T) {
	for _, base := range tellers {
		t.Run(base.name, func(t *testing.T) {
			newTellerWorld(t, base.config, toldLines)
			if out := ok(t, "check", "r.toml").stdout; !strings.Contains(out, "task       seq2seq-lm") || !strings.Contains(out, "empty source") || !strings.Contains(out, "source") {
				t.Errorf("graft check says\n%s", out)
			}
			if out := ok(t, "train", "r.toml").stdout; !strings.Contains(out, "before") || !strings.Contains(out, "graft generate run") {
				t.Errorf("graft train says\n%s", out)
			}
			run := evaluated(t, "run")
			if len(run.Scores) == 0 || run.Scores[0].Name != "bleu" {
				t.Errorf("scores are %v, want bleu first", run.Scores)
			}
			resumed(t, false)
			ok(t, "merge", "run", "-o", "merged", "--dtype", "f32")
			merged := evaluated(t, "run", "--base-only", "--set", "model.path=merged")
			if d := math.Abs(run.Loss - merged.Loss); !(d <= 1e-5) { // a few rounded products
				t.Errorf("loss of the merged model %.7f, of the run %.7f", merged.Loss, run.Loss)
			}
			samePredictions(t, strings.Count(toldRows, "\n"), "line text")
			told := ok(t, "generate", "run", "-p", "the cat", "-p", "a dog", "-n", "4", "--json").stdout
			if got := ok(t, "generate", "merged", "-p", "the cat", "-p", "a dog", "-n", "4", "--json").stdout; got != told {
				t.Errorf("the merged model tells %s, the run %s", got, told)
			}
			one := ok(t, "generate", "run", "-p", "the cat", "-n", "4").stdout
			var list []sample
			if err := json.Unmarshal([]byte(told), &list); err != nil || len(list) != 2 || strings.TrimSpace(one) != strings.TrimSpace(list[0].Text) {
				t.Errorf("one source is told as %q, in a batch as %s (%v)", one, told, err)
			}
			ok(t, "generate", "run", "-p", "the cat", "-n", "4", "--num-beams", "3")
			for _, args := range [][]string{{"generate", "run", "-p", "x", "--no-bos"}, {"generate", "run", "-p", " "}} {
				if r := graft("", args...); r.code != exitUsage {
					t.Errorf("graft %s = %d, want %d: %s", strings.Join(args, " "), r.code, exitUsage, r.stderr)
				}
			}
			if r := graft("", "chat", "run"); r.code == exitOK || !strings.Contains(r.stderr, "chat") && !strings.Contains(r.stderr, "generate") {
				t.Errorf("graft chat run = %d, %s", r.code, r.stderr)
			}
		})
	}
}

// TestTellersByMethod trains them by methods at other seams.
func TestTellersByMethod(t *testing.T) {
	newTellerWorld(t, tellers[1].config, toldLines)
	recipe := readText(t, "r.toml")
	for _, method := range []string{"type = \"full\"\n", "type = \"prefix_tuning\"\nnum_virtual_tokens = 2\n", "type = \"prompt_tuning\"\nnum_virtual_tokens = 2\n", "type = \"ia3\"\n"} {
		file("m.toml", strings.Replace(recipe, "[method]\nr = 2\ntarget_modules = \"all-linear\"\n", "[method]\n"+method, 1))(t)
		ok(t, "train", "m.toml", "--overwrite")
		a, b := evaluated(t, "run"), evaluated(t, "m.toml", "--adapter", "run/adapter")
		if a.Loss != b.Loss || len(a.Scores) == 0 {
			t.Errorf("%s: loss %g by the run and %g by its adapter, scores %v", method, a.Loss, b.Loss, a.Scores)
		}
		if out := ok(t, "predict", "run", "--input", "rows.jsonl").stdout; strings.Count(out, "\"text\":") < 3 {
			t.Errorf("%s: graft predict says %s", method, out)
		}
	}
}

// TestFullCheckpointKeepsConstants trains every weight: what a BART has beside them is stored, too.
func TestFullCheckpointKeepsConstants(t *testing.T) {
	newTellerWorld(t, tellers[1].config, "[eval]\ngenerate = 0\n")
	var want []float32
	for i := range 57 {
		want = append(want, float32(i%5)-2)
	}
	tensors("base/model.safetensors", func(v map[string][]float32, s map[string][]int) {
		v["final_logits_bias"], s["final_logits_bias"] = want, []int{1, 57}
	})(t)
	file("full.toml", strings.Replace(readText(t, "r.toml"), "r = 2\n", "type = \"full\"\n", 1))(t)
	ok(t, "train", "full.toml")
	c, err := checkpoint.Open("run/adapter")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Floats("final_logits_bias")
	if info, _ := c.Info("final_logits_bias"); err != nil || !slices.Equal(got, want) || !slices.Equal(info.Shape, []int{1, 57}) {
		t.Errorf("final_logits_bias is %v %v (%v), want what the base has", info.Shape, got, err)
	}
}

// TestGenerationConfig has the model's file count where neither recipe nor flags say otherwise.
func TestGenerationConfig(t *testing.T) {
	newTellerWorld(t, tellers[0].config, toldLines)
	file("base/generation_config.json", `{"max_length": 4, "num_beams": 2, "forced_bos_token_id": 9, "encoder_no_repeat_ngram_size": 2}`)(t)
	check := ok(t, "check", "r.toml").stdout
	for _, want := range []string{"max_new_tokens = 3", "num_beams = 2", "encoder_no_repeat_ngram_size has no effect"} {
		if !strings.Contains(check, want) {
			t.Errorf("graft check lacks %q:\n%s", want, check)
		}
	}
	ok(t, "train", "r.toml")
	count := func(r result) int { // tokens are single letters, of which some continue a word
		return len(strings.ReplaceAll(strings.TrimSpace(r.stdout), " ", ""))
	}
	r := ok(t, "generate", "run", "-p", "the cat")
	if !strings.HasPrefix(r.stdout, "c") || count(r) > 3 || !strings.Contains(r.stderr, "note: generation_config.json: encoder_no_repeat_ngram_size") {
		t.Errorf("graft generate says %q, %q, want at most 3 letters, the first c, and a note", r.stdout, r.stderr)
	}
	if r := ok(t, "generate", "run", "-p", "the cat", "-n", "1"); count(r) != 1 {
		t.Errorf("with -n 1 it says %q", r.stdout)
	}
	ok(t, "generate", "run", "-p", "the cat", "-t", "0.5", "--seed", "3") // then there are no beams
}
