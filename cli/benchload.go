package cli

import (
	"fmt"
	"time"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/urfave/cli/v2"
)

func (e *env) benchLoadCommand() *cli.Command {
	return &cli.Command{Name: "load", Usage: "time from nothing to the first logits", ArgsUsage: "MODEL|ADAPTER|RUN",
		UsageText:   "graft bench load models/llama\ngraft bench load models/llama --adapter runs/first/adapter --quantize nf4 --json",
		Description: "The model is opened, attached to and asked for the logits after one token, several times; figures are medians. What the system has in memory of the files stays there.",
		Flags: append(modelFlags(), quantizeFlag(), jsonFlag(), rankFlag(),
			&cli.IntFlag{Name: "repeat", Value: 5, Usage: "times that each is measured"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of --rank"},
			&cli.StringFlag{Name: "cpuprofile", Usage: "write a CPU profile to `file`"}),
		Action: e.benchLoad}
}

// loadBench is what graft bench load measures.
type loadBench struct {
	Model      string  `json:"model"`
	Adapter    string  `json:"adapter,omitempty"`
	Compute    string  `json:"compute"`
	Quantize   string  `json:"quantize"`
	Kernel     string  `json:"kernel"`
	Open       float64 `json:"open_ms"`         // files mapped, the model built, the adapter attached
	Logits     float64 `json:"first_logits_ms"` // after one token, from there on
	First      float64 `json:"start_seconds"`   // from the start of the process to the first logits of all
	Anonymous  int64   `json:"memory_anonymous"`
	Mapped     int64   `json:"memory_mapped"`
	MemoryPeak int64   `json:"memory_peak"`
}

func (e *env) benchLoad(c *cli.Context) error {
	path, err := one(c, "model, adapter or run")
	if err != nil {
		return err
	}
	repeat := c.Int("repeat")
	if repeat < 1 {
		return usagef("bench load: repeat is %d, want at least 1", repeat)
	}
	profile, err := openCPUProfile(c.String("cpuprofile"))
	if err != nil {
		return err
	}
	b := &loadBench{Quantize: c.String("quantize"), Kernel: kernel.Features()}
	var opens, logits []time.Duration
	profile.start()
	for range repeat {
		opened, answered, err := b.once(c, path)
		if err != nil {
			return err
		}
		if b.First == 0 {
			b.First = round3(time.Since(e.started).Seconds())
		}
		opens, logits = append(opens, opened), append(logits, answered)
	}
	if err := profile.stop(); err != nil {
		return err
	}
	b.Open, b.Logits = round3(1e3*median(opens).Seconds()), round3(1e3*median(logits).Seconds())
	if c.Bool("json") {
		return e.printJSON(b)
	}
	return e.printLoadBench(b)
}

// once opens the subject and asks it for the logits after a token.
func (b *loadBench) once(c *cli.Context, path string) (opened, answered time.Duration, err error) {
	start := time.Now()
	s, err := openRanked(c, path)
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	opened = time.Since(start)
	if _, err := generate.NewSession(s.model, s.mode).Extend([][]int32{{0}}); err != nil {
		return 0, 0, err
	}
	u := meminfo.Read()
	b.Model, b.Adapter, b.Compute = s.path, adapterName(c, s), s.mode.String()
	b.Anonymous, b.Mapped, b.MemoryPeak = u.Anonymous, u.Mapped, u.Peak
	return opened, time.Since(start) - opened, nil
}

func (e *env) printLoadBench(b *loadBench) error {
	t := newPairs(e.stdout)
	t.add("model", fmt.Sprintf("%s, quantize %s, %s on %s", b.Model, b.Quantize, b.Compute, b.Kernel))
	if b.Adapter != "" {
		t.add("adapter", b.Adapter)
	}
	t.add("open", fmt.Sprintf("%.1f ms", b.Open))
	t.add("first logits", fmt.Sprintf("%.1f ms later", b.Logits))
	t.add("start", fmt.Sprintf("%.2f s from the start of the program to the first logits", b.First))
	t.add("memory", fmt.Sprintf("%s of its own, %s mapped, peak of both %s", bytesText(b.Anonymous), bytesText(b.Mapped), bytesText(b.MemoryPeak)))
	return t.flush()
}
