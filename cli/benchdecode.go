package cli

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func (e *env) benchDecodeCommand() *cli.Command {
	return &cli.Command{Name: "decode", Usage: "speed of reading prompts and of writing tokens, and the memory that takes", ArgsUsage: "MODEL|ADAPTER|RUN",
		UsageText: "graft bench decode models/llama\ngraft bench decode models/llama --adapter runs/first/adapter --batch 1,8 --compute bf16 --json\n" +
			"graft bench decode models/llama --rank 16 --prompt 64 --new 32 --cpuprofile cpu.pprof",
		Description: "Prompts are random tokens; texts go on greedily. With an adapter, the model is measured with it and without it in turn. Figures are medians.",
		Flags: append(modelFlags(), quantizeFlag(), jsonFlag(),
			rankFlag(),
			&cli.IntFlag{Name: "prompt", Value: 512, Usage: "tokens of a prompt"},
			&cli.IntFlag{Name: "new", Value: 64, Usage: "tokens written to each"},
			&cli.StringFlag{Name: "batch", Value: "1,8", Usage: "numbers of prompts at once, with commas"},
			&cli.StringFlag{Name: "threads", Usage: "numbers of threads, with commas; all cores by default"},
			&cli.IntFlag{Name: "repeat", Value: 3, Usage: "times that each is measured"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the prompts and of --rank"},
			&cli.StringFlag{Name: "cpuprofile", Usage: "write a CPU profile of the measured runs to `file`"}),
		Action: e.benchDecode}
}

// decodeBench is what graft bench decode measures.
type decodeBench struct {
	Model      string      `json:"model"`
	Adapter    string      `json:"adapter,omitempty"`
	Compute    string      `json:"compute"`
	Quantize   string      `json:"quantize"`
	Kernel     string      `json:"kernel"`
	Prompt     int         `json:"prompt_tokens"`
	New        int         `json:"new_tokens"`
	Weights    int64       `json:"weight_bytes"` // that each token passes through, the head included
	Load       float64     `json:"load_seconds"` // from the start of the process to a model that is ready
	Runs       []decodeRun `json:"runs"`
	Anonymous  int64       `json:"memory_anonymous"` // at the end of the runs
	Mapped     int64       `json:"memory_mapped"`
	MemoryPeak int64       `json:"memory_peak"`
}

// decodeRun is one number of prompts at once, with the adapter or without. Each figure is the median of the repeats.
type decodeRun struct {
	Adapter    bool    `json:"adapter"`
	Batch      int     `json:"batch"`
	Threads    int     `json:"threads"`
	Prefill    float64 `json:"prefill_tokens_per_second"`
	FirstToken float64 `json:"first_token_ms"` // from the prompts to the first tokens
	Decode     float64 `json:"decode_tokens_per_second"`
	Step       float64 `json:"step_ms"`    // one more token for each
	Rate       float64 `json:"weights_gb"` // of weights a second in these steps
	Read       float64 `json:"read_gb"`    // a second that as many threads can read from memory
	Share      float64 `json:"read_share"` // Rate of Read
}

func (e *env) benchDecode(c *cli.Context) error {
	path, err := one(c, "model, adapter or run")
	if err != nil {
		return err
	}
	w, err := newDecodeWatch(c)
	if err != nil {
		return err
	}
	s, err := openRanked(c, path)
	if err != nil {
		return err
	}
	defer s.close()
	plain, err := s.without()
	if err != nil {
		return err
	}
	if err := s.model.CheckGenerates(); err != nil {
		return err
	}
	if err := s.model.CheckPositions([]int32{int32(w.prompt + w.new)}); err != nil {
		return usagef("bench decode: --prompt %d and --new %d: %w", w.prompt, w.new, err)
	}
	w.models = []*model.Model{plain}
	if s.adapter != nil {
		w.models = append(w.models, s.model)
	}
	b := &decodeBench{Model: s.path, Adapter: adapterName(c, s), Compute: s.mode.String(), Quantize: c.String("quantize"), Kernel: kernel.Features(), Prompt: w.prompt, New: w.new,
		Weights: weightBytes(s.model), Load: round3(time.Since(e.started).Seconds())}
	w.mode, w.vocab, w.view = s.mode, s.model.Config.VocabSize, newProgress(e.stderr, 1)
	if w.profile, err = openCPUProfile(c.String("cpuprofile")); err != nil {
		return err
	}
	if err := w.run(c.Context, b); err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(b)
	}
	return e.printDecodeBench(b)
}

