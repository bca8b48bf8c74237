package cli

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/train"
	"github.com/urfave/cli/v2"
)

func (e *env) evalCommand() *cli.Command {
	return &cli.Command{
		Name:      "eval",
		Usage:     "measure the held-out loss of a run, of the base, or of any adapter on a recipe's data",
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
			if inner := filepath.Join(path, "recipe.toml"); exists(inner) {
				if adapter == "" {
					adapter = filepath.Join(path, "adapter")
				}
				path = inner
			}
			return e.eval(c, path, adapter)
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
}

func (e *env) eval(c *cli.Context, path, adapter string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return usagef("eval: %s has no recipe.toml, want a run folder or a recipe", path)
	}
	r, _, err := loadRecipe(path, c.StringSlice("set"))
	if err != nil {
		return err
	}
	r.Model.Init = "pretrained"
	view := newProgress(e.stderr, 1)
	p := &plan{recipe: r}
	model := r.Model.Path
	if r.Method.Type == "full" && adapter != "" && !c.Bool("base-only") {
		model, adapter = adapter, ""
	}
	if p.base, err = openBase(model, r.Model.Compute); err != nil {
		return err
	}
	defer p.base.close()
	if err := errors.Join(p.openTokenizer(c.Context, view.stage), p.readData(c.Context, view.stage)); err != nil {
		return err
	}
	if len(p.eval) == 0 {
		return usagef("eval: the recipe holds nothing out, want data.eval_path or data.eval_fraction")
	}
	if c.Bool("base-only") {
		adapter = ""
	}
	if adapter != "" {
		if _, p.adapter, err = methods.Load(adapter, p.base.model, peft.Allow{}); err != nil {
			return err
		}
	}
	view.stage("evaluating")
	out, err := p.evaluate(c)
	view.end()
	if err != nil {
		return err
	}
	out.Adapter = adapter
	if c.Bool("json") {
		return e.printJSON(out)
	}
	t := newPairs(e.stdout)
	t.add("model", model)
	if adapter != "" {
		t.add("adapter", adapter)
	}
	t.add("held out", fmt.Sprintf("%s examples, %s targets", count(int64(out.Examples)), count(int64(out.Targets))))
	t.add("loss per target", fmt.Sprintf("%.4f (perplexity %.3f)", out.Loss, out.Perplexity))
	t.add("accuracy", fmt.Sprintf("%.2f %% of targets are the best token", 100*out.Accuracy))
	return t.flush()
}

// evaluate sums the loss over the held-out examples.
func (p *plan) evaluate(c *cli.Context) (*evaluation, error) {
	p.task = task.Tasks[0]
	arena := op.NewArena()
	var sum train.Sums
	for b, err := range p.eval.Batches(4096) {
		if err == nil {
			err = c.Context.Err()
		}
		if err != nil {
			return nil, err
		}
		pass := op.NewPass(b.Segments, b.Positions, p.base.mode, arena)
		_, s, err := train.For(p.base.model, p.task).Loss(pass, b, 1, train.LossOptions{})
		if err != nil {
			return nil, err
		}
		arena.Reset()
		sum.Loss += s.Loss
		sum.Weight += s.Weight
		sum.Targets += s.Targets
		sum.Correct += s.Correct
	}
	if sum.Targets == 0 {
		return nil, fmt.Errorf("eval: the held-out examples have no targets")
	}
	loss := sum.Loss / sum.Weight
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return nil, fmt.Errorf("eval: the loss is %g, want a finite number: the weights hold NaN or are too large", loss)
	}
	return &evaluation{Examples: len(p.eval), Targets: sum.Targets, Loss: loss, Perplexity: math.Exp(loss), Accuracy: float64(sum.Correct) / float64(sum.Targets)}, nil
}
