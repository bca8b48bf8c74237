package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/interchange"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/recipes"
	"github.com/urfave/cli/v2"
)

func (e *env) convertCommand() *cli.Command {
	return &cli.Command{
		Name: "convert", Usage: "write an adapter in another program's format", UsageText: "graft convert adapter runs/first/adapter first.gguf --to gguf --model models/llama",
		Subcommands: []*cli.Command{e.convertAdapterCommand()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c.Args().First(), c.Command.Subcommands)
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func (e *env) convertAdapterCommand() *cli.Command {
	return &cli.Command{
		Name:      "adapter",
		Usage:     "convert a LoRA adapter; what it is now is told by the file",
		ArgsUsage: "IN OUT",
		UsageText: "graft convert adapter runs/first/adapter first.gguf --to gguf --model models/llama\n" +
			"graft convert adapter first.gguf first --to peft --model models/llama\n" +
			"graft convert adapter runs/first/adapter first-mlx --to mlx\n" +
			"graft convert adapter roberta_base_lora_mnli.bin mnli --to peft --alpha 16",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "`format`: " + strings.Join(interchange.Names(), ", ")},
			&cli.StringFlag{Name: "model", Usage: "base model `folder`, of which config.json is read; without it, the one that the adapter names"},
			&cli.StringFlag{Name: "dtype", Value: "f32", Usage: "f32, f16 or bf16"},
			&cli.Float64Flag{Name: "alpha", Usage: "lora_alpha, where the file does not say it (loralib)"},
			&cli.BoolFlag{Name: "force", Usage: "replace what is there"}, jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef("convert adapter: %d arguments, want IN and OUT", c.NArg())
			}
			if c.String("to") == "" {
				return usagef("convert adapter: --to is missing, want one of %s", strings.Join(interchange.Names(), ", "))
			}
			to, err := interchange.Lookup(c.String("to"))
			if err != nil {
				return usageError{err}
			}
			if !slices.Contains([]string{"f32", "f16", "bf16"}, c.String("dtype")) {
				return usagef("convert adapter: --dtype is %q, want f32, f16 or bf16", c.String("dtype"))
			}
			return e.convertAdapter(c, adapterIn(c.Args().Get(0)), c.Args().Get(1), to)
		},
	}
}

// conversion is what became of an adapter.
type conversion struct {
	In         string   `json:"in"`
	From       string   `json:"from"`
	Out        string   `json:"out"`
	To         string   `json:"to"`
	Modules    int      `json:"modules"`
	Parameters int64    `json:"parameters"`
	Notes      []string `json:"notes"`
}

func (e *env) convertAdapter(c *cli.Context, in, out string, to interchange.Format) error {
	o := interchange.Options{BaseName: c.String("model"), Alpha: c.Float64("alpha"), DType: c.String("dtype"), Force: c.Bool("force")}
	var err error
	if o.Base, err = baseConfig(c.String("model"), in); err != nil {
		return err
	}
	a, from, err := interchange.Read(in, o)
	if err != nil {
		return err
	}
	r := conversion{In: in, From: from.Name, Out: out, To: to.Name, Modules: len(a.Modules), Parameters: a.NumParams()}
	err = interchange.Write(out, to.Name, a, o)
	if errors.Is(err, fs.ErrExist) {
		return usagef("convert adapter: %s exists already (--force replaces it by another of its kind)", out)
	}
	if err != nil {
		return err
	}
	r.Notes = append([]string{}, a.Notes...)
	if c.Bool("json") {
		return e.printJSON(r)
	}
	t := newPairs(e.stdout)
	t.add("read", fmt.Sprintf("%s, %s: %d modules, %d numbers", in, from.Says, r.Modules, r.Parameters))
	t.add("written", fmt.Sprintf("%s, %s", out, to.Says))
	for _, n := range r.Notes {
		t.add("note", n)
	}
	return t.flush()
}

