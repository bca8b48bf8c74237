package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/report"
	"github.com/graft-ml/graft/train"
	"github.com/urfave/cli/v2"
)

func (e *env) trainCommand() *cli.Command {
	return &cli.Command{
		Name:      "train",
		Usage:     "train what a recipe says",
		ArgsUsage: "RECIPE",
		UsageText: "graft train recipes/quickstart.toml\ngraft train my.toml --set train.learning_rate=1e-4 --set method.r=32\ngraft train my.toml --resume",
		Flags: []cli.Flag{setFlag(), outFlag("run folder instead of output.dir"),
			&cli.BoolFlag{Name: "resume", Usage: "go on from the newest good checkpoint of the run folder"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace a run that is there"},
			&cli.BoolFlag{Name: "json", Usage: "print the result as JSON"}},
		Action: func(c *cli.Context) error {
			r, name, err := e.recipeArgument(c)
			if err != nil {
				return err
			}
			if c.Bool("resume") && c.Bool("overwrite") {
				return usagef("train: --resume and --overwrite contradict each other")
			}
			return e.train(c, r, name)
		},
	}
}

func setFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "set", Usage: "override a key of the recipe: `section.key=value`"}
}

func outFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: usage}
}

// recipeArgument loads the one recipe that a command is given.
func (e *env) recipeArgument(c *cli.Context) (*recipes.Recipe, string, error) {
	if c.NArg() != 1 {
		return nil, "", usagef("%s: %d arguments, want one recipe (graft ls lists those of the program)", c.Command.Name, c.NArg())
	}
	r, name, err := loadRecipe(c.Args().First(), c.StringSlice("set"))
	if err != nil {
		return nil, "", err
	}
	if out := c.String("out"); out != "" {
		r.Output.Dir = out
	}
	return r, name, nil
}