// rankFlag asks for an adapter where there is none.
func rankFlag() cli.Flag {
	return &cli.IntFlag{Name: "rank", Usage: "measure with a LoRA of random numbers on all projections, of this rank"}
}

// openRanked opens a model with its adapter, or with random LoRA where --rank asks for it.
func openRanked(c *cli.Context, path string) (*subject, error) {
	s, err := openSubject(c, path)
	if err != nil {
		return nil, err
	}
	n := c.Int("rank")
	switch {
	case n > 0 && s.adapter == nil:
		s.adapter, err = randomLoRA(s.model, n, c.Uint64("seed"))
	case n != 0:
		err = usagef("bench %s: --rank is %d, want at least 1, and no other adapter", c.Command.Name, n)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// adapterName says what openRanked attached.
func adapterName(c *cli.Context, s *subject) string {
	if n := c.Int("rank"); n > 0 {
		return fmt.Sprintf("LoRA of rank %d on all projections", n)
	}
	return s.folder
}

// without is the subject's model without its adapter, over the same weights where the file's are used.
func (s *subject) without() (*model.Model, error) {
	if s.adapter == nil {
		return s.model, nil
	}
	m, err := model.Load(s.src)
	if err == nil {
		_, err = s.keep(m)
	}
	return m, err
}

// randomLoRA puts LoRA with random A and B on all projections.
func randomLoRA(m *model.Model, rank int, seed uint64) (peft.Adapter, error) {
	config := lora.New()
	config.Rank, config.Alpha, config.Init, config.TargetModules.Pattern = rank, 2*float64(rank), "false", peft.AllLinear
	return config.Attach(m, rand.New(rand.NewPCG(seed, 2)))
}

// weightBytes is what a token's way through the model reads of frozen weights.
func weightBytes(m *model.Model) (n int64) {
	for s := range m.Slots() {
		if s.Projection != nil && s.Base != nil {
			n += s.Base.W.Bytes()
		}
	}
	return n
}

// decodeWatch measures. Times of one cell are those of its repeats.
type decodeWatch struct {
	prompt, new, repeat int
	batches, threads    []int
	seed                uint64
	models              []*model.Model // the plain one, then that with the adapter
	mode                kernel.Mode
	vocab               int
	view                *progress
	profile             *cpuProfile
}

func newDecodeWatch(c *cli.Context) (w *decodeWatch, err error) {
	w = &decodeWatch{prompt: c.Int("prompt"), new: c.Int("new"), repeat: c.Int("repeat"), seed: c.Uint64("seed")}
	if w.prompt < 1 || w.new < 2 || w.repeat < 1 {
		return nil, usagef("bench decode: prompt is %d, new %d, repeat %d, want at least 1, 2, 1", w.prompt, w.new, w.repeat)
	}
	if w.batches, err = parseCounts("bench decode", "batch", c.String("batch")); err != nil {
		return nil, err
	}
	w.threads, err = parseThreads("bench decode", c.String("threads"))
	return w, err
}

// run measures every cell, the models in turn, and tells what memory that took.
func (w *decodeWatch) run(ctx context.Context, b *decodeBench) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	if _, _, err := w.once(ctx, w.models[0], 1); err != nil { // what the first pass makes, and pages of the file
		return err
	}
	w.profile.start()
	for _, threads := range w.threads {
		runtime.GOMAXPROCS(threads)
		for _, batch := range w.batches {
			runs, err := w.cell(ctx, batch, threads)
			if err != nil {
				return err
			}
			b.Runs = append(b.Runs, runs...)
		}
	}
	if err := w.profile.stop(); err != nil {
		return err
	}
	u := meminfo.Read()
	b.Anonymous, b.Mapped, b.MemoryPeak = u.Anonymous, u.Mapped, u.Peak
	w.view.stage("measuring this machine's memory")
	for i := range b.Runs {
		w.compare(&b.Runs[i], b.Weights)
	}
	w.view.end()
	return nil
}

// cell measures one number of prompts at once.
func (w *decodeWatch) cell(ctx context.Context, batch, threads int) ([]decodeRun, error) {
	firsts, steps := make([][]time.Duration, len(w.models)), make([][]time.Duration, len(w.models))
	for r := range w.repeat {
		for i, m := range w.models {
			w.view.stage(fmt.Sprintf("%d prompts of %d tokens, %d threads, run %d of %d", batch, w.prompt, threads, r*len(w.models)+i+1, w.repeat*len(w.models)))
			first, step, err := w.once(ctx, m, batch)
			if err != nil {
				return nil, err
			}
			firsts[i], steps[i] = append(firsts[i], first), append(steps[i], step)
		}
	}
	var runs []decodeRun
	for i := range w.models {
		first, step := median(firsts[i]).Seconds(), median(steps[i]).Seconds()
		runs = append(runs, decodeRun{Adapter: i > 0, Batch: batch, Threads: threads, Prefill: round3(float64(batch*w.prompt) / first), FirstToken: round3(1e3 * first),
			Decode: round3(float64(batch) / step), Step: round3(1e3 * step)})
	}
	return runs, nil
}

func median(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// once reads random prompts and goes on from there. first is how long the first token took, step each further one.
func (w *decodeWatch) once(ctx context.Context, m *model.Model, batch int) (first, step time.Duration, err error) {
	rng := rand.New(rand.NewPCG(w.seed, uint64(batch)))
	prompts := make([][]int32, batch)
	for i := range prompts {
		prompts[i] = make([]int32, w.prompt)
		for j := range prompts[i] {
			prompts[i][j] = rng.Int32N(int32(w.vocab))
		}
	}
	session := generate.NewSession(m, w.mode)
	start := time.Now()
	var firstAt, lastAt time.Time
	_, err = generate.Tokens(ctx, session, prompts, generate.Options{MaxNewTokens: w.new}, func(i int, _ int32) bool {
		if lastAt = time.Now(); firstAt.IsZero() {
			firstAt = lastAt
		}
		return true
	})
	return firstAt.Sub(start), lastAt.Sub(firstAt) / time.Duration(w.new-1), err
}

// compare sets the speed of a run beside that of the memory.
func (w *decodeWatch) compare(r *decodeRun, weights int64) {
	r.Rate = round3(float64(weights) / 1e6 / r.Step)
	r.Read = round3(kernel.BenchRead(r.Threads, 300*time.Millisecond) / 1e9)
	r.Share = round3(r.Rate / r.Read)
}

func (e *env) printDecodeBench(b *decodeBench) error {
	p := newPairs(e.stdout)
	p.add("model", fmt.Sprintf("%s, quantize %s, %s on %s, %s of weights a token", b.Model, b.Quantize, b.Compute, b.Kernel, bytesText(b.Weights)))
	p.add("adapter", cmp.Or(b.Adapter, "none"))
	p.add("ready", fmt.Sprintf("%.2f s after the start of the program", b.Load))
	p.add("memory", fmt.Sprintf("%s of its own, %s mapped, peak of both %s", bytesText(b.Anonymous), bytesText(b.Mapped), bytesText(b.MemoryPeak)))
	if err := p.flush(); err != nil {
		return err
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = 0
	t.AppendHeader(table.Row{"batch", "threads", "adapter", "prefill tokens/s", "first token ms", "decode tokens/s", "step ms", "weights GB/s", "of a plain read"})
	for _, r := range b.Runs {
		t.AppendRow(table.Row{r.Batch, r.Threads, map[bool]string{true: "yes", false: "no"}[r.Adapter], fmt.Sprintf("%.1f", r.Prefill), fmt.Sprintf("%.0f", r.FirstToken),
			fmt.Sprintf("%.2f", r.Decode), fmt.Sprintf("%.1f", r.Step), fmt.Sprintf("%.1f", r.Rate), fmt.Sprintf("%.0f %%", 100*r.Share)})
	}
	_, err := fmt.Fprintf(e.stdout, "prompts of %d tokens, %d new ones\n%s\n", b.Prompt, b.New, t.Render())
	return err
}