// isHere says that a model's name is that of a folder here, or of the program's own model.
func isHere(name string) bool {
	return strings.HasPrefix(name, recipes.Builtin) || name != "" && exists(filepath.Join(name, "config.json"))
}

// adapterIn is the adapter's folder of a run, or the path itself.
func adapterIn(path string) string {
	if exists(filepath.Join(path, "environment.json")) {
		return filepath.Join(path, "adapter")
	}
	return path
}

// baseConfig is config.json of the base that is given, or that the adapter's folder names and that is here; nil if neither is.
func baseConfig(folder, adapter string) (*model.Config, error) {
	if folder == "" {
		if folder = interchange.BaseName(adapter); !isHere(folder) {
			return nil, nil
		}
	}
	files, err := openFolder(folder)
	if err != nil {
		return nil, err
	}
	raw, err := fs.ReadFile(files, "config.json")
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", folder, err)
	}
	c, err := model.ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return c, nil
}

func (e *env) checkAdapterCommand() *cli.Command {
	return &cli.Command{
		Name:      "check-adapter",
		Usage:     "say what other programs would refuse of an adapter, or read as something else",
		ArgsUsage: "ADAPTER",
		UsageText: "graft check-adapter runs/first/adapter --model models/llama\ngraft check-adapter adapter --for vllm --max-lora-rank 64 --json",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "one `program` instead of all: " + strings.Join(interchange.ConsumerNames(), ", ")},
			&cli.StringFlag{Name: "model", Usage: "base model `folder`; without it, the one that the adapter names"},
			&cli.IntFlag{Name: "max-lora-rank", Value: 16, Usage: "as vLLM is started with"},
			jsonFlag()},
		Action: func(c *cli.Context) error {
			dir, err := one(c, "adapter")
			if err != nil {
				return err
			}
			which := interchange.ConsumerNames()
			if only := c.String("for"); only != "" {
				if !slices.Contains(which, only) {
					return usagef("check-adapter: --for is %q, want one of %s", only, strings.Join(which, ", "))
				}
				which = []string{only}
			}
			return e.checkAdapter(c, adapterIn(dir), which)
		},
	}
}

func (e *env) checkAdapter(c *cli.Context, dir string, which []string) error {
	x, err := interchange.OpenCase(dir)
	if err != nil {
		return err
	}
	x.MaxRank = c.Int("max-lora-rank")
	base := c.String("model")
	if named := interchange.BaseName(dir); base == "" && isHere(named) {
		base = named
	}
	if base != "" {
		b, err := openBase(c.Context, base, arithmetic{})
		if err != nil {
			return err
		}
		defer b.close()
		x.Base, x.Model = b.model.Config, b.model
	}
	var list []interchange.Finding
	bad := 0
	for i := range interchange.Consumers {
		if p := &interchange.Consumers[i]; slices.Contains(which, p.Name) {
			list = append(list, p.Check(x)...)
		}
	}
	for _, f := range list {
		if f.Verdict == interchange.Refuses || f.Verdict == interchange.Misreads {
			bad++
		}
	}
	if c.Bool("json") {
		err = e.printJSON(list)
	} else {
		err = e.printFindings(list)
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("check-adapter: %s: %d of %d rules are not met", dir, bad, len(list))
	}
	return err
}

// printFindings prints a line for each rule, and what it found below.
func (e *env) printFindings(list []interchange.Finding) error {
	var rows [][]string
	for _, f := range list {
		row := []string{f.Consumer, f.Rule, f.Verdict}
		switch {
		case f.Verdict == interchange.NotChecked:
			row = append(row, "needs --model")
		case len(f.Found) > 0:
			row = append(row, f.Found[0]+" ("+f.Source+")")
		}
		rows = append(rows, row)
		for _, more := range f.Found[min(1, len(f.Found)):] {
			rows = append(rows, []string{"", "", "", more})
		}
	}
	return columns(e.stdout, rows)
}
