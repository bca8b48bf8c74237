package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/mat"
	"github.com/urfave/cli/v2"
)

func (e *env) benchTrainCommand() *cli.Command {
	return &cli.Command{Name: "train", Usage: "speed and memory of a recipe's first steps", ArgsUsage: "RECIPE",
		UsageText: "graft bench train quickstart\ngraft bench train my.toml --steps 20 --set model.compute=bf16 --json\ngraft bench train my.toml --cpuprofile cpu.pprof",
		Flags: []cli.Flag{jsonFlag(), setFlag(),
			&cli.IntFlag{Name: "steps", Value: 20, Usage: "that are measured"},
			&cli.IntFlag{Name: "warmup", Value: 2, Usage: "steps before those"},
			&cli.StringFlag{Name: "cpuprofile", Usage: "write a CPU profile of the measured steps to `file`"},
			&cli.StringFlag{Name: "memprofile", Usage: "write a profile of all allocations to `file`"}},
		Action: e.benchTrain}
}

// trainBench is what graft bench train measures. Times are those of the measured steps; a step is one update.
type trainBench struct {
	Recipe   string  `json:"recipe"`
	Base     string  `json:"base"`
	Compute  string  `json:"compute"`
	Kernel   string  `json:"kernel"`
	Threads  int     `json:"threads"`
	Steps    int     `json:"steps"`
	Tokens   int64   `json:"tokens"`  // read; there is no padding
	Targets  int64   `json:"targets"` // of these
	Seconds  float64 `json:"seconds"`
	TokensPS float64 `json:"tokens_per_second"`
	TargetPS float64 `json:"targets_per_second"`

	Median float64   `json:"median_ms"` // of the steps
	Parts  stepParts `json:"ms_per_step"`

	Needed   float64 `json:"gflop_needed"`   // of the products with weights, a step: 4 a token and frozen weight, 6 for a trained one, the head where there is a target
	Executed float64 `json:"gflop_executed"` // by the products that were done
	Rate     float64 `json:"gflops_executed_per_second"`
	Peak     float64 `json:"gflops_peak"` // of large products in this process
	Share    float64 `json:"peak_share"`

	Anonymous   int64              `json:"memory_anonymous"` // the largest seen after a step
	Mapped      int64              `json:"memory_mapped"`
	MemoryPeak  int64              `json:"memory_peak"`
	Allocations float64            `json:"allocations_per_step"`
	Allocated   float64            `json:"allocated_bytes_per_step"`
	FirstStep   float64            `json:"first_step_seconds"` // from the start of the process
	Start       map[string]float64 `json:"start_seconds"`      // what came before that step, by stage
	FirstLoss   float64            `json:"first_loss"`
	LastLoss    float64            `json:"last_loss"`
}

// stepParts is where the time of a step went, in milliseconds.
type stepParts struct {
	Data      float64 `json:"data"`
	Forward   float64 `json:"forward"`
	Loss      float64 `json:"loss"` // the head with its loss; their gradients, too, which are found on the way
	Backward  float64 `json:"backward"`
	Optimizer float64 `json:"optimizer"`
}

func (e *env) benchTrain(c *cli.Context) error {
	steps, warmup := c.Int("steps"), c.Int("warmup")
	if steps < 1 || warmup < 0 {
		return usagef("bench train: steps is %d and warmup %d, want at least 1 and 0", steps, warmup)
	}
	r, name, err := e.recipeArgument(c)
	if err != nil {
		return err
	}
	view := newProgress(e.stderr, 1)
	p, err := prepare(c.Context, r, name, view.stage)
	if err != nil {
		return err
	}
	defer p.base.close()
	p.keepWithin()
	w := newStepWatch(p, warmup)
	if w.profile, err = openCPUProfile(c.String("cpuprofile")); err != nil {
		return err
	}
	j := w.watch(p.job(), warmup+steps)
	j.Report = paced(func(ev train.Event) {
		w.report(ev)
		view.stage(fmt.Sprintf("step %d of %d, loss %.4f", ev.Step, ev.TotalSteps, ev.Loss))
	})
	result, err := train.Run(c.Context, j)
	if err = errors.Join(err, w.profile.stop()); err != nil {
		return err
	}
	if result.Interrupted {
		return context.Canceled
	}
	view.stage("measuring the peak of this machine")
	b := w.result(p, e.started)
	view.end()
	if err := writeAllocProfile(c.String("memprofile")); err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(b)
	}
	return e.printTrainBench(b)
}

