package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/peft"
	"github.com/urfave/cli/v2"
)

func (e *env) mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "fold an adapter into its base: a complete model folder",
		ArgsUsage: "RUN|ADAPTER",
		UsageText: "graft merge runs/first -o merged\ngraft merge adapter --base models/llama -o merged --dtype f32 --max-shard-size 2GB",
		Flags: append(modelFlags(), outFlag("`folder` to write"),
			&cli.StringFlag{Name: "dtype", Usage: "f32, f16 or bf16 instead of each tensor's own"},
			&cli.StringFlag{Name: "max-shard-size", Value: "5GB", Usage: "weights beyond are split into several files"},
			&cli.BoolFlag{Name: "force", Usage: "replace a model folder that is there"}, jsonFlag()),
		Action: func(c *cli.Context) error {
			path, err := one(c, "run or adapter")
			if err != nil {
				return err
			}
			if c.String("out") == "" {
				return usagef("merge: --out is missing, want the folder to write")
			}
			size, err := parseSize(c.String("max-shard-size"))
			if err != nil {
				return err
			}
			if d := c.String("dtype"); d != "" && !slices.Contains(merge.DTypes(), d) {
				return usagef("merge: --dtype is %q, want one of %s", d, strings.Join(merge.DTypes(), ", "))
			}
			s, err := openSubject(c, path)
			if err != nil {
				return err
			}
			defer s.close()
			m, ok := s.adapter.(peft.Merger)
			if !ok && s.adapter != nil {
				return usagef("merge: what this adapter trained comes before a text, not into a weight, and cannot be folded; keep the folder beside its base: graft generate %s", path)
			}
			if !ok {
				return usagef("merge: %s has no adapter to fold", path)
			}
			return e.merge(c, s, m, size)
		},
	}
}

func (e *env) merge(c *cli.Context, s *subject, m peft.Merger, size int64) error {
	view := newProgress(e.stderr, 1)
	var shown atomic.Int64
	start := time.Now()
	job := merge.Job{Base: s.src, Deltas: m.Deltas(), Ties: peft.Ties(s.model), Out: c.String("out"), DType: c.String("dtype"), MaxShardSize: size,
		Force: c.Bool("force"), Progress: func(done, total int64) {
			now := time.Now().UnixMilli()
			if last := shown.Load(); view.s.terminal && now-last > 100 && shown.CompareAndSwap(last, now) {
				view.line(fmt.Sprintf("merging %s of %s", bytesText(done), bytesText(total)))
			}
		}}
	s.withHead(&job)
	report, err := merge.Fold(c.Context, job)
	view.end()
	if errors.Is(err, fs.ErrExist) {
		return usagef("merge: %s exists already (--force replaces a model folder)", c.String("out"))
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(report)
	}
	return e.printMerge(report, time.Since(start))
}

// printMerge sums up what was written and what survived the rounding.
func (e *env) printMerge(r *merge.Report, took time.Duration) error {
	worst, least := 0.0, 1.0
	for _, c := range r.Changed {
		worst, least = max(worst, c.Lost), min(least, c.Share)
	}
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %s in %d tensors, %s", r.Out, bytesText(r.Bytes), r.Tensors, spanText(took)))
	t.add("changed", fmt.Sprintf("%d tensors", len(r.Changed)))
	if len(r.Untied) > 0 {
		t.add("untied", strings.Join(r.Untied, ", ")+": stored of its own, and config.json says so")
	}
	t.add("survived", fmt.Sprintf("the rounding took at most %.3g of a change (relative); at least %.1f %% of the numbers of each tensor changed", worst, 100*least))
	return t.flush()
}

// parseSize reads 5GB, 500MB, 1.5GiB or a number of bytes.
func parseSize(s string) (int64, error) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(s, "%f%s", &n, &unit); err != nil && unit == "" {
		if _, err := fmt.Sscanf(s, "%f", &n); err != nil {
			return 0, usagef("max-shard-size is %q, want a size such as 5GB", s)
		}
	}
	factor, ok := map[string]float64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
	if !ok || !(n > 0) {
		return 0, usagef("max-shard-size is %q, want a size such as 5GB", s)
	}
	return int64(n * factor), nil
}
