package cli

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/report"
	"github.com/graft-ml/graft/train"
	"github.com/urfave/cli/v2"
)

func (e *env) evalCommand() *cli.Command {
	return &cli.Command{
		Name:  "eval",
		Usage: "measure the held-out loss of a run, of the base, or of any adapter on a recipe's data",
		Description: "The report of a run (report.html, report.md, report.json) is written anew, unless a flag asks for something else than\n" +
			"the run itself.",
		ArgsUsage: "RUN|RECIPE",
		UsageText: "graft eval runs/first\ngraft eval my.toml --adapter runs/first/adapter\ngraft eval my.toml --base-only",
		Flags: []cli.Flag{setFlag(), jsonFlag(),
			&cli.StringFlag{Name: "adapter", Usage: "adapter `folder` instead of the run's"},
			&cli.BoolFlag{Name: "base-only", Usage: "measure the base without an adapter"}},
		Action: func(c *cli.Context) error {
			path, err := one(c, "run or recipe")
			if err != nil {
				return err
			}
			adapter := c.String("adapter")
			if adapter != "" && c.Bool("base-only") {
				return usagef("eval: --adapter and --base-only contradict each other")
			}
			run := ""
			if inner := filepath.Join(path, "recipe.toml"); exists(inner) {
				run, path = path, inner
			}
			return e.eval(c, run, path, adapter)
		},
	}
}

// evaluation is the result of eval.
type evaluation struct {
	Adapter    string  `json:"adapter,omitempty"`
	Examples   int     `json:"examples"`
	Targets    int     `json:"targets"`
	Loss       float64 `json:"eval_loss"`
	Perplexity float64 `json:"eval_perplexity"`
	Accuracy   float64 `json:"eval_accuracy"`
	// Scores are the figures by which labels and answers are judged.
	Scores []report.Score `json:"scores,omitempty"`
	words  bool           // the targets are words
}

// eval measures an adapter, or the base without one. run is the folder of the run, if path is its recipe.
func (e *env) eval(c *cli.Context, run, path, adapter string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return usagef("eval: %s has no recipe.toml, want a run folder or a recipe", path)
	}
	r, _, err := loadRecipe(path, c.StringSlice("set"))
	if err != nil {
		return err
	}
	itself := run != "" && adapter == "" && !c.Bool("base-only") && len(c.StringSlice("set")) == 0
	if run != "" && adapter == "" && !c.Bool("base-only") {
		adapter = filepath.Join(run, "adapter")
	}
	view := newProgress(e.stderr, 1)
	defer view.end()
	p := &plan{recipe: r}
	model, part, open := r.Model.Path, adapter, p.openModel
	if r.Method.Type == "full" && adapter != "" {
		model, part = adapter, ""
		open = func(ctx context.Context, _ func(string)) error { w := p.want(); return p.base.load(ctx, &w) }
	}
	if p.base, err = openFiles(model, arithmeticOf(r)); err != nil {
		return err
	}
	defer p.base.close()
	for _, stage := range []func(context.Context, func(string)) error{p.openTokenizer, p.settle, open, p.settleTexts, p.readData} {
		if err := stage(c.Context, view.stage); err != nil {
			return err
		}
	}
	if len(p.eval) == 0 {
		return usagef("eval: the recipe holds nothing out, want data.eval_path or data.eval_fraction")
	}
	if part != "" {
		if p.config, p.adapter, err = methods.Load(part, p.base.model, peft.Allow{}); err != nil {
			return err
		}
		p.params = train.NewParams(p.adapter.Params())
		if err := p.checkHead(); err != nil {
			return err
		}
	}
	p.base.pare()
	view.stage("evaluating")
	m, err := report.Measure(c.Context, p.base.model, p.task, p.base.mode, p.eval)
	if err != nil {
		return err
	}
	says, err := p.says(c.Context, view.stage)
	if err != nil {
		return err
	}
	scores, err := says.scores()
	if err != nil {
		return err
	}
	if itself {
		if err := p.report(c.Context, run, m, says, view.stage); err != nil {
			return err
		}
	}
	view.end()
	return e.printEvaluation(c, &evaluation{Adapter: part, Examples: len(p.eval), Targets: m.Sums.Targets, Loss: m.Loss(),
		Perplexity: math.Exp(m.Loss()), Accuracy: m.Accuracy(), Scores: scores, words: says.read == nil}, model, itself, run)
}

func (e *env) printEvaluation(c *cli.Context, out *evaluation, model string, reported bool, run string) error {
	if c.Bool("json") {
		return e.printJSON(out)
	}
	t := newPairs(e.stdout)
	t.add("model", model)
	if out.Adapter != "" {
		t.add("adapter", out.Adapter)
	}
	t.add("held out", fmt.Sprintf("%s examples, %s targets", count(int64(out.Examples)), count(int64(out.Targets))))
	if out.words {
		t.add("loss per target", fmt.Sprintf("%.4f (perplexity %.3f)", out.Loss, out.Perplexity))
		t.add("accuracy", fmt.Sprintf("%.2f %% of targets are the best token", 100*out.Accuracy))
	} else {
		t.add("loss per target", fmt.Sprintf("%.4f", out.Loss))
	}
	addScores(t, out.Scores)
	if reported {
		t.add("report", filepath.Join(run, "report.html"))
	}
	return t.flush()
}