// stepWatch stands around what a run calls, and takes the time.
type stepWatch struct {
	source    train.Source
	objective train.Objective
	penalty   func(bool) float64
	skip      int // steps that are not measured
	profile   *cpuProfile

	now          func() time.Time
	began        time.Time // of the step
	hidden       time.Time // when the last layer was done
	gradients    time.Time // when all gradients were there
	parts        [4]time.Duration
	spent        [5]time.Duration // of all measured steps: data, forward, loss, backward, optimizer
	each         []time.Duration
	tokens       int64
	targets      int64
	flops        float64 // since the measured steps began
	first, last  float64 // losses
	firstBegun   time.Time
	firstDone    time.Time
	memory       meminfo.Usage
	before       runtime.MemStats
	sources      int64 // of the tokens
	countTokens  int64
	countSources int64
	countTargets int64
}

const (
	partData = iota
	partForward
	partLoss
	partOptimizer
)

func newStepWatch(p *plan, skip int) *stepWatch {
	w := &stepWatch{skip: skip, now: time.Now}
	for s := range p.base.model.Slots() {
		if s.Projection != nil {
			s.Projection = newCounted(s.Projection, &w.flops)
		}
	}
	last := len(p.base.model.Blocks)
	p.base.model.Trace = func(i int, _ []float32) {
		if i == last {
			w.hidden = w.now()
		}
	}
	return w
}

// watch puts w around the job.
func (w *stepWatch) watch(j train.Job, steps int) train.Job {
	w.source, w.objective, w.penalty = j.Source, j.Objective, j.Penalty
	j.Source, j.Objective, j.Penalty = timedSource{j.Source, w}, timedObjective{j.Objective, w}, w.afterGradients
	j.Steps, j.WarmupSteps = steps, min(j.WarmupSteps, steps)
	j.Eval, j.Metrics, j.EvalSteps, j.EarlyStopping, j.LoadBest, j.EvalOnStart = nil, nil, 0, 0, false, false
	return j
}

func (w *stepWatch) afterGradients(grad bool) (penalty float64) {
	if w.penalty != nil {
		penalty = w.penalty(grad)
	}
	w.gradients = w.now()
	return penalty
}

// timedSource notes when a step begins and how long its data took.
type timedSource struct {
	train.Source
	w *stepWatch
}

func (s timedSource) Next() (train.Step, error) {
	s.w.begin()
	step, err := s.Source.Next()
	s.w.parts[partData] += s.w.now().Sub(s.w.began)
	return step, err
}

// timedObjective notes how long the layers and the loss took.
type timedObjective struct {
	train.Objective
	w *stepWatch
}

func (o timedObjective) Loss(p *op.Pass, b *data.Batch, scale float64, l train.LossOptions) (mat.Tensor, train.Sums, error) {
	start := o.w.now()
	o.w.hidden = start
	node, sums, err := o.Objective.Loss(p, b, scale, l)
	o.w.parts[partForward] += o.w.hidden.Sub(start)
	o.w.parts[partLoss] += o.w.now().Sub(o.w.hidden)
	o.w.countTokens += int64(b.NumRows())
	o.w.countSources += int64(b.NumRows() - len(b.Tokens))
	o.w.countTargets += int64(sums.Targets)
	return node, sums, err
}

// begin starts a step; the first measured one starts the profile.
func (w *stepWatch) begin() {
	if w.skip == 0 && len(w.each) == 0 {
		w.flops, w.tokens, w.sources, w.targets = 0, 0, 0, 0
		w.profile.start()
		runtime.ReadMemStats(&w.before)
	}
	w.parts, w.countTokens, w.countSources, w.countTargets = [4]time.Duration{}, 0, 0, 0
	w.began = w.now()
	if w.firstBegun.IsZero() {
		w.firstBegun = w.began
	}
}

