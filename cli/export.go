package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/graft-ml/graft/interchange/llamacpp"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/urfave/cli/v2"
)

func (e *env) exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write a model as one GGUF file for llama.cpp, or in eight bits, its adapter folded in",
		ArgsUsage: "MODEL|RUN|ADAPTER",
		UsageText: "graft export runs/first -o first.gguf --type q4_k\ngraft export merged -o first.gguf --type bf16\ngraft export adapter --base models/llama -o tuned.gguf --type q8_0 --json\n" +
			"graft export runs/first -o first-int8 --to safetensors --type int8",
		Description: "Architectures: llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3 (text), phi3, gpt2. Types, with bits per number:\n\n" +
			"  f32 32, f16 and bf16 16, q8_0 8.5, q6_k 6.6, q5_k 5.5, q5_0 5.5, q4_k 4.5, q4_0 4.5\n\n" +
			"Numbers are packed as llama.cpp packs them; q4_k and q5_k are its mixes q4_k_m and q5_k_m. An adapter is folded in on the\n" +
			"way, in float32, and rounded once. To give llama.cpp the adapter alone: graft convert adapter --to gguf.\n" +
			"--to safetensors --type int8 writes a model folder whose projections have eight bits a number and a scale a row, as bitsandbytes\n" +
			"stores them; transformers reads it with bitsandbytes, graft unpacks it when it opens it.",
		Flags: append(modelFlags(), outFlag("`file` to write; a folder for safetensors"),
			&cli.StringFlag{Name: "to", Value: "gguf", Usage: "format: gguf, safetensors"},
			&cli.StringFlag{Name: "type", Value: "f16", Usage: "what matrices are packed as: " + strings.Join(llamacpp.TypeNames(), ", ") + "; of safetensors int8"},
			&cli.StringFlag{Name: "name", Usage: "what the model is called in the file; its folder's name without"},
			&cli.StringFlag{Name: "pre", Usage: "llama.cpp's name for how texts are cut into words, if graft does not know it"},
			&cli.BoolFlag{Name: "force", Usage: "replace a file that is there"}, jsonFlag()),
		Action: func(c *cli.Context) error {
			path, err := one(c, "model, adapter or run")
			if err != nil {
				return err
			}
			if err := checkExport(c, path); err != nil {
				return err
			}
			s, err := openSubject(c, path)
			if err != nil {
				return err
			}
			defer s.close()
			if c.String("to") == "safetensors" {
				return e.exportInt8(c, s, path)
			}
			return e.export(c, s, path)
		},
	}
}

// checkExport looks at all that can be wrong before a model is opened.
func checkExport(c *cli.Context, path string) error {
	out := c.String("out")
	switch to := c.String("to"); {
	case to == "safetensors":
		return checkInt8(c)
	case to != "gguf":
		return usagef("export: --to is %q, want gguf or safetensors", to)
	}
	if _, err := llamacpp.FileTypeNamed(c.String("type")); err != nil {
		return usagef("export: --%w", err)
	}
	if out == "" {
		return usagef("export: --out is missing, want the file to write")
	}
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		return usagef("export: %s is a file, want a model, adapter or run folder%s", path, ggufHint(path))
	}
	st, err := os.Stat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("export: --out: %w", err)
	case !st.Mode().IsRegular():
		return usagef("export: --out %s is no file, want the file to write", out)
	case !c.Bool("force"):
		return usagef("export: %s exists already (--force replaces a file)", out)
	}
	return nil
}

// ggufHint says what to do instead with a file that is one already.
func ggufHint(path string) string {
	if strings.HasSuffix(path, ".gguf") {
		return "; a GGUF file is packed anew by llama.cpp's llama-quantize, and an adapter is folded into the model that it was made of"
	}
	return ""
}

// export writes the file and tells what it is.
func (e *env) export(c *cli.Context, s *subject, path string) error {
	start := time.Now()
	if s.model.Kind != model.NextToken {
		return usagef("export: %s does %s, llama.cpp's models continue texts", path, s.model.Kind)
	}
	folded, err := s.folded()
	if err != nil {
		return err
	}
	job := llamacpp.Job{Model: folded, Out: c.String("out"), Type: c.String("type"), Name: c.String("name"), Pre: c.String("pre")}
	if job.Name == "" {
		job.Name = runName(path)
	}
	if s.adapter != nil {
		job.Base = filepath.Base(s.base.path)
	}
	if s.tok != nil {
		job.Tokenizer = s.tok
		if job.TokenizerJSON, err = fs.ReadFile(s.files, "tokenizer.json"); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	report, err := e.writeExport(c.Context, job)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(report)
	}
	return e.printExport(report, time.Since(start))
}

func (e *env) writeExport(ctx context.Context, job llamacpp.Job) (*llamacpp.Report, error) {
	view := newProgress(e.stderr, 1)
	defer view.end()
	job.Progress = view.amount("exporting", bytesText)
	return llamacpp.Export(ctx, job)
}

// folded is the model with its adapter in it, if it has one.
func (s *subject) folded() (*merge.Folded, error) {
	job := merge.Job{Base: s.src, AllowNothing: s.adapter == nil, Ties: peft.Ties(s.model)}
	if s.adapter != nil {
		m, ok := s.adapter.(peft.Merger)
		if !ok {
			return nil, usagef("export: what this adapter trained is no change of weights and cannot be folded; llama.cpp has no place for it")
		}
		job.Deltas = m.Deltas()
	}
	return merge.NewFolded(job)
}

// printExport sums up what was written.
func (e *env) printExport(r *llamacpp.Report, took time.Duration) error {
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %s for llama.cpp's %s in %d tensors, %s", r.Out, bytesText(r.Bytes), r.Arch, r.Tensors, spanText(took)))
	var types []string
	for name := range r.ByType {
		types = append(types, name)
	}
	slices.SortFunc(types, func(a, b string) int { return int(r.ByType[b] - r.ByType[a]) })
	for i, name := range types {
		types[i] = fmt.Sprintf("%s %s", name, bytesText(r.ByType[name]))
	}
	t.add("packed", fmt.Sprintf("%.2f bits per number, %.1f %% of the %s that they were: %s", r.BitsEach, 100*float64(r.Bytes)/float64(r.From), bytesText(r.From), strings.Join(types, ", ")))
	t.add("tokenizer", r.Tokenizer)
	for i, n := range r.FellBack {
		const shown = 3
		if i == shown && len(r.FellBack) > shown+1 {
			t.add("fell back", fmt.Sprintf("… and %d more", len(r.FellBack)-shown))
			break
		}
		t.add("fell back", n)
	}
	for _, n := range r.Notes {
		t.add("note", n)
	}
	return t.flush()
}
