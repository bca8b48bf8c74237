package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/tokenizer"
	"github.com/urfave/cli/v2"
)

func (e *env) inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "explain a checkpoint, adapter, tokenizer or run folder, or one of their files",
		ArgsUsage: "DIR|FILE",
		UsageText: "graft inspect models/llama\ngraft inspect runs/first --json\ngraft inspect adapter_model.safetensors --tensors",
		Flags: []cli.Flag{jsonFlag(),
			&cli.BoolFlag{Name: "tensors", Usage: "list every tensor"},
			&cli.BoolFlag{Name: "hash", Usage: "compute the SHA-256 over all tensors"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("inspect: %d arguments, want one folder or file", c.NArg())
			}
			r, err := e.look(c)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return e.printJSON(r)
			}
			return e.printFinding(r)
		},
	}
}

// finding is what inspect has to tell about a path.
type finding struct {
	Path      string         `json:"path"`
	Kind      string         `json:"kind"` // run, adapter, checkpoint, tokenizer, config
	Weights   *weights       `json:"weights,omitempty"`
	Config    map[string]any `json:"config,omitempty"`
	Tokenizer *vocabulary    `json:"tokenizer,omitempty"`
	Run       *runState      `json:"run,omitempty"`
	Tensors   []tensorRow    `json:"tensors,omitempty"`
}

