package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/lora/factor"
	"github.com/graft-ml/graft/peft"
	"github.com/urfave/cli/v2"
)

func (e *env) combineCommand() *cli.Command {
	return &cli.Command{
		Name:      "combine",
		Usage:     "make one LoRA adapter of several, or of one with another weight",
		ArgsUsage: "RUN|ADAPTER…",
		UsageText: "graft combine runs/english runs/code --weights 0.7,0.3 -o both\n" +
			"graft combine a b c --type svd --rank 16 -o one\n" +
			"graft combine a b --type ties --density 0.5 -o agreed\n" +
			"graft combine toxic --weights=-1 -o unlearn",
		Description: "Types:\n\n" + typesText() + "\n\nEach adapter's scaling counts once, ranks may differ, weights may be negative. --compat peft gives what\n" +
			"add_weighted_adapter of PEFT gives: linear, ties, dare_* and magnitude_prune are then of the factors A and B instead of\n" +
			"their product, unless _svd stands behind their name. Adapters of IA3 take linear only: 1 + Σ w·(l − 1), or Σ w·l as PEFT has it.",
		Flags: append(adapterOutFlags(),
			&cli.StringFlag{Name: "type", Value: "cat", Usage: "combination `type`"},
			&cli.StringFlag{Name: "weights", Usage: "`numbers`, one for each adapter: 0.7,-0.3; default 1 each"},
			&cli.IntFlag{Name: "rank", Usage: "largest rank of what is decomposed; default: that of the adapters"},
			&cli.Float64Flag{Name: "density", Usage: "share of the numbers that is kept"},
			&cli.StringFlag{Name: "majority-sign", Value: "total", Usage: "total or frequency"},
			&cli.Float64Flag{Name: "clamp", Usage: "cut factors to this quantile of their sizes"},
			&cli.StringFlag{Name: "compat", Usage: "peft: as PEFT has it"},
			&cli.Uint64Flag{Name: "seed", Usage: "of dare_*"}),
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usagef("combine: no arguments, want one or more adapters")
			}
			weights, err := numbers(c, "weights", c.NArg())
			if err != nil {
				return err
			}
			options := factor.Options{Type: c.String("type"), Weights: weights, Rank: c.Int("rank"), Density: c.Float64("density"),
				MajoritySign: c.String("majority-sign"), Clamp: c.Float64("clamp"), Compat: c.String("compat"), Seed: c.Uint64("seed")}
			if dir, err := adapterFolder(c.Args().First()); err == nil && factor.IsScales(dir) {
				return e.combineScales(c, options)
			}
			list, err := openAdapters(c.Args().Slice())
			if err != nil {
				return err
			}
			if err := adapterOut(c, names(list)...); err != nil {
				return err
			}
			a, report, err := factor.Combine(list, options)
			if err != nil {
				return err
			}
			return e.saveAdapter(c, a, report)
		},
	}
}

// combineScales combines adapters of IA3.
func (e *env) combineScales(c *cli.Context, o factor.Options) error {
	var list []*factor.Scales
	var inputs []string
	for _, path := range c.Args().Slice() {
		dir, err := adapterFolder(path)
		if err != nil {
			return err
		}
		if !factor.IsScales(dir) {
			return usagef("combine: %s is an adapter of IA3 and %s is not, want adapters of one method", c.Args().First(), path)
		}
		s, err := factor.OpenScales(dir)
		if err != nil {
			return err
		}
		list, inputs = append(list, s), append(inputs, dir)
	}
	if err := adapterOut(c, inputs...); err != nil {
		return err
	}
	sum, err := factor.CombineScales(list, o)
	if err != nil {
		return err
	}
	if err := sum.Save(c.String("out"), c.Bool("force")); err != nil {
		return err
	}
	parameters := int64(0)
	for _, t := range sum.Tensors {
		parameters += int64(len(t.Data))
	}
	if c.Bool("json") {
		return e.printJSON(map[string]any{"out": c.String("out"), "modules": len(sum.Tensors), "parameters": parameters})
	}
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %d vectors, %s parameters", c.String("out"), len(sum.Tensors), count(parameters)))
	return t.flush()
}

