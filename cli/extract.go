package cli

import (
	"fmt"

	"github.com/graft-ml/graft/lora/factor"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
	"github.com/urfave/cli/v2"
)

func (e *env) extractCommand() *cli.Command {
	return &cli.Command{
		Name:      "extract",
		Usage:     "make a LoRA adapter of what a tuned model has over its base",
		ArgsUsage: "TUNED",
		UsageText: "graft extract models/chat --base models/llama --rank 32 -o chat-lora\n" +
			"graft extract models/chat --base models/llama --energy 0.9 --max-rank 128 -o chat-lora --json",
		Description: "The difference of every weight is decomposed and its largest singular values kept: so many, or as many as hold a\n" +
			"share of its squares (--energy), or as keep the relative error below a bound (--error). What cannot be of low rank (norms,\n" +
			"biases), or is named by --skip, is stored in full beside, or left out with --drop-rest.",
		Flags: append(append(adapterOutFlags(), choiceFlags()...),
			&cli.StringFlag{Name: "base", Usage: "`folder` of the model that the tuned one was made of"},
			&cli.StringSliceFlag{Name: "skip", Usage: "end of a module's `name` that gets no factors, such as lm_head"},
			&cli.BoolFlag{Name: "drop-rest", Usage: "leave out what gets no factors instead of storing it in full"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the randomised decomposition"}),
		Action: func(c *cli.Context) error {
			path, err := one(c, "tuned model")
			if err != nil {
				return err
			}
			if c.String("base") == "" {
				return usagef("extract: --base is missing, want the folder of the base model")
			}
			choice, err := choiceOf(c)
			if err != nil {
				return err
			}
			if err := adapterOut(c); err != nil {
				return err
			}
			return e.extract(c, path, choice)
		},
	}
}

func (e *env) extract(c *cli.Context, path string, choice factor.Choice) error {
	base, err := openBase(c.Context, c.String("base"), arithmetic{compute: "f32"})
	if err != nil {
		return err
	}
	defer base.close()
	tuned, err := openBase(c.Context, path, arithmetic{compute: "f32"})
	if err != nil {
		return err
	}
	defer tuned.close()
	for _, dir := range []string{base.path, tuned.path} {
		if within(dir, c.String("out")) {
			return usagef("extract: --out %s is or holds the model %s, want another folder", c.String("out"), dir)
		}
	}
	view := newProgress(e.stderr, 1)
	show := view.amount("decomposing", count)
	a, report, err := factor.Extract(c.Context, factor.Difference{Base: base.src, Tuned: tuned.src, Places: factor.Places(base.model), Skip: c.StringSlice("skip"), Choice: choice,
		DropRest: c.Bool("drop-rest"), Seed: c.Uint64("seed"), Progress: func(done, total int) { show(int64(done), int64(total)) }})
	view.end()
	if err != nil {
		return err
	}
	a.Config.BaseModel, a.Config.TaskType = c.String("base"), taskType(base.model)
	return e.saveAdapter(c, a, report)
}

// taskType is what PEFT calls the task of a model's head, if it has a name for it.
func taskType(m *model.Model) string {
	for _, t := range task.Tasks {
		if t.Head == m.Kind {
			return t.Type
		}
	}
	return ""
}

// choiceFlags say how many ranks a module gets.
func choiceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "rank", Usage: "`number` of singular values to keep"},
		&cli.Float64Flag{Name: "energy", Usage: "`share` of the squares to keep, such as 0.9"},
		&cli.Float64Flag{Name: "error", Usage: "largest relative `error`, such as 0.1"},
		&cli.IntFlag{Name: "max-rank", Usage: "with --energy or --error: no more than so many"},
	}
}

// choiceOf reads them.
func choiceOf(c *cli.Context) (factor.Choice, error) {
	n := 0
	for _, flag := range []string{"rank", "energy", "error"} {
		if c.IsSet(flag) {
			n++
		}
	}
	if n != 1 {
		return factor.Choice{}, usagef("%s: want one of --rank, --energy and --error", c.Command.Name)
	}
	ch := factor.Choice{Rank: c.Int("rank"), Energy: c.Float64("energy"), Error: c.Float64("error"), Most: c.Int("max-rank")}
	if c.IsSet("rank") && ch.Rank < 1 {
		return ch, usagef("%s: --rank is %d, want at least 1", c.Command.Name, ch.Rank)
	}
	for _, flag := range []string{"energy", "error"} {
		if v := c.Float64(flag); c.IsSet(flag) && !(v > 0 && v <= 1) {
			return ch, usagef("%s: --%s is %g, want above 0 and at most 1", c.Command.Name, flag, v)
		}
	}
	return ch, nil
}

func (e *env) resizeCommand() *cli.Command {
	return &cli.Command{
		Name:      "resize",
		Usage:     "give a LoRA adapter another rank",
		ArgsUsage: "RUN|ADAPTER",
		UsageText: "graft resize runs/r64 --rank 16 -o r16\ngraft resize adapter --error 0.05 -o smaller --json",
		Flags:     append(adapterOutFlags(), choiceFlags()...),
		Action: func(c *cli.Context) error {
			if _, err := one(c, "run or adapter"); err != nil {
				return err
			}
			choice, err := choiceOf(c)
			if err != nil {
				return err
			}
			list, err := openAdapters(c.Args().Slice())
			if err != nil {
				return err
			}
			if err := adapterOut(c, names(list)...); err != nil {
				return err
			}
			a, report, err := factor.Resize(list[0], choice)
			if err != nil {
				return fmt.Errorf("%s: %w", list[0].Name, err)
			}
			return e.saveAdapter(c, a, report)
		},
	}
}
