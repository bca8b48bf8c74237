package cli

import (
	"errors"
	"fmt"
	"io/fs"
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
		Name:      "bench",
		Usage:     "measure this machine, and make models to measure with",
		UsageText: "graft bench gemm\ngraft bench train my.toml\ngraft bench decode models/llama\ngraft bench make config.json --out models/random",
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c.Args().First(), c.Command.Subcommands)
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			{Name: "gemm", Usage: "speed of products with frozen weights, by shape and mode", UsageText: "graft bench gemm\ngraft bench gemm --shape 512x2048x2048 --threads 1,2 --json",
				Flags: []cli.Flag{jsonFlag(), quantizeFlag(),
					&cli.StringSliceFlag{Name: "shape", Usage: "`TxNxK`: rows, outputs, inputs; several times for several"},
					&cli.StringFlag{Name: "threads", Usage: "numbers of threads, with commas; all cores by default"},
					&cli.StringFlag{Name: "mode", Usage: "f32, bf16, split, with commas; all by default"},
					&cli.DurationFlag{Name: "time", Value: 300 * time.Millisecond, Usage: "of each measurement"}},
				Action: e.benchGemm},
			e.benchTrainCommand(),
			e.benchDecodeCommand(),
			e.benchLoadCommand(),
			e.benchMergeCommand(),
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
	if err := atMost(c, 0); err != nil {
		return err
	}
	shapes, err := parseShapes(c.StringSlice("shape"))
	if err != nil {
		return err
	}
	modes, err := parseModes(c.String("mode"))
	if err != nil {
		return err
	}
	threads, err := parseThreads("bench gemm", c.String("threads"))
	if err != nil {
		return err
	}
	bits, err := parseQuantization(c.String("quantize"))
	if err != nil {
		return err
	}
	if bits.head {
		return usagef("bench gemm: --quantize is %q, want a type alone: there is no head", c.String("quantize"))
	}
	kept := kernel.BF16
	if bits.on {
		kept = bits.DType
	}
	view := newProgress(e.stderr, 1)
	results := kernel.BenchGemm(shapes, kept, modes, threads, c.Duration("time"), func(r kernel.GemmResult) {
		view.stage(fmt.Sprintf("%s %s %dx%dx%d: %.0f GFLOP/s", r.Op, r.Mode, r.T, r.N, r.K, r.GFLOPS))
	})
	view.end()
	if c.Bool("json") {
		return e.printJSON(results)
	}
	return e.printBench(results)
}

// benchBytes bounds the operands of one measured product.
const benchBytes = 4 << 30

// parseShapes reads TxNxK; without any, the shapes are those of common models.
func parseShapes(list []string) (shapes [][3]int, err error) {
	if len(list) == 0 {
		return benchShapes, nil
	}
	for _, s := range list {
		parts := strings.Split(s, "x")
		var x [3]int
		for i := range min(len(parts), 3) {
			if x[i], err = strconv.Atoi(parts[i]); err != nil || x[i] > 1<<20 {
				x[i] = 0
			}
		}
		if len(parts) != 3 || min(x[0], x[1], x[2]) < 1 {
			return nil, usagef("bench gemm: shape %q, want TxNxK such as 512x2048x2048, each at most 1048576", s)
		}
		if n := int64(2*x[1]*x[2] + 4*x[0]*(x[1]+x[2])); n > benchBytes {
			return nil, usagef("bench gemm: shape %q takes %s, want at most %s", s, bytesText(n), bytesText(benchBytes))
		}
		shapes = append(shapes, x)
	}
	return shapes, nil
}

// parseModes reads names with commas between; all modes without any.
func parseModes(text string) (modes []kernel.Mode, err error) {
	if text == "" {
		return []kernel.Mode{kernel.ModeF32, kernel.ModeBF16, kernel.ModeSplit}, nil
	}
	for _, name := range strings.Split(text, ",") {
		m, err := kernel.ParseMode(name)
		if err != nil {
			return nil, usageError{err}
		}
		modes = append(modes, m)
	}
	return modes, nil
}

// parseThreads reads numbers with commas between; all cores without any.
func parseThreads(command, text string) ([]int, error) {
	if text == "" {
		return []int{runtime.GOMAXPROCS(0)}, nil
	}
	return parseCounts(command, "threads", text)
}

// parseCounts reads numbers with commas between.
func parseCounts(command, flag, text string) (list []int, err error) {
	for _, f := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 1 || n > 1024 {
			return nil, usagef("%s: %s %q, want numbers from 1 to 1024 such as 1,2", command, flag, text)
		}
		list = append(list, n)
	}
	return list, nil
}

// printBench prints the results, which come in pairs of forward and backward.
func (e *env) printBench(results []kernel.GemmResult) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = 0
	t.AppendHeader(table.Row{"T, N, K", "threads", "mode", "forward", "backward"})
	for i := 0; i+1 < len(results); i += 2 {
		f, b := results[i], results[i+1]
		t.AppendRow(table.Row{fmt.Sprintf("%d, %d, %d", f.T, f.N, f.K), f.Threads, f.Mode, fmt.Sprintf("%.0f", f.GFLOPS), fmt.Sprintf("%.0f", b.GFLOPS)})
	}
	_, err := fmt.Fprintf(e.stdout, "kernels %s; GFLOP/s, %s weights, best of repeats\n%s\n", kernel.Features(), results[0].Weight, t.Render())
	return err
}

func (e *env) benchMake(c *cli.Context) error {
	path, err := one(c, "config.json")
	if err != nil {
		return err
	}
	if c.String("out") == "" {
		return usagef("bench make: --out is missing, want the folder to write")
	}
	size, err := parseSize("max-shard-size", c.String("max-shard-size"))
	if err != nil {
		return err
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return usagef("bench make: %w", err)
	}
	err = synth.Write(c.String("out"), config, c.Uint64("seed"), synth.Options{MaxShardSize: size, Force: c.Bool("force")})
	if errors.Is(err, fs.ErrExist) {
		return usagef("bench make: %s exists already (--force replaces a model folder)", c.String("out"))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "wrote %s\n", c.String("out"))
	return err
}