// report ends a step.
func (w *stepWatch) report(ev train.Event) {
	if ev.Kind != train.Stepped {
		return
	}
	end := w.now()
	if w.firstDone.IsZero() {
		w.firstDone, w.first = end, ev.Loss
	}
	u := meminfo.Read()
	w.memory.Anonymous, w.memory.Mapped, w.memory.Peak = max(w.memory.Anonymous, u.Anonymous), max(w.memory.Mapped, u.Mapped), max(w.memory.Peak, u.Peak)
	w.last = ev.Loss
	if w.skip > 0 {
		w.skip--
		return
	}
	w.parts[partOptimizer] = end.Sub(w.gradients)
	total := end.Sub(w.began)
	backward := total - w.parts[partData] - w.parts[partForward] - w.parts[partLoss] - w.parts[partOptimizer]
	for i, d := range []time.Duration{w.parts[partData], w.parts[partForward], w.parts[partLoss], backward, w.parts[partOptimizer]} {
		w.spent[i] += d
	}
	w.each = append(w.each, total)
	w.tokens += w.countTokens
	w.sources += w.countSources
	w.targets += w.countTargets
}

// result computes the figures, for which it measures the peak of the machine.
func (w *stepWatch) result(p *plan, started time.Time) *trainBench {
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	n := float64(len(w.each))
	var total time.Duration
	for _, d := range w.each {
		total += d
	}
	slices.Sort(w.each)
	ms := func(d time.Duration) float64 { return round3(d.Seconds() * 1e3 / n) }
	b := &trainBench{Recipe: p.name, Base: p.base.path, Compute: p.base.mode.String(), Kernel: kernel.Features(), Threads: runtime.GOMAXPROCS(0),
		Steps: len(w.each), Tokens: w.tokens, Targets: w.targets, Seconds: round3(total.Seconds()),
		TokensPS: round3(float64(w.tokens) / total.Seconds()), TargetPS: round3(float64(w.targets) / total.Seconds()),
		Median: round3(w.each[len(w.each)/2].Seconds() * 1e3),
		Parts:  stepParts{ms(w.spent[0]), ms(w.spent[1]), ms(w.spent[2]), ms(w.spent[3]), ms(w.spent[4])},
		Needed: round3(neededFLOP(p.base.model, w.tokens, w.sources, w.targets) / n / 1e9), Executed: round3(w.flops / n / 1e9),
		Rate:      round3(w.flops / 1e9 / total.Seconds()),
		Anonymous: w.memory.Anonymous, Mapped: w.memory.Mapped, MemoryPeak: w.memory.Peak,
		Allocations: math.Round(float64(after.Mallocs-w.before.Mallocs) / n), Allocated: math.Round(float64(after.TotalAlloc-w.before.TotalAlloc) / n),
		FirstStep: round3(w.firstDone.Sub(started).Seconds()), FirstLoss: w.first, LastLoss: w.last}
	b.Start = w.start(p, started)
	b.Peak = peakGFLOPS(p.base.mode)
	b.Share = round3(b.Rate / b.Peak)
	return b
}

// start is where the time before the first step went.
func (w *stepWatch) start(p *plan, started time.Time) map[string]float64 {
	parts := map[string]float64{}
	rest := w.firstBegun.Sub(started)
	for name, d := range p.took {
		parts[name] = round3(d.Seconds())
		rest -= d
	}
	parts["other"] = round3(rest.Seconds())
	return parts
}

func round3(v float64) float64 { return math.Round(v*1e3) / 1e3 }

// peakGFLOPS is the speed of a large product, forward and backward in equal parts.
func peakGFLOPS(mode kernel.Mode) float64 {
	r := kernel.BenchGemm([][3]int{{512, 2048, 2048}}, kernel.BF16, []kernel.Mode{mode}, []int{runtime.GOMAXPROCS(0)}, 300*time.Millisecond, nil)
	return round3(2 / (1/r[0].GFLOPS + 1/r[1].GFLOPS))
}

