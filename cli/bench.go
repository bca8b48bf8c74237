package cli

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/synth"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func (e *env) benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure this machine, and make models to measure with",
		Subcommands: []*cli.Command{
			{Name: "gemm", Usage: "speed of products with frozen weights, by shape and mode", UsageText: "graft bench gemm\n   graft bench gemm --shape 512x2048x2048 --threads 1,2 --json",
				Flags: []cli.Flag{jsonFlag(),
					&cli.StringSliceFlag{Name: "shape", Usage: "`TxNxK`: rows, outputs, inputs; several times for several"},
					&cli.StringFlag{Name: "threads", Usage: "numbers of threads, with commas; all cores by default"},
					&cli.StringFlag{Name: "mode", Usage: "f32, bf16, split, with commas; all by default"},
					&cli.DurationFlag{Name: "time", Value: 300 * time.Millisecond, Usage: "of each measurement"}},
				Action: e.benchGemm},
			{Name: "make", Usage: "write a model of seeded random weights in the shape of a config.json", ArgsUsage: "CONFIG", UsageText: "graft bench make config.json --out models/random",
				Flags: []cli.Flag{outFlag("`folder` to write"), &cli.Uint64Flag{Name: "seed", Value: 1}, &cli.StringFlag{Name: "max-shard-size", Value: "5GB"},
					&cli.BoolFlag{Name: "force", Usage: "replace a model folder that is there"}},
				Action: e.benchMake},
		},
	}
}

// benchShapes are T, N, K of the models that people fine-tune.
var benchShapes = [][3]int{{16, 2048, 2048}, {128, 2048, 2048}, {256, 768, 768}, {512, 896, 896}, {512, 4864, 896}, {512, 2048, 2048}, {1024, 2048, 2048}, {1024, 5632, 2048}}

func (e *env) benchGemm(c *cli.Context) error {
	shapes := benchShapes
	if list := c.StringSlice("shape"); len(list) > 0 {
		shapes = nil
		for _, s := range list {
			var x [3]int
			if n, err := fmt.Sscanf(s, "%dx%dx%d", &x[0], &x[1], &x[2]); err != nil || n != 3 || min(x[0], x[1], x[2]) < 1 || max(x[0], x[1], x[2]) > 1<<20 {
				return usagef("bench gemm: shape %q, want TxNxK such as 512x2048x2048", s)
			}
			shapes = append(shapes, x)
		}
	}
	modes := []kernel.Mode{kernel.ModeF32, kernel.ModeBF16, kernel.ModeSplit}
	if s := c.String("mode"); s != "" {
		modes = nil
		for _, name := range strings.Split(s, ",") {
			m, err := kernel.ParseMode(name)
			if err != nil {
				return usageError{err}
			}
			modes = append(modes, m)
		}
	}
	threads := []int{runtime.GOMAXPROCS(0)}
	if s := c.String("threads"); s != "" {
		threads = nil
		for _, f := range strings.Split(s, ",") {
			n, err := strconv.Atoi(f)
			if err != nil || n < 1 || n > 1024 {
				return usagef("bench gemm: threads %q, want numbers of at least 1 such as 1,2", s)
			}
			threads = append(threads, n)
		}
	}
	view := newProgress(e.stderr, 1)
	results := kernel.BenchGemm(shapes, modes, threads, c.Duration("time"), func(r kernel.GemmResult) {
		view.stage(fmt.Sprintf("%s %s %dx%dx%d: %.0f GFLOP/s", r.Op, r.Mode, r.T, r.N, r.K, r.GFLOPS))
	})
	view.end()
	if c.Bool("json") {
		return e.printJSON(results)
	}
	fmt.Fprintf(e.stdout, "kernels %s; GFLOP/s, bf16 weights in place, best of repeats\n", kernel.Features())
	t := table.NewWriter()
	t.SetOutputMirror(e.stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = 0
	t.AppendHeader(table.Row{"T, N, K", "threads", "mode", "forward", "backward"})
	for i := 0; i+1 < len(results); i += 2 {
		f, b := results[i], results[i+1]
		t.AppendRow(table.Row{fmt.Sprintf("%d, %d, %d", f.T, f.N, f.K), f.Threads, f.Mode, fmt.Sprintf("%.0f", f.GFLOPS), fmt.Sprintf("%.0f", b.GFLOPS)})
	}
	t.Render()
	return nil
}

func (e *env) benchMake(c *cli.Context) error {
	path, err := one(c, "config.json")
	if err != nil {
		return err
	}
	if c.String("out") == "" {
		return usagef("bench make: --out is missing, want the folder to write")
	}
	size, err := parseSize(c.String("max-shard-size"))
	if err != nil {
		return err
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return usagef("bench make: %w", err)
	}
	if err := synth.Llama(c.String("out"), config, c.Uint64("seed"), synth.Options{MaxShardSize: size, Force: c.Bool("force")}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "wrote %s\n", c.String("out"))
	return err
}
