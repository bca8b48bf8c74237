package interchange_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/interchange"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// robertaShape is RoBERTa-base with a head for MNLI, with a small vocabulary and MLP, which the adapter does not touch.
const robertaShape = `{"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"], "hidden_size": 768, "num_hidden_layers": 12,
	"num_attention_heads": 12, "intermediate_size": 8, "vocab_size": 64, "max_position_embeddings": 18, "type_vocab_size": 1,
	"id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"}}`

// TestMNLI reads the file that microsoft/LoRA published: 887,811 numbers, which survive in PEFT's form, on a model of their shape, and in
// their own form again.
func TestMNLI(t *testing.T) {
	file := filepath.Join(golden.Assets(t), "adapters", "microsoft-roberta-base-lora-mnli", "roberta_base_lora_mnli.bin")
	a := read(t, file, interchange.Options{Alpha: 16, BaseName: "roberta-base"})
	if n := a.NumParams(); n != 887_811 {
		t.Errorf("%d numbers, want 887,811", n)
	}
	dir, again := filepath.Join(t.TempDir(), "peft"), filepath.Join(t.TempDir(), "again.bin")
	if err := interchange.Write(dir, "peft", a, interchange.Options{}); err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig([]byte(robertaShape))
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	settings, adapter, err := methods.Load(dir, m, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	if n := peft.NumParams(adapter); n != 887_811 || len(settings.Shared().Warnings) > 0 {
		t.Errorf("%d parameters and warnings %q, want 887,811 and none", n, settings.Shared().Warnings)
	}
	text, err := settings.JSON()
	for _, want := range []string{`"lora_alpha": 16`, `"r": 8`, "\"modules_to_save\": [\n    \"classifier\"\n  ]", "\"target_modules\": [\n    \"query\",\n    \"value\"\n  ]", `"base_model_name_or_path": "roberta-base"`} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%v: no %s in\n%s", err, want, text)
		}
	}
	if err := interchange.Write(again, "loralib", read(t, dir, interchange.Options{}), interchange.Options{}); err != nil {
		t.Fatal(err)
	}
	sameFile(t, file, again)
}

// sameFile compares the tensors of two checkpoints.
func sameFile(t *testing.T, was, is string) {
	t.Helper()
	a, err := checkpoint.OpenFile(was)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := checkpoint.OpenFile(is)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if !reflect.DeepEqual(a.Names(), b.Names()) {
		t.Fatalf("tensors %q, want %q", b.Names(), a.Names())
	}
	for _, name := range a.Names() {
		x, err1 := a.Bytes(name)
		y, err2 := b.Bytes(name)
		if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
			t.Errorf("tensor %q differs", name)
		}
	}
}

// TestMergedLinear reads a MergedLinear of GPT-2: queries and values of c_attn with branches of their own.
func TestMergedLinear(t *testing.T) {
	const in, share, r = 12, 12, 2
	a, b := make([]float32, 2*r*in), make([]float32, 2*share*r)
	for i := range a {
		a[i] = float32(i + 1)
	}
	for i := range b {
		b[i] = float32(i + 1)
	}
	const module = "transformer.h.0.attn.c_attn"
	path := filepath.Join(t.TempDir(), "a.pt")
	if err := checkpoint.WriteTorch(path, []checkpoint.Entry{checkpoint.FromFloats(module+".lora_A", []int{2 * r, in}, a),
		checkpoint.FromFloats(module+".lora_B", []int{2 * share, r}, b)}); err != nil {
		t.Fatal(err)
	}
	x := read(t, path, interchange.Options{Alpha: 6})
	m := x.Modules[0]
	if m.Rank() != 4 || m.B.Rows != 3*share || m.Scale != 3 {
		t.Fatalf("rank %d, B [%d, %d], scale %g, want 4, [36, 4], 3", m.Rank(), m.B.Rows, m.B.Cols, m.Scale)
	}
	for o := range 3 * share {
		want := make([]float32, 4)
		switch {
		case o < share:
			copy(want, b[o*r:(o+1)*r])
		case o >= 2*share:
			copy(want[2:], b[(o-share)*r:(o-share+1)*r])
		}
		if !reflect.DeepEqual(m.B.Row(o), want) {
			t.Errorf("row %d of B is %v, want %v", o, m.B.Row(o), want)
		}
	}
	if x.Settings["fan_in_fan_out"] != true || len(x.Notes) != 1 {
		t.Errorf("settings %v and notes %q, want fan_in_fan_out and a note", x.Settings, x.Notes)
	}
}