// train runs a recipe from beginning to end.
func (e *env) train(c *cli.Context, r *recipes.Recipe, name string) error {
	view := newProgress(e.stderr, r.Train.LoggingSteps)
	p, err := prepare(c.Context, r, name, view.stage)
	if err != nil {
		return err
	}
	defer p.base.close()
	ctx, enough := context.WithCancel(context.WithoutCancel(c.Context)) // an interrupted run's checkpoint has the hash, too
	hash := train.FindBase(func() (string, error) { return p.soundHash(ctx) })
	defer hash.Settle()
	defer enough()
	if c.Bool("resume") {
		view.stage("hashing the base")
	}
	folder, err := p.folder(c, hash)
	view.end()
	if err != nil {
		return err
	}
	defer folder.Close()
	p.keepWithin()
	view.plan(p)
	before, err := p.samples(c.Context, view)
	if err != nil {
		return err
	}
	j := p.job()
	j.Folder, j.Report = folder, paced(view.event)
	j.Save = func(dir string) error { return p.save(dir, hash) }
	result, err := train.Run(c.Context, j)
	view.end()
	if err != nil {
		return err
	}
	if result.Interrupted {
		return e.interrupted(c, r, result)
	}
	after, err := p.samples(c.Context, view)
	if err != nil && !errors.Is(err, context.Canceled) { // an interrupt comes too late: everything is written
		return err
	}
	var scores []report.Score
	if len(p.eval) > 0 {
		scores, err = p.reportRun(c.Context, folder.Dir, view.stage)
		view.end()
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	if c.Bool("json") {
		return e.printJSON(result)
	}
	return e.summary(p, result, before, after, scores, folder.Dir)
}

// interrupted tells how to go on; without a checkpoint nothing was saved.
func (e *env) interrupted(c *cli.Context, r *recipes.Recipe, result *train.Result) error {
	if result.Checkpoint == "" {
		return context.Canceled
	}
	fmt.Fprintf(e.stderr, "stopped after step %d of %d, saved %s\ngo on with: graft train %s --resume%s\n",
		result.Step, result.TotalSteps, result.Checkpoint, c.Args().First(), resumeFlags(c))
	return nil
}

// resumeFlags repeats the flags that a resumed run needs again.
func resumeFlags(c *cli.Context) (s string) {
	for _, v := range c.StringSlice("set") {
		s += fmt.Sprintf(" --set %q", v)
	}
	if out := c.String("out"); out != "" {
		s += fmt.Sprintf(" --out %q", out)
	}
	return s
}

// folder opens the run folder.
func (p *plan) folder(c *cli.Context, hash *train.Base) (*train.Folder, error) {
	how := train.Fresh
	switch {
	case c.Bool("resume"):
		how = train.Resume
	case c.Bool("overwrite") || p.recipe.Output.Overwrite:
		how = train.Overwrite
	}
	b := thisBuild()
	return train.Open(p.recipe.Output.Dir, train.Identity{Recipe: p.recipe.Marshal(), RecipeHash: p.hash(), Base: hash,
		Session: train.Session{Started: time.Now().UTC(), Graft: b.Version, Go: b.Go, OS: b.OS, Arch: b.Arch, Kernel: kernel.Features(),
			Compute: p.base.mode.String(), GOMAXPROCS: runtime.GOMAXPROCS(0), Seed: p.recipe.Train.Seed}}, how)
}

// save writes the result of the run: an adapter folder, or a whole checkpoint.
func (p *plan) save(dir string, base *train.Base) (err error) {
	if p.adapter != nil {
		if p.config.Shared().BaseHash, err = base.Hash(); err != nil {
			return err
		}
		return errors.Join(peft.Save(dir, p.config, p.adapter), p.writeHead(dir))
	}
	return p.base.saveFull(dir)
}

// summary prints what the run achieved and what to do next.
func (e *env) summary(p *plan, result *train.Result, before, after []sample, scores []report.Score, dir string) error {
	s := screenOf(e.stdout)
	w := e.stdout
	for i := range after {
		fmt.Fprintf(w, "\n%s %s\n", s.paint(dim, "prompt"), after[i].Prompt)
		if after[i].Wanted != "" {
			fmt.Fprintf(w, "%s %s\n", s.paint(dim, "wanted"), after[i].Wanted)
		}
		if i < len(before) {
			fmt.Fprintf(w, "%s %s\n", s.paint(yellow, "before"), before[i].Text)
		}
		fmt.Fprintf(w, "%s %s\n", s.paint(green, "after "), after[i].Text)
	}
	if curve := terminalCurve(dir, s.width); curve != "" {
		fmt.Fprintf(w, "\n%s\n", curve)
	}
	fmt.Fprintln(w)
	t := newPairs(w)
	t.add("steps", fmt.Sprintf("%d of %d", result.Step, result.TotalSteps))
	if first, last, ok := evalEnds(dir); ok {
		t.add("held-out loss", fmt.Sprintf("%.4f before, %.4f after", first, last))
	}
	for _, m := range result.Eval {
		if name := strings.TrimPrefix(m.Name, "eval_"); name != "loss" && !writes(p.task.Head) {
			t.add(strings.ReplaceAll(name, "_", " "), fmt.Sprintf("%.4f", m.Value))
		}
	}
	addScores(t, scores)
	t.add("run folder", dir)
	if page := filepath.Join(dir, "report.html"); exists(page) {
		t.add("report", page)
	}
	if result.Stopped != "" {
		t.add("stopped", result.Stopped)
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "next"))
	if p.adapter == nil {
		if writes(p.task.Head) {
			fmt.Fprintf(w, "  graft inspect %s\n  graft generate %s --prompt 'One morning'\n", dir, filepath.Join(dir, "adapter"))
		} else {
			fmt.Fprintf(w, "  graft inspect %s\n  graft predict %s --input FILE\n", dir, dir)
		}
		return nil
	}
	if writes(p.task.Head) {
		fmt.Fprintf(w, "  graft generate %s --prompt '…'\n", dir)
	} else {
		fmt.Fprintf(w, "  graft predict %s --input FILE\n", dir)
	}
	if _, folds := p.adapter.(peft.Merger); folds {
		fmt.Fprintf(w, "  graft merge %s -o merged\n", dir)
	}
	fmt.Fprintf(w, "  graft inspect %s\n", dir)
	return nil
}