// weights sum up the tensors of a checkpoint.
type weights struct {
	Tensors    int               `json:"tensors"`
	Parameters int64             `json:"parameters"`
	Bytes      int64             `json:"bytes"`
	DTypes     map[string]int64  `json:"dtypes"` // parameters by dtype
	Files      []string          `json:"files"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	SHA256     string            `json:"sha256,omitempty"`
}

type tensorRow struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	File  string `json:"file"`
}

// vocabulary describes a tokenizer.
type vocabulary struct {
	Size         int    `json:"vocab_size"`
	BOS          string `json:"bos_token,omitempty"`
	EOS          string `json:"eos_token,omitempty"`
	ChatTemplate bool   `json:"chat_template"`
}

// runState describes a run folder.
type runState struct {
	Environment json.RawMessage `json:"environment,omitempty"`
	Checkpoints []string        `json:"checkpoints"`
	LastMetrics json.RawMessage `json:"last_metrics,omitempty"`
	Adapter     bool            `json:"adapter"`
}

// look finds out what a path is and reads it.
func (e *env) look(c *cli.Context) (*finding, error) {
	path := c.Args().First()
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	r := &finding{Path: path}
	if !st.IsDir() {
		return r, r.file(c, path)
	}
	has := func(name string) bool { _, err := os.Stat(filepath.Join(path, name)); return err == nil }
	switch {
	case has("environment.json"):
		r.Kind = "run"
		if err := r.run(path); err != nil {
			return nil, err
		}
		if r.Run.Adapter {
			return r, r.folder(c, filepath.Join(path, "adapter"))
		}
		return r, nil
	case has("adapter_config.json"):
		r.Kind = "adapter"
	case checkpoint.HasWeights(os.DirFS(path)):
		r.Kind = "checkpoint"
	case has("tokenizer.json"):
		r.Kind = "tokenizer"
	default:
		return nil, fmt.Errorf("inspect: %s: no environment.json, adapter_config.json, model.safetensors, pytorch_model.bin or tokenizer.json in it, want a run, adapter, checkpoint or tokenizer", path)
	}
	return r, r.folder(c, path)
}

// folder reads the files that describe an adapter, a checkpoint or a tokenizer.
func (r *finding) folder(c *cli.Context, dir string) error {
	for _, name := range []string{"adapter_config.json", "config.json"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			if err := json.Unmarshal(b, &r.Config); err != nil {
				return fmt.Errorf("inspect: %s: %w", filepath.Join(dir, name), err)
			}
			break
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tokenizer.json")); err == nil {
		if err := r.vocabulary(os.DirFS(dir)); err != nil {
			return err
		}
	}
	for _, name := range append([]string{peft.TensorsFile, peft.TorchFile}, adapter.HubFiles...) {
		if path := filepath.Join(dir, name); exists(path) {
			return r.weights(c, path)
		}
	}
	if checkpoint.HasWeights(os.DirFS(dir)) {
		return r.weights(c, dir)
	}
	return nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// file reads one file by what its name says.
func (r *finding) file(c *cli.Context, path string) error {
	switch filepath.Base(path) {
	case "tokenizer.json":
		r.Kind = "tokenizer"
		return r.vocabulary(os.DirFS(filepath.Dir(path)))
	case "config.json", "adapter_config.json", "generation_config.json":
		r.Kind = "config"
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &r.Config); err != nil {
			return fmt.Errorf("inspect: %s: %w", path, err)
		}
		return nil
	}
	r.Kind = "checkpoint"
	return r.weights(c, path)
}

func (r *finding) weights(c *cli.Context, path string) error {
	ck, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer ck.Close()
	w := &weights{Tensors: len(ck.Names()), Bytes: ck.SizeBytes(), DTypes: map[string]int64{}, Metadata: ck.Metadata()}
	for _, name := range ck.Names() {
		info, _ := ck.Info(name)
		w.Parameters += int64(info.Len())
		w.DTypes[info.DType.String()] += int64(info.Len())
		if !slices.Contains(w.Files, info.File) {
			w.Files = append(w.Files, info.File)
		}
		if c.Bool("tensors") {
			r.Tensors = append(r.Tensors, tensorRow{info.Name, info.DType.String(), info.Shape, info.File})
		}
	}
	slices.Sort(w.Files)
	if c.Bool("hash") {
		if w.SHA256, err = ck.Hash(c.Context); err != nil {
			return err
		}
	}
	r.Weights = w
	return nil
}

func (r *finding) vocabulary(fsys fs.FS) error {
	t, err := tokenizer.Open(fsys)
	if err != nil {
		return err
	}
	v := &vocabulary{Size: t.VocabSize()}
	if id, ok := t.BOS(); ok {
		v.BOS, _ = t.Token(id)
	}
	if id, ok := t.EOS(); ok {
		v.EOS, _ = t.Token(id)
	}
	r.Tokenizer = v
	return nil
}

// run reads the state of a run folder.
func (r *finding) run(dir string) error {
	s := &runState{Adapter: exists(filepath.Join(dir, "adapter", "adapter_config.json"))}
	env, err := os.ReadFile(filepath.Join(dir, "environment.json"))
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	if !json.Valid(env) {
		return fmt.Errorf("inspect: %s: it is not JSON", filepath.Join(dir, "environment.json"))
	}
	s.Environment = env
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("inspect: %w", err)
	}
	for _, d := range entries {
		if strings.HasPrefix(d.Name(), "step-") {
			s.Checkpoints = append(s.Checkpoints, d.Name())
		}
	}
	slices.SortFunc(s.Checkpoints, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	if b, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl")); err == nil {
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if last := lines[len(lines)-1]; json.Valid([]byte(last)) {
			s.LastMetrics = json.RawMessage(last)
		}
	}
	r.Run = s
	return nil
}

// printFinding prints what was found for people.
func (e *env) printFinding(r *finding) error {
	p := newPairs(e.stdout)
	p.add("path", r.Path)
	p.add("kind", r.Kind)
	if r.Run != nil {
		p.add("checkpoints", cmp.Or(strings.Join(r.Run.Checkpoints, " "), "none"))
		p.add("last metrics", string(r.Run.LastMetrics))
		p.add("adapter", map[bool]string{true: "adapter/", false: "not written yet"}[r.Run.Adapter])
	}
	for _, key := range []string{"model_type", "peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path", "model_name", "task_type",
		"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
		"max_position_embeddings", "tie_word_embeddings", "torch_dtype", "dtype"} {
		if v, ok := r.Config[key]; ok && v != nil {
			p.add(key, compact(v))
		}
	}
	if w := r.Weights; w != nil {
		p.add("tensors", count(int64(w.Tensors)))
		p.add("parameters", count(w.Parameters))
		p.add("size", bytesText(w.Bytes))
		for _, d := range []string{"F32", "F16", "BF16", "F64", "I64", "I32", "U8", "BOOL"} {
			if n := w.DTypes[d]; n > 0 {
				p.add("in "+d, count(n))
			}
		}
		p.add("files", strings.Join(w.Files, " "))
		if w.SHA256 != "" {
			p.add("sha256", w.SHA256)
		}
	}
	if v := r.Tokenizer; v != nil {
		p.add("tokenizer", fmt.Sprintf("%s tokens, bos %q, eos %q", count(int64(v.Size)), v.BOS, v.EOS))
	}
	for _, t := range r.Tensors {
		p.add(t.DType, fmt.Sprintf("%s %v", t.Name, t.Shape))
	}
	return p.flush()
}

// compact is a JSON value on one line.
func compact(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		return fmt.Sprint(int64(f))
	}
	b, _ := json.Marshal(v) // it came out of JSON
	return string(b)
}