// typesText lists the ways of combining adapters.
func typesText() string {
	var b strings.Builder
	for _, t := range factor.Types() {
		does := t.Does
		if t.Density {
			does += " (--density)"
		}
		fmt.Fprintf(&b, "  %-16s %s\n", t.Name, does)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// adapterOutFlags are those of commands that write an adapter.
func adapterOutFlags() []cli.Flag {
	return []cli.Flag{outFlag("`folder` to write"), &cli.BoolFlag{Name: "force", Usage: "replace an adapter folder that is there"}, jsonFlag()}
}

// adapterFolder is the adapter that a path means: a run's, or the folder itself.
func adapterFolder(path string) (string, error) {
	if exists(filepath.Join(path, "environment.json")) {
		path = filepath.Join(path, "adapter")
	}
	if !exists(filepath.Join(path, peft.ConfigFile)) {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: no such adapter or run folder", path)
		}
		return "", fmt.Errorf("%s: no %s in it, want an adapter or run folder", path, peft.ConfigFile)
	}
	return path, nil
}

// openAdapters reads adapters whole.
func openAdapters(paths []string) (list []*factor.Adapter, err error) {
	for _, p := range paths {
		dir, err := adapterFolder(p)
		if err != nil {
			return nil, err
		}
		a, err := factor.Open(dir)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// names are the folders of adapters.
func names(list []*factor.Adapter) (dirs []string) {
	for _, a := range list {
		dirs = append(dirs, a.Name)
	}
	return dirs
}

// adapterOut keeps the output away from the inputs, and --force away from folders that are no adapters.
func adapterOut(c *cli.Context, inputs ...string) error {
	out := c.String("out")
	if out == "" {
		return usagef("%s: --out is missing, want the folder to write", c.Command.Name)
	}
	for _, in := range inputs {
		if within(in, out) {
			return usagef("%s: --out %s is or holds the adapter %s, want another folder", c.Command.Name, out, in)
		}
	}
	entries, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", c.Command.Name, err)
	case c.Bool("force") && exists(filepath.Join(out, peft.ConfigFile)):
		return nil
	case c.Bool("force"):
		return usagef("%s: %s holds no adapter, so it is not replaced; remove it yourself", c.Command.Name, out)
	}
	return usagef("%s: %s exists already (--force replaces an adapter folder)", c.Command.Name, out)
}

// within tells whether a path is in a folder, or is it, by the files themselves.
func within(path, folder string) bool {
	f, err := os.Stat(folder)
	if err != nil {
		return false
	}
	abs, err := filepath.Abs(path)
	for ; err == nil; abs = filepath.Dir(abs) {
		if st, err := os.Stat(abs); err == nil && os.SameFile(st, f) {
			return true
		}
		if abs == filepath.Dir(abs) {
			break
		}
	}
	return false
}

// saveAdapter writes an adapter and says what it is.
func (e *env) saveAdapter(c *cli.Context, a *factor.Adapter, r *factor.Report) error {
	if err := a.Save(c.String("out"), c.Bool("force")); err != nil {
		return err
	}
	r.Out = c.String("out")
	if c.Bool("json") {
		return e.printJSON(r)
	}
	var parameters int64
	least, most := a.Modules[0].A.Rows, 0
	for _, m := range a.Modules {
		parameters += int64(len(m.A.Data) + len(m.B.Data))
		least, most = min(least, m.A.Rows), max(most, m.A.Rows)
	}
	ranks := fmt.Sprintf("r %d", most)
	if least < most {
		ranks = fmt.Sprintf("r %d to %d", least, most)
	}
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %d modules, %s, %s parameters", r.Out, len(a.Modules), ranks, count(parameters)))
	if worst := worstRow(r); worst != nil {
		t.add("lost", fmt.Sprintf("%.3g of the change (relative); at most %.3g, in %s", r.Error, worst.Error, worst.Module))
	}
	for _, w := range r.Warnings {
		t.add("note", w)
	}
	return t.flush()
}

// worstRow is the module that lost most; nil if none lost what float32 can tell.
func worstRow(r *factor.Report) (worst *factor.Row) {
	const nothing = 1e-6
	for i := range r.Modules {
		if m := &r.Modules[i]; m.Error > nothing && (worst == nil || m.Error > worst.Error) {
			worst = m
		}
	}
	return worst
}
