package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/urfave/cli/v2"
)

func (e *env) diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "say which tensors of two models or adapters differ, and by how much",
		ArgsUsage: "A B",
		UsageText: "graft diff models/llama models/chat\ngraft diff models/llama models/chat --values 8 --json",
		Description: "Those that differ most come first. relative is ‖B − A‖/‖A‖, share is of the numbers. With --values the largest singular\n" +
			"values of each matrix's difference are found: what share of its squares they hold says how far it is of low rank.",
		Flags: []cli.Flag{jsonFlag(),
			&cli.IntFlag{Name: "values", Usage: "find so many singular values of each difference"},
			&cli.IntFlag{Name: "top", Value: 20, Usage: "show so many tensors; 0 means all"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef("diff: %d arguments, want two models, adapters or files", c.NArg())
			}
			if c.Int("values") < 0 || c.Int("top") < 0 {
				return usagef("diff: --values %d and --top %d, want numbers of at least 0", c.Int("values"), c.Int("top"))
			}
			a, err := openTensors(c.Args().Get(0))
			if err != nil {
				return err
			}
			defer a.Close()
			b, err := openTensors(c.Args().Get(1))
			if err != nil {
				return err
			}
			defer b.Close()
			return e.diff(c, a, b)
		},
	}
}

// openTensors opens what has tensors: a model, an adapter, a run's, or a file.
func openTensors(path string) (*checkpoint.Checkpoint, error) {
	if dir, err := adapterFolder(path); err == nil {
		return methods.OpenTensors(dir)
	}
	return checkpoint.Open(path)
}

func (e *env) diff(c *cli.Context, a, b *checkpoint.Checkpoint) error {
	view := newProgress(e.stderr, 1)
	show := view.amount("comparing tensors:", count)
	d, err := merge.Diff(c.Context, a, b, merge.DiffOptions{Values: c.Int("values"), Progress: func(done, total int) { show(int64(done), int64(total)) }})
	view.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(d)
	}
	t := newPairs(e.stdout)
	t.add("equal", fmt.Sprintf("%d tensors", d.Equal))
	if d.Retyped > 0 {
		t.add("retyped", fmt.Sprintf("%d tensors with the same numbers in another dtype", d.Retyped))
	}
	t.add("different", fmt.Sprintf("%d tensors", len(d.Tensors)))
	for i, names := range [][]string{d.OnlyA, d.OnlyB} {
		if len(names) > 0 {
			t.add("only in "+"AB"[i:i+1], strings.Join(names, ", "))
		}
	}
	if err := t.flush(); err != nil || len(d.Tensors) == 0 {
		return err
	}
	return columns(e.stdout, diffRows(d.Tensors, c.Int("top")))
}

// diffRows is the table of tensors, those that differ most first.
func diffRows(list []merge.Differing, top int) [][]string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y merge.Differing) int {
		if x.Apart != y.Apart {
			return map[bool]int{true: -1, false: 1}[x.Apart]
		}
		return cmp.Compare(y.Relative, x.Relative)
	})
	left := 0
	if top > 0 && len(list) > top {
		left = len(list) - top
		list = list[:top]
	}
	rows := [][]string{{"tensor", "relative", "max", "share", "cosine", "spectrum"}}
	for _, t := range list {
		if t.Apart {
			rows = append(rows, []string{t.Tensor, fmt.Sprintf("%s %v and %s %v", t.DTypes[0], t.Shapes[0], t.DTypes[1], t.Shapes[1])})
			continue
		}
		row := []string{t.Tensor, fmt.Sprintf("%.3g", t.Relative), fmt.Sprintf("%.3g", t.Max), fmt.Sprintf("%.1f %%", 100*t.Share), fmt.Sprintf("%.6f", t.Cosine), ""}
		if s := t.Spectrum; s != nil {
			row[5] = fmt.Sprintf("%d values hold %.1f %%, the first %.1f %%", len(s.Values), 100*s.Energy[len(s.Energy)-1], 100*s.Energy[0])
		}
		rows = append(rows, row)
	}
	if left > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d more", left)})
	}
	return rows
}
