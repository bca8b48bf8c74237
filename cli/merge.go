package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/merge/verify"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/urfave/cli/v2"
)

func (e *env) mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "fold an adapter into its base, or make one model of several: a complete model folder",
		ArgsUsage: "RUN|ADAPTER|RECIPE.toml|MODEL…",
		UsageText: "graft merge runs/first -o merged\ngraft merge runs/first -o merged --verify\ngraft merge adapter --base models/llama -o merged --dtype f32 --max-shard-size 2GB\n" +
			"graft merge --method slerp models/a models/b --param t=0.4 -o between\n" +
			"graft merge --method ties --base models/llama models/a models/b --weights 1,0.6 --param density=0.5 -o both\n" +
			"graft merge frankenstein.toml",
		Description: "A recipe has mergekit's keys in TOML: merge_method, base_model, models or slices, parameters, dtype, and out;\n" +
			"several [[outputs]] are made in one pass. A parameter is a number, a list from the first layer to the last, or a list of\n" +
			"{filter, value} by parts of tensor names. Methods:\n\n" + methodsText(),
		Flags: append(append(modelFlags(), verifyFlags()...), outFlag("`folder` to write"),
			&cli.StringFlag{Name: "dtype", Usage: "f32, f16 or bf16 instead of each tensor's own"},
			&cli.StringFlag{Name: "max-shard-size", Value: "5GB", Usage: "weights beyond are split into several files"},
			&cli.BoolFlag{Name: "force", Usage: "replace a model folder that is there"},
			&cli.StringFlag{Name: "method", Usage: "merge the models given by this `method`"},
			&cli.StringFlag{Name: "weights", Usage: "`numbers`, one for each model: 0.7,0.3"},
			&cli.StringSliceFlag{Name: "param", Usage: "parameter of the method: `name=value`"},
			&cli.Uint64Flag{Name: "seed", Usage: "of methods that draw numbers"},
			&cli.BoolFlag{Name: "no-hash", Usage: "leave hashes of the inputs out of merge.json"}, jsonFlag()),
		Action: func(c *cli.Context) error {
			size, err := parseSize("max-shard-size", c.String("max-shard-size"))
			if err != nil {
				return err
			}
			if d := c.String("dtype"); d != "" && !slices.Contains(merge.DTypes(), d) {
				return usagef("merge: --dtype is %q, want one of %s", d, strings.Join(merge.DTypes(), ", "))
			}
			isRecipe := c.NArg() == 1 && strings.HasSuffix(c.Args().First(), ".toml")
			switch {
			case c.String("method") == "" && !isRecipe:
				return e.foldCommand(c, size)
			case c.Bool("verify") || c.IsSet("verify-text"):
				return usagef("merge: --verify compares with an adapter; models merged with each other have nothing to be compared with")
			case isRecipe:
				return e.mixRecipe(c, c.Args().First(), size)
			}
			return e.mixModels(c, size)
		},
	}
}

// methodsText lists the ways of merging models.
func methodsText() string {
	var b strings.Builder
	for _, a := range merge.Algorithms {
		var names []string
		for _, p := range a.Parameters {
			names = append(names, p.Name)
		}
		fmt.Fprintf(&b, "  %-17s %s (%s)\n", a.Name, a.Does, strings.Join(names, ", "))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// foldCommand folds the adapter that the argument names.
func (e *env) foldCommand(c *cli.Context, size int64) error {
	path, err := one(c, "run, adapter or recipe, or --method and models")
	if err != nil {
		return err
	}
	for _, flag := range []string{"weights", "param", "seed"} {
		if c.IsSet(flag) {
			return usagef("merge: --%s is for --method", flag)
		}
	}
	if c.String("out") == "" {
		return usagef("merge: --out is missing, want the folder to write")
	}
	s, err := openSubject(c, path)
	if err != nil {
		return err
	}
	defer s.close()
	m, ok := s.adapter.(peft.Merger)
	if !ok && s.adapter != nil {
		return usagef("merge: what this adapter trained is no change of weights and cannot be folded; keep the folder beside its base: graft generate %s", path)
	}
	if !ok {
		return usagef("merge: %s has no adapter to fold", path)
	}
	return e.fold(c, s, m, size)
}

func (e *env) fold(c *cli.Context, s *subject, m peft.Merger, size int64) error {
	view := newProgress(e.stderr, 1)
	start := time.Now()
	about, err := aboutAdapter(c.Context, s.folder, c.Bool("no-hash"))
	if err != nil {
		return err
	}
	check, err := e.verifier(c, s)
	if err != nil {
		return err
	}
	job := merge.Job{Base: s.src, Unpacked: s.unpacked, Deltas: m.Deltas(), Ties: peft.Ties(s.model), Out: c.String("out"), DType: c.String("dtype"), MaxShardSize: size,
		Force: c.Bool("force"), Adapter: about, NoHash: c.Bool("no-hash"), Check: check, Version: version(), Progress: view.amount("merging", bytesText)}
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

// adapterInput is what merge.json says about an adapter.
type adapterInput struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256,omitempty"`
}

func aboutAdapter(ctx context.Context, folder string, noHash bool) (*adapterInput, error) {
	a := &adapterInput{Path: folder}
	if noHash {
		return a, nil
	}
	file, err := methods.OpenTensors(folder)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a.SHA256, err = file.Hash(ctx)
	return a, err
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
	if v, ok := r.Checked.(*verify.Result); ok {
		t.add("verified", verifiedText(v))
		if v.Note != "" {
			t.add("note", v.Note)
		}
	}
	return t.flush()
}

// parseSize reads 5GB, 500MB, 1.5GiB or a number of bytes.
func parseSize(what, s string) (int64, error) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(s, "%f%s", &n, &unit); err != nil && unit == "" {
		if _, err := fmt.Sscanf(s, "%f", &n); err != nil {
			return 0, usagef("%s is %q, want a size such as 5GB", what, s)
		}
	}
	factor, ok := map[string]float64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
	if !ok || !(n > 0) {
		return 0, usagef("%s is %q, want a size such as 5GB", what, s)
	}
	return int64(n * factor), nil
}
