package cli

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/recipes"
)

// tellers are small models that tell a text of a source, for the tokenizer of single letters, whose [SEP] ends texts.
var tellers = []struct{ name, config string }{
	{"t5", `{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 12, "d_kv": 4, "d_ff": 14, "num_layers": 1, "num_decoder_layers": 2, "num_heads": 3,
		"relative_attention_num_buckets": 6, "relative_attention_max_distance": 7, "vocab_size": 57, "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}`},
	{"bart", `{"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 12, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 3,
		"encoder_ffn_dim": 10, "decoder_ffn_dim": 14, "max_position_embeddings": 64, "vocab_size": 57, "init_std": 0.3, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}`},
	{"marian", `{"model_type": "marian", "architectures": ["MarianMTModel"], "d_model": 12, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 3, "decoder_attention_heads": 3,
		"encoder_ffn_dim": 10, "decoder_ffn_dim": 14, "activation_function": "swish", "scale_embedding": true, "max_position_embeddings": 64, "vocab_size": 57, "init_std": 0.3,
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
			var b trainBench
			if err := json.Unmarshal([]byte(ok(t, "bench", "train", "r.toml", "--steps", "1", "--warmup", "0", "--json").stdout), &b); err != nil || b.Tokens <= b.Targets {
				t.Errorf("graft bench train: %+v (%v), want tokens of sources counted", b, err)
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

// sentences are short ones in English, German and Chinese.
var sentences = [][3]string{
	{"The house is small.", "Das Haus ist klein.", "房子很小。"},
	{"My brother drinks tea.", "Mein Bruder trinkt Tee.", "我弟弟喝茶。"},
	{"It is raining today.", "Heute regnet es.", "今天下雨。"},
	{"She reads a book.", "Sie liest ein Buch.", "她在看书。"},
	{"Where is the station?", "Wo ist der Bahnhof?", "车站在哪里？"},
	{"We are learning German.", "Wir lernen Deutsch.", "我们学德语。"},
	{"The cat sleeps on the chair.", "Die Katze schläft auf dem Stuhl.", "猫在椅子上睡觉。"},
	{"I have two apples.", "Ich habe zwei Äpfel.", "我有两个苹果。"},
	{"The river is cold.", "Der Fluss ist kalt.", "河水很冷。"},
	{"Tomorrow we go home.", "Morgen gehen wir nach Hause.", "明天我们回家。"},
}

// TestTranslationRecipes runs the shipped recipes on ten sentences and small random models.
func TestTranslationRecipes(t *testing.T) {
	for _, x := range []struct {
		recipe, config string
		target         int // of sentences
		tokenizer      string
	}{
		{"translation-t5", `{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2,
			"vocab_size": 2048, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}`, 1, "tok:13a"},
		{"translation-marian", `{"model_type": "marian", "architectures": ["MarianMTModel"], "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
			"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "activation_function": "swish", "scale_embedding": true, "max_position_embeddings": 128,
			"vocab_size": 2048, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}`, 2, "tok:zh"},
	} {
		t.Run(x.recipe, func(t *testing.T) {
			t.Chdir(t.TempDir())
			file("shape/config.json", x.config)(t)
			for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
				b, err := fs.ReadFile(recipes.Quickstart(), name)
				if err != nil {
					t.Fatal(err)
				}
				file("shape/"+name, string(b))(t)
			}
			drawBase(t, "base", "shape")
			var rows strings.Builder
			for _, s := range sentences {
				if err := json.NewEncoder(&rows).Encode(map[string]string{"source": s[0], "target": s[x.target]}); err != nil {
					t.Fatal(err)
				}
			}
			file("rows.jsonl", rows.String())(t)
			ok(t, "train", x.recipe, "--set", "model.path=base", "--set", "data.path=rows.jsonl", "--set", "data.eval_path=rows.jsonl", "--set", "train.epochs=2",
				"--set", "train.batch_size=5", "--set", "generate.max_new_tokens=6", "--set", "generate.num_beams=2", "-o", "run")
			text := readText(t, "run/report.md")
			for _, want := range []string{"## Generated texts", x.tokenizer, sentences[0][x.target]} {
				if !strings.Contains(text, want) {
					t.Errorf("report.md lacks %q:\n%s", want, text)
				}
			}
			p := ok(t, "predict", "run", "--input", "rows.jsonl", "-o", "p.jsonl").stdout
			if !strings.Contains(p, "scored   10 texts") || !strings.Contains(p, "chrf") {
				t.Errorf("graft predict says\n%s, want scores of 10 texts", p)
			}
			// The run's adapter reads rows as the run does, prefix and all.
			var first []byte
			for _, subject := range [][]string{{"run"}, {"run/adapter"}, {"base", "--adapter", "run/adapter"}} {
				var sum predictions
				out := ok(t, slices.Concat([]string{"predict"}, subject, []string{"--input", "rows.jsonl", "-o", "p.jsonl", "--json"})...).stdout
				if err := json.Unmarshal([]byte(out), &sum); err != nil {
					t.Fatal(err)
				}
				sum.Seconds = 0
				got, err := json.Marshal(sum)
				if err != nil {
					t.Fatal(err)
				}
				if got = append(got, readText(t, "p.jsonl")...); first == nil {
					first = got
				} else if !bytes.Equal(got, first) {
					t.Errorf("graft predict %v gives\n%s, want what the run gives\n%s", subject, got, first)
				}
			}
		})
	}
}

// TestContinuationsAreScored asks for texts of a decoder, whose rows say what should follow.
func TestContinuationsAreScored(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := makeWorld("."); err != nil {
		t.Fatal(err)
	}
	ok(t, "train", "r.toml", "--set", "eval.generate=3", "--set", "generate.max_new_tokens=5")
	text := readText(t, "run/report.md")
	if !strings.Contains(text, "wrote texts for 3 held-out examples") || !strings.Contains(text, "| wanted | Rice at the Stone Oven! |") {
		t.Errorf("report.md is\n%s", text)
	}
	if run := evaluated(t, "run"); len(run.Scores) == 0 || run.Scores[0].Name != "bleu" {
		t.Errorf("scores are %v, want bleu first", run.Scores)
	}
	if out := ok(t, "predict", "run", "--input", "eval.jsonl", "-o", "p.jsonl", "-n", "3", "--json").stdout; !strings.Contains(out, `"scored": 4`) {
		t.Errorf("graft predict says %s, want 4 scored", out)
	}
	file("plain.jsonl", "{\"text\": \"no prompt at all\"}\n")(t)
	if r := graft("", "train", "r.toml", "-o", "other", "--set", "data.path=plain.jsonl", "--set", "data.eval_path=plain.jsonl", "--set", "eval.generate=3"); r.code != exitUsage || !strings.Contains(r.stderr, "no held-out row has both") {
		t.Errorf("rows without prompts: %d, %s", r.code, r.stderr)
	}
}

// TestSourceSlots counts the projections that rows of sources pass.
func TestSourceSlots(t *testing.T) {
	newTellerWorld(t, tellers[0].config, "")
	b, err := openBase(t.Context(), "base", arithmetic{compute: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	read, all := sourceSlots(b.model), 0
	for s := range b.model.Slots() {
		if s.Kind != layer.Embedding {
			all++
		}
	}
	// One layer of the encoder: q, k, v, o, wi, wo. Two of the decoder, of whose ten two read the source. A head.
	n := 0
	for s := range read {
		if s.Kind != layer.Embedding {
			n++
		}
	}
	if n != 6+2*2 || all != 6+2*10+1 {
		t.Errorf("%d of %d projections read sources, want 10 of 27", n, all)
	}
}