// neededFLOP is what the products with weights cannot do without: each token through the layers of its
// stack, each target through the head.
func neededFLOP(m *model.Model, tokens, sources, targets int64) (n float64) {
	read := sourceSlots(m)
	for s := range m.Slots() {
		c, ok := s.Projection.(*counted)
		if !ok {
			continue
		}
		rows := float64(tokens - sources)
		switch {
		case m.Head() == s:
			rows = float64(targets)
		case read[s]:
			rows = float64(sources)
		}
		n += rows * (4*c.frozen + 6*c.trained)
	}
	return n
}

// counted is a projection that adds up what its products cost.
type counted struct {
	op.Projection
	frozen, trained float64 // weights
	flops           *float64
}

func newCounted(q op.Projection, flops *float64) *counted {
	c := &counted{Projection: q, flops: flops}
	in, out := q.Dims()
	c.frozen = float64(in) * float64(out)
	for _, p := range q.Params() {
		c.trained += float64(p.Value().(mat.Matrix).Size())
	}
	if c.trained >= c.frozen { // the weight itself is trained
		c.frozen = 0
	}
	return c
}

// Reading implements op.Reader: what is counted keeps no more than what is not.
func (c *counted) Reading() op.Reading { return op.ReadingOf(c.Projection) }

// ByRow says what the projection does: see layer.ByRow.
func (c *counted) ByRow() bool { return layer.ByRow(c.Projection) }

// Forward implements op.Projection.
func (c *counted) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	*c.flops += 2 * float64(x.Rows) * (c.frozen + c.trained)
	return c.Projection.Forward(p, y, x)
}

// Backward implements op.Projection.
func (c *counted) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	*c.flops += 2 * float64(x.Rows) * c.trained
	if dx.Rows > 0 {
		*c.flops += 2 * float64(x.Rows) * (c.frozen + c.trained)
	}
	c.Projection.Backward(p, dx, dy, x, saved)
}

func (e *env) printTrainBench(b *trainBench) error {
	t := newPairs(e.stdout)
	t.add("base", fmt.Sprintf("%s, %s on %s, %d threads", b.Base, b.Compute, b.Kernel, b.Threads))
	t.add("steps", fmt.Sprintf("%d of %s tokens, %s targets; median %.1f ms", b.Steps, count(b.Tokens/int64(b.Steps)), count(b.Targets/int64(b.Steps)), b.Median))
	t.add("speed", fmt.Sprintf("%.0f tokens/s, %.0f targets/s", b.TokensPS, b.TargetPS))
	t.add("ms a step", fmt.Sprintf("data %.1f, forward %.1f, loss %.1f, backward %.1f, optimizer %.1f", b.Parts.Data, b.Parts.Forward, b.Parts.Loss, b.Parts.Backward, b.Parts.Optimizer))
	t.add("products", fmt.Sprintf("%.1f GFLOP a step needed, %.1f done at %.0f GFLOP/s", b.Needed, b.Executed, b.Rate))
	t.add("peak", fmt.Sprintf("%.0f GFLOP/s, of which %.0f %%", b.Peak, 100*b.Share))
	t.add("memory", fmt.Sprintf("%s of its own, %s mapped, peak of both %s", bytesText(b.Anonymous), bytesText(b.Mapped), bytesText(b.MemoryPeak)))
	t.add("allocations", fmt.Sprintf("%.0f a step, %s", b.Allocations, bytesText(int64(b.Allocated))))
	t.add("first step", fmt.Sprintf("done %.2f s after the start of the program; before it %s", b.FirstStep, startText(b.Start)))
	t.add("loss", fmt.Sprintf("%.4f at first, %.4f at last", b.FirstLoss, b.LastLoss))
	return t.flush()
}

// startText lists the stages that took a hundredth of a second or more.
func startText(parts map[string]float64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if s := parts[name]; s >= 0.005 {
			list = append(list, fmt.Sprintf("%s %.2f", name, s))
		}
	}
	return strings.Join(list, ", ")
}