// TestPublished converts adapters that people published, among them one of old branches of shares, and attaches what comes of it.
func TestPublished(t *testing.T) {
	assets := filepath.Join(golden.Assets(t), "adapters")
	gpt2, err := os.ReadFile(filepath.Join(golden.Assets(t), "configs", "gpt2.json"))
	if err != nil {
		t.Skip(err)
	}
	c, err := model.ParseConfig(gpt2)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		folder, format string
		base           *model.Config
	}{{"gpt2-smart-review-lora-r8", "gguf", c}, {"gpt2-smart-review-lora-r8", "mlx", c}, {"bloom-560m-lora-r8-bin", "peft", nil}, {"gpt-neo-125M-movies-lora-r8", "peft", nil}} {
		a := read(t, filepath.Join(assets, x.folder), interchange.Options{})
		out := filepath.Join(t.TempDir(), "out")
		if err := interchange.Write(out, x.format, a, interchange.Options{Base: x.base}); err != nil {
			t.Errorf("%s: %v", x.folder, err)
			continue
		}
		b := read(t, out, interchange.Options{Base: x.base})
		if !reflect.DeepEqual(a.Modules, b.Modules) {
			t.Errorf("%s as %s has other branches than before", x.folder, x.format)
		}
	}
}

// TestBadFiles gives files and folders that cannot be read.
func TestBadFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.pt")
	ab := []checkpoint.Entry{checkpoint.FromFloats("q.lora_A", []int{2, 3}, make([]float32, 6)), checkpoint.FromFloats("q.lora_B", []int{4, 2}, make([]float32, 8))}
	write := func(list ...checkpoint.Entry) string {
		path := filepath.Join(t.TempDir(), "a.pt")
		if err := checkpoint.WriteTorch(path, list); err != nil {
			t.Fatal(err)
		}
		return path
	}
	folder := func(config string, list ...checkpoint.Entry) string {
		dir := t.TempDir()
		for _, name := range []string{peft.TensorsFile, "adapters.safetensors"} {
			if err := checkpoint.Write(filepath.Join(dir, name), list, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, peft.ConfigFile), []byte(config), 0o666); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	six := make([]float32, 6)
	for name, x := range map[string]struct{ path, want string }{
		"nothing there":               {good, "no such file"},
		"an empty folder":             {t.TempDir(), "no adapter in it, want a folder with adapter_config.json"},
		"no alpha":                    {write(ab...), "does not say lora_alpha: want it"},
		"half a pair":                 {write(ab[0]), `"q" has no lora_B`},
		"no pair":                     {write(checkpoint.FromFloats("w", []int{1}, six[:1])), "none of its 1 tensors is a lora_A or lora_B"},
		"a vector":                    {write(checkpoint.FromFloats("q.lora_A", []int{6}, six)), `tensor "q.lora_A" is [6], want a matrix`},
		"a matrix of nothing":         {write(checkpoint.FromFloats("q.lora_A", []int{1 << 40, 0}, nil)), "is [1099511627776 0], want a matrix with numbers in it"},
		"another method":              {folder(`{"peft_type": "IA3"}`), `peft_type is "IA3", want one of LORA`},
		"adapter-hub's":               {folder(`{"config": {}, "model_type": "bert"}`), `config.architecture is "bottleneck", which other programs do not have`},
		"a rank that is not":          {folder(`{"peft_type": "LORA", "r": 3}`, checkpoint.FromFloats("q.lora_A.weight", []int{2, 3}, six), checkpoint.FromFloats("q.lora_B.weight", []int{3, 2}, six)), `"q": A is [2, 3], want rank 3`},
		"mlx without a scale":         {folder(`{"lora_parameters": {"rank": 2}}`), "lora_parameters has no scale"},
		"whole weights of mlx":        {folder(`{"fine_tune_type": "full", "lora_parameters": {}}`), "it holds whole weights"},
		"mlx with something else":     {folder(`{"lora_parameters": {"scale": 2}}`, checkpoint.FromFloats("q.weight", []int{2, 3}, six)), `tensor "q.weight" is no lora_a, lora_b or m`},
		"mlx with a word for a scale": {folder(`{"lora_parameters": {"scale": "two"}}`), "lora_parameters.scale is a JSON string"},
	} {
		if _, _, err := interchange.Read(x.path, interchange.Options{}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
}

// TestWhatIsThere replaces a file only if told to, and never a folder by a file.
func TestWhatIsThere(t *testing.T) {
	b := tiny(t, "gpt2")
	dir, _ := trained(t, b, plain)
	a := read(t, dir, interchange.Options{})
	out := filepath.Join(t.TempDir(), "out.bin")
	for _, x := range []struct {
		path  string
		force bool
		ok    bool
	}{{out, false, true}, {out, false, false}, {out, true, true}, {dir, true, false}} {
		if err := interchange.Write(x.path, "loralib", a, interchange.Options{Force: x.force}); (err == nil) != x.ok {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if _, err := interchange.Lookup("ggml"); err == nil || !strings.Contains(err.Error(), `format "ggml", want one of peft, adapters, gguf, mlx, loralib`) {
		t.Errorf("%v", err)
	}
}
