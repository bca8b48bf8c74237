package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/merge"
	"github.com/urfave/cli/v2"
)

// mixRecipe merges models by a recipe.
func (e *env) mixRecipe(c *cli.Context, name string, size int64) error {
	for _, flag := range []string{"weights", "param", "seed", "base", "adapter"} {
		if c.IsSet(flag) {
			return usagef("merge: --%s is not for recipes, which have keys for it", flag)
		}
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return usagef("merge: %w", err)
	}
	list, err := merge.ParseRecipes(name, src)
	if err != nil {
		return usageError{err}
	}
	for _, r := range list {
		if len(list) == 1 && c.String("out") != "" {
			r.Out = c.String("out")
		}
		if len(list) > 1 && c.String("out") != "" {
			return usagef("merge: --out is one folder, %s has %d outputs", name, len(list))
		}
		if r.Out == "" {
			return usagef("merge: --out is missing and %s has no key out, want the folder to write", name)
		}
		if c.String("dtype") != "" {
			r.DType = c.String("dtype")
		}
	}
	return e.mix(c, list, size)
}

// mixModels merges the models that are the arguments.
func (e *env) mixModels(c *cli.Context, size int64) error {
	if c.String("out") == "" {
		return usagef("merge: --out is missing, want the folder to write")
	}
	if c.NArg() == 0 {
		return usagef("merge: no arguments, want the models to merge by %s", c.String("method"))
	}
	tree, err := mixTree(c)
	if err != nil {
		return err
	}
	list, err := merge.DecodeRecipes(tree)
	if err != nil {
		return usageError{err}
	}
	return e.mix(c, list, size)
}

// mixTree is the recipe that the arguments mean.
func mixTree(c *cli.Context) (map[string]any, error) {
	models := c.Args().Slice()
	base := c.String("base")
	if i := slices.IndexFunc(merge.Algorithms, func(a merge.Algorithm) bool { return a.Name == c.String("method") }); i >= 0 && merge.Algorithms[i].Base == merge.BaseFirst {
		if base == "" {
			base = models[0]
		}
		if !slices.Contains(models, base) {
			models = append([]string{base}, models...)
		}
	}
	weights, err := numbers(c, "weights", len(models))
	if err != nil {
		return nil, err
	}
	var sources []any
	for i, m := range models {
		s := map[string]any{"model": m}
		if weights != nil {
			s["parameters"] = map[string]any{"weight": weights[i]}
		}
		sources = append(sources, s)
	}
	parameters := map[string]any{}
	for _, p := range c.StringSlice("param") {
		name, value, ok := strings.Cut(p, "=")
		var v struct{ X any }
		if _, err := toml.Decode("X = "+value, &v); !ok || err != nil {
			return nil, usagef("merge: --param %s: want name=value, the value as in TOML", p)
		}
		parameters[name] = v.X
	}
	tree := map[string]any{"merge_method": c.String("method"), "models": sources, "out": c.String("out"), "parameters": parameters, "seed": int64(c.Uint64("seed"))}
	for key, v := range map[string]string{"base_model": base, "dtype": c.String("dtype")} {
		if v != "" {
			tree[key] = v
		}
	}
	return tree, nil
}

// numbers reads a flag of n numbers with commas between; nil if it is not set.
func numbers(c *cli.Context, flag string, n int) (list []float64, err error) {
	if !c.IsSet(flag) {
		return nil, nil
	}
	for _, s := range strings.Split(c.String(flag), ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil {
			return nil, usagef("%s: --%s: %q is not a number", c.Command.Name, flag, s)
		}
		list = append(list, v)
	}
	if len(list) != n {
		return nil, usagef("%s: --%s has %d numbers, want %d", c.Command.Name, flag, len(list), n)
	}
	return list, nil
}

// mix opens the models and makes the outputs.
func (e *env) mix(c *cli.Context, list []*merge.Recipe, size int64) error {
	x := merge.Mix{Recipes: list, Models: map[string]*checkpoint.Checkpoint{}, Unpacked: map[string]*merge.Unpacked{}, MaxShardSize: size, Force: c.Bool("force"), NoHash: c.Bool("no-hash"), Version: version()}
	for _, r := range list {
		for _, name := range r.ModelNames() {
			if x.Models[name] != nil {
				continue
			}
			if err := modelFolder(name); err != nil {
				return err
			}
			m, how, err := openWeights(c.Context, name)
			if err != nil {
				return err
			}
			sayUnpacked(e.stderr, name, how)
			defer m.Close()
			x.Models[name], x.Unpacked[name] = m, how
		}
	}
	view := newProgress(e.stderr, 1)
	x.Progress = view.amount("merging", bytesText)
	start := time.Now()
	reports, err := merge.Combine(c.Context, x)
	view.end()
	if errors.Is(err, fs.ErrExist) {
		return usagef("merge: %s exists already (--force replaces a model folder)", strings.Join(present(list), ", "))
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(reports)
	}
	return e.printMixed(reports, time.Since(start))
}

// present lists the outputs that are there.
func present(list []*merge.Recipe) (outs []string) {
	for _, r := range list {
		if exists(r.Out) {
			outs = append(outs, r.Out)
		}
	}
	return outs
}

// modelFolder says in a line why a path is no model.
func modelFolder(name string) error {
	if _, err := os.Stat(name); err != nil {
		return fmt.Errorf("merge: %s: no such model folder", name)
	}
	if exists(filepath.Join(name, "adapter_config.json")) {
		return usagef("merge: %s is an adapter, want a model: fold it first, or graft combine makes one adapter of several", name)
	}
	return nil
}

// printMixed says what was written.
func (e *env) printMixed(list []*merge.Mixed, took time.Duration) error {
	t := newPairs(e.stdout)
	for _, r := range list {
		t.add("written", fmt.Sprintf("%s, %s in %d tensors", r.Out, bytesText(r.Bytes), r.Tensors))
		what := fmt.Sprintf("%s of %s", r.Recipe.Method, strings.Join(r.Recipe.ModelNames(), ", "))
		if r.Layers > 0 {
			what += fmt.Sprintf(", %d layers", r.Layers)
		}
		t.add("made by", what)
	}
	t.add("took", spanText(took))
	return t.flush()
}
