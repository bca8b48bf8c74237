package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/recipes"
	"github.com/urfave/cli/v2"
)

func (e *env) lsCommand() *cli.Command {
	lists := map[string]func(c *cli.Context) error{"recipes": e.listRecipes, "methods": e.listMethods}
	return &cli.Command{
		Name: "ls", Usage: "list the recipes of the program, or the methods of fine-tuning", ArgsUsage: "[recipes|methods]",
		UsageText: "graft ls\ngraft ls methods", Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			what := "recipes"
			if c.Args().Present() {
				what = c.Args().First()
			}
			list, ok := lists[what]
			if !ok {
				return usagef("ls: %q, want recipes or methods", what)
			}
			return list(c)
		},
	}
}

func (e *env) listRecipes(c *cli.Context) error {
	type row struct {
		Name  string `json:"name"`
		Title string `json:"title"`
	}
	var rows []row
	t := newPairs(e.stdout)
	for _, name := range recipes.ShippedNames() {
		src, err := recipes.Shipped(name)
		if err != nil {
			return err
		}
		rows = append(rows, row{name, recipes.Title(src)})
		t.add(name, recipes.Title(src))
	}
	if c.Bool("json") {
		return e.printJSON(rows)
	}
	return t.flush()
}

// listMethods prints what docs/methods.md has.
func (e *env) listMethods(c *cli.Context) error {
	list, err := methods.Described()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(list)
	}
	rows := [][]string{{"method", "trained", "file", "folds", "mixed", "source"}}
	for _, d := range list {
		rows = append(rows, []string{d.Name, d.Count(), d.Size(), yes(d.Mergeable), yes(d.Mixed), d.Source})
	}
	if err := columns(e.stdout, rows); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, "\ntrained: numbers that training changes, and file: bytes of the adapter's tensors, of a llama of 1.1 billion parameters with PEFT's defaults\n"+
		"folds: graft merge can fold it into the base; mixed: sequences of one batch may have different adapters of it")
	return err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (e *env) catCommand() *cli.Command {
	return &cli.Command{
		Name: "cat", Usage: "print a recipe of the program", ArgsUsage: "NAME", UsageText: "graft cat quickstart", BashComplete: e.completeNames,
		Action: func(c *cli.Context) error {
			name, err := one(c, "name (graft ls lists them)")
			if err != nil {
				return err
			}
			src, err := recipes.Shipped(name)
			if err != nil {
				return usageError{err}
			}
			_, err = e.stdout.Write(src)
			return err
		},
	}
}

func (e *env) cpCommand() *cli.Command {
	return &cli.Command{
		Name: "cp", Usage: "copy a recipe of the program to a file", ArgsUsage: "NAME [FILE]", UsageText: "graft cp alpaca-lora my.toml", BashComplete: e.completeNames,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "replace a file that is there"}},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return usagef("cp: %d arguments, want NAME [FILE]", c.NArg())
			}
			src, err := recipes.Shipped(c.Args().First())
			if err != nil {
				return usageError{err}
			}
			to := c.Args().Get(1)
			if to == "" {
				to = strings.TrimSuffix(filepath.Base(c.Args().First()), ".toml") + ".toml"
			}
			return e.writeNew(to, src, c.Bool("force"))
		},
	}
}

// writeNew writes a file that must not be there yet.
func (e *env) writeNew(path string, data []byte, force bool) error {
	if st, err := os.Stat(path); err == nil && (st.IsDir() || !force) {
		return usagef("%s exists already (--force replaces a file)", path)
	}
	if err := atomicfile.WriteBytes(path, data); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stderr, "wrote %s\n", path)
	return err
}

func (e *env) completeNames(*cli.Context) {
	for _, n := range recipes.ShippedNames() {
		fmt.Fprintln(e.stdout, n)
	}
}

// starter is the recipe that init writes.
const starter = `# A recipe for graft: graft check %[1]s shows what it would do, graft train %[1]s does it.
# graft explain lists every key.

[model]
path = "models/my-model"             # folder with config.json, model.safetensors, tokenizer.json

[method]
type = "lora"
r = 16
lora_alpha = 32
target_modules = "all-linear"

[data]
path = "train.jsonl"                 # {"prompt": "…", "completion": "…"} a line; other shapes: graft explain data.shape
eval_fraction = 0.05
sequence_len = 512

[train]
batch_size = 8
epochs = 1
learning_rate = 2e-4
lr_scheduler = "cosine"
warmup_ratio = 0.03
`

func (e *env) initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "write a recipe to begin with", ArgsUsage: "[FILE]", UsageText: "graft init my.toml",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "replace a file that is there"}},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			to := c.Args().First()
			if to == "" {
				to = "recipe.toml"
			}
			return e.writeNew(to, fmt.Appendf(nil, starter, to), c.Bool("force"))
		},
	}
}

func (e *env) explainCommand() *cli.Command {
	return &cli.Command{
		Name: "explain", Usage: "document the keys of recipes", ArgsUsage: "[SECTION|SECTION.KEY]", UsageText: "graft explain\ngraft explain train\ngraft explain method.r",
		Flags: []cli.Flag{jsonFlag(), &cli.BoolFlag{Name: "schema", Usage: "print the JSON schema of recipes"}},
		BashComplete: func(*cli.Context) {
			for _, k := range recipes.Keys() {
				fmt.Fprintln(e.stdout, k.Path)
			}
		},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			if c.Bool("schema") {
				_, err := e.stdout.Write(recipes.Schema())
				return err
			}
			if c.Bool("json") {
				return e.printJSON(recipes.Sections)
			}
			text, err := recipes.Explain(c.Args().First())
			if err != nil {
				return usageError{err}
			}
			_, err = fmt.Fprint(e.stdout, text)
			return err
		},
	}
}
