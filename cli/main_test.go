package cli

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/keep"
	"github.com/graft-ml/graft/internal/synth"
	"github.com/graft-ml/graft/recipes"
	"github.com/rogpeppe/go-internal/testscript"
)

// long asks for the whole of what the default run does a part of.
var long = flag.Bool("long", false, "run the heavier suites in full")

// TestMain puts a program named graft on the PATH: this binary, which is then Main and nothing else. Scripts and the
// tests that kill a process run it.
func TestMain(m *testing.M) {
	os.Setenv(keep.Variable, "off") // tests leave nothing in the user's folders
	testscript.Main(m, map[string]func(){"graft": func() {
		os.Exit(limited(func() int { return Main(os.Args, os.Stdin, os.Stdout, os.Stderr) }))
	}})
}

// result is what a run of the program gave.
type result struct {
	code           int
	stdout, stderr string
}

// graft runs the command line in this process.
func graft(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := Main(append([]string{"graft"}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// ok runs the command line and wants it to succeed.
func ok(t *testing.T, args ...string) result {
	t.Helper()
	r := graft("", args...)
	if r.code != exitOK {
		t.Fatalf("graft %s = %d, want 0\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// tinyConfig is a model of a few thousand parameters for the tokenizer of the quickstart.
const tinyConfig = `{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
 "head_dim": 8, "vocab_size": 2048, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": true}`

const tinyRecipe = `[model]
path = "base"
[method]
r = 2
lora_alpha = 6
target_modules = ["q_proj", "v_proj"]
[data]
path = "train.jsonl"
eval_path = "eval.jsonl"
[train]
batch_size = 2
max_steps = 4
save_steps = 2
learning_rate = 1e-2
[output]
dir = "run"
`

// tinyFull trains every weight from random ones.
const tinyFull = `[model]
path = "base"
init = "random"
[method]
type = "full"
[data]
path = "train.jsonl"
eval_path = "eval.jsonl"
[train]
batch_size = 2
max_steps = 2
[output]
dir = "full"
`

// tinyRows are rows with the letters of several scripts.
const tinyRows = `{"prompt": "name = Stone Oven; food = rice =>", "completion": " Rice at the Stone Oven!"}
{"prompt": "name = Copper Pot; food = soup =>", "completion": " The Copper Pot serves soup."}
{"prompt": "店名 = 石窑; 食物 = 米饭 =>", "completion": " 石窑供应米饭。"}
{"prompt": "name = Café Été; food = thé =>", "completion": " Thé at Café Été 🍵"}
`

// newWorld makes a folder with a tiny model in base/, rows, a recipe r.toml, and in run/ what training it gave.
func newWorld(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := makeWorld(dir); err != nil {
		t.Fatal(err)
	}
	train := exec.Command("graft", "train", "r.toml")
	train.Dir = dir
	if out, err := train.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func makeWorld(dir string) error {
	model := filepath.Join(dir, "base")
	if err := synth.Write(model, []byte(tinyConfig), 1, synth.Options{}); err != nil {
		return err
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		b, err := fs.ReadFile(recipes.Quickstart(), name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(model, name), b, 0o666); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"r.toml": tinyRecipe, "train.jsonl": tinyRows, "eval.jsonl": tinyRows} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}
