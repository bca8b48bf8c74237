package cli

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/train"
	"github.com/urfave/cli/v2"
)

func (e *env) checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "prepare everything a recipe needs, show what would happen, train nothing",
		ArgsUsage: "RECIPE",
		UsageText: "graft check my.toml\ngraft check my.toml --rows 3\ngraft check my.toml --json",
		Flags: []cli.Flag{setFlag(), jsonFlag(), outFlag("run folder instead of output.dir"),
			&cli.IntFlag{Name: "rows", Value: 2, Usage: "show the tokens of so many examples"},
			&cli.BoolFlag{Name: "recipe", Usage: "print the resolved recipe only"}},
		Action: func(c *cli.Context) error {
			r, name, err := e.recipeArgument(c)
			if err != nil {
				return err
			}
			view := newProgress(e.stderr, 1)
			p, err := prepare(c.Context, r, name, view.stage)
			view.end()
			if err != nil {
				return err
			}
			defer p.base.close()
			if err := errors.Join(train.Check(p.job()), p.base.checkFinite(c.Context)); err != nil {
				return err
			}
			if c.Bool("recipe") {
				_, err := fmt.Fprintf(e.stdout, "%s\n", r.Marshal())
				return err
			}
			f, err := p.forecast()
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return e.printJSON(f)
			}
			return e.printForecast(p, f, c.Int("rows"))
		},
	}
}

// forecast is what a run would do.
type forecast struct {
	Recipe          string         `json:"recipe"` // resolved
	Base            string         `json:"base"`
	ModelType       string         `json:"model_type"`
	Compute         string         `json:"compute"`
	Kernel          string         `json:"kernel"`
	BaseParameters  int64          `json:"base_parameters"`
	Trainable       int64          `json:"trainable_parameters"`
	Modules         []string       `json:"modules,omitempty"`
	Reports         []*data.Report `json:"sources"`
	Train           data.Stats     `json:"train"`
	Eval            data.Stats     `json:"eval"`
	Fill            float64        `json:"packing_fill"`
	Steps           int            `json:"steps"`
	StepsPerEpoch   int            `json:"steps_per_epoch"`
	WarmupSteps     int            `json:"warmup_steps"`
	MicroTokens     int            `json:"micro_tokens"`
	Recompute       bool           `json:"gradient_checkpointing"`
	Attended        bool           `json:"attention_kept"` // where layers are computed again
	MemoryAnonymous int64          `json:"memory_anonymous_bytes"`
	MemoryMapped    int64          `json:"memory_mapped_bytes"`
	Seconds         float64        `json:"seconds_estimate"`
	Folder          string         `json:"run_folder"`
}

func (p *plan) forecast() (forecast, error) {
	f := forecast{Recipe: string(p.recipe.Marshal()), Base: p.recipe.Model.Path, ModelType: p.base.model.ModelType(), Compute: p.base.mode.String(),
		Kernel: kernel.Features(), BaseParameters: p.numBase(), Reports: p.reports, Train: p.train.Stats(), Eval: p.eval.Stats(),
		Fill: p.stream.Fill(), Steps: p.steps, StepsPerEpoch: p.stream.StepsIn(0), WarmupSteps: p.warmup,
		MicroTokens: p.recipe.Train.MicroTokens, Recompute: p.recompute, Attended: p.attended, Folder: p.recipe.Output.Dir}
	for _, q := range p.params {
		f.Trainable += int64(len(q.Value))
	}
	if m, ok := p.adapter.(interface{ Modules() []string }); ok {
		f.Modules = m.Modules()
	}
	if p.base.src != nil {
		f.MemoryMapped = p.base.src.MappedBytes() - p.base.spared
	}
	f.Seconds = p.seconds()
	var err error
	f.MemoryAnonymous, err = p.memory()
	return f, err
}

// seconds estimates the time of the run from its work and a short measurement of the machine.
func (p *plan) seconds() float64 {
	c := p.base.model.Config
	r := kernel.BenchGemm([][3]int{{256, c.HiddenSize, c.HiddenSize}}, kernel.BF16, []kernel.Mode{p.base.mode}, []int{runtime.GOMAXPROCS(0)}, 50*time.Millisecond, nil)
	speed := math.Inf(1)
	for _, g := range r {
		speed = min(speed, g.GFLOPS)
	}
	st := p.train.Stats()
	head := float64(c.HiddenSize) * float64(c.VocabSize)
	perEpoch := 4*p.passedWeights() + float64(st.Targets)*4*head
	if p.adapter == nil {
		perEpoch *= 1.5 // the gradient of every weight
	}
	epochs := float64(p.steps) / float64(max(1, p.stream.StepsIn(0)))
	const overhead = 1.6 // attention, norms, adapters, optimizer
	return perEpoch * epochs * overhead / (speed * 1e9)
}

// printForecast prints the forecast for people.
func (e *env) printForecast(p *plan, f forecast, rows int) error {
	s := screenOf(e.stdout)
	w := e.stdout
	fmt.Fprintln(w, s.paint(bold, "recipe"))
	fmt.Fprintf(w, "%s\n\n%s\n", indent(f.Recipe), s.paint(bold, "model"))
	t := newPairs(w)
	t.add("  task", p.task.Name)
	t.add("  base", fmt.Sprintf("%s (%s, %s parameters)", f.Base, f.ModelType, count(f.BaseParameters)))
	t.add("  compute", fmt.Sprintf("%s on %s", f.Compute, f.Kernel))
	t.add("  trainable", fmt.Sprintf("%s (%.4f %%)", count(f.Trainable), 100*float64(f.Trainable)/float64(f.BaseParameters)))
	if len(f.Modules) > 0 {
		t.add("  modules", fmt.Sprintf("%d: %s", len(f.Modules), ends(f.Modules)))
	}
	t.flush()
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "data"))
	for _, r := range f.Reports {
		t.add("  shape", strings.TrimPrefix(r.Detected, "shape "))
		t.add("  rows", fmt.Sprintf("%s read, %s used, %s examples, %s cut", count(int64(r.Rows)), count(int64(r.Used)), count(int64(r.Examples)), count(int64(r.Truncated))))
		for _, d := range r.Dropped {
			t.add("  dropped", fmt.Sprintf("%s: %s (first at %s)", count(int64(d.Rows)), d.Reason, d.First))
		}
		for _, n := range r.Notes {
			t.add("  note", n)
		}
	}
	for _, n := range p.notes {
		t.add("  note", n)
	}
	t.add("  train", statsText(f.Train))
	if f.Eval.Examples > 0 {
		t.add("  held out", statsText(f.Eval))
	}
	if len(p.labels) > 0 {
		t.add("  labels", fmt.Sprintf("%d: %s", len(p.labels), clipped(strings.Join(p.labels, ", "), 120)))
	}
	t.flush()
	for i := range min(rows, len(p.train)) {
		fmt.Fprintf(w, "\n%s %s  %s\n", s.paint(bold, "example"), p.train[i].Place, s.paint(dim, "(targets are coloured; [weights] where there is no colour)"))
		p.preview(w, s, &p.train[i])
	}
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "run"))
	t.add("  steps", fmt.Sprintf("%d, %d an epoch, %d of warm-up", f.Steps, f.StepsPerEpoch, f.WarmupSteps))
	again := ""
	if f.Recompute {
		again = ", layers computed again in the backward pass"
		if f.Attended {
			again += " but for attention"
		}
	}
	t.add("  one pass", fmt.Sprintf("up to %s tokens, packing fill %.0f %%%s", count(int64(f.MicroTokens)), 100*f.Fill, again))
	t.add("  memory", fmt.Sprintf("about %s of its own, %s mapped", bytesText(f.MemoryAnonymous), bytesText(f.MemoryMapped)))
	t.add("  time", "about "+spanText(time.Duration(f.Seconds*float64(time.Second))))
	t.add("  folder", f.Folder)
	return t.flush()
}

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// ends lists the last parts of module names with how often each comes.
func ends(modules []string) string {
	var order []string
	n := map[string]int{}
	for _, m := range modules {
		end := m[strings.LastIndexByte(m, '.')+1:]
		if n[end] == 0 {
			order = append(order, end)
		}
		n[end]++
	}
	for i, end := range order {
		order[i] = fmt.Sprintf("%s×%d", end, n[end])
	}
	return strings.Join(order, " ")
}

// clipped keeps the first letters of a long text.
func clipped(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func statsText(s data.Stats) string {
	return fmt.Sprintf("%s examples, %s tokens, %s targets (%.0f %%), longest %s", count(int64(s.Examples)), count(s.Tokens), count(s.Targets),
		100*float64(s.Targets)/float64(max(1, s.Tokens)), count(int64(s.Longest)))
}

// previewTokens are shown at either end of a long text.
const previewTokens = 200

// shown yields the positions of n tokens that a preview shows, and skipped how many are left out before one.
func shown(n int) iter.Seq2[int, int] {
	return func(yield func(i, skipped int) bool) {
		for i := 0; i < n; i++ {
			skipped := 0
			if left := n - 2*previewTokens; i == previewTokens && left > 0 {
				i, skipped = i+left, left
			}
			if !yield(i, skipped) {
				return
			}
		}
	}
}

// skippedText stands in a preview for tokens left out.
func skippedText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" … %s tokens … ", count(int64(n)))
}

// preview prints the tokens of an example: targets green, masked tokens dim; without colour, targets in ⟦ ⟧.
func (p *plan) preview(w io.Writer, s screen, x *data.Example) {
	if x.Source != nil {
		fmt.Fprintf(w, "  %s %s\n", s.paint(dim, "source"), p.tokensText(x.Source))
	}
	weights := targetsOf(x)
	var b strings.Builder
	inside := false
	for i, skipped := range shown(len(x.IDs)) {
		b.WriteString(skippedText(skipped))
		target := weights[i] > 0
		if !s.colour && target != inside {
			b.WriteString(map[bool]string{true: "⟦", false: "⟧"}[target])
			inside = target
		}
		b.WriteString(s.painted(p.tokenText(x.IDs[i]), target))
		if target && weights[i] != 1 {
			fmt.Fprintf(&b, "[%g]", weights[i])
		}
	}
	if inside {
		b.WriteString("⟧")
	}
	fmt.Fprintf(w, "  %s\n", b.String())
	if len(x.Labels) > 0 {
		fmt.Fprintf(w, "  %s %s\n", s.paint(dim, "label"), p.labelText(x))
	}
}

// painted is a token with a dot behind.
func (s screen) painted(token string, target bool) string {
	if target {
		return s.paint(green, token) + s.paint(dim, "·")
	}
	return s.paint(dim, token+"·")
}

// tokenText is a token in one line.
func (p *plan) tokenText(id int32) string {
	token, _ := p.base.tok.Token(id)
	return strings.ReplaceAll(token, "\n", "⏎")
}

// tokensText are tokens with a dot behind each.
func (p *plan) tokensText(ids []int32) string {
	var b strings.Builder
	for i, skipped := range shown(len(ids)) {
		b.WriteString(skippedText(skipped) + p.tokenText(ids[i]) + "·")
	}
	return b.String()
}

// targetsOf is how much each token counts: of a tagged text its tags, of a question its answer.
func targetsOf(x *data.Example) []float32 {
	weights := x.Weights()
	for t := range weights {
		tagged := x.Tags != nil && x.Tags[t] != data.NoTarget
		answers := x.Answer != nil && t > 0 && t >= int(x.Answer[0]) && t <= int(x.Answer[1])
		hidden := x.Tags == nil && x.Words != nil && x.Words[t] >= 0
		if tagged || answers || hidden {
			weights[t] = 1
		}
	}
	return weights
}

// labelText is what a whole text is labelled with.
func (p *plan) labelText(x *data.Example) string {
	var names []string
	for k, v := range x.Labels {
		switch {
		case p.problem == data.Regression:
			names = append(names, fmt.Sprintf("%g", v))
		case p.problem == data.MultiLabel && v > 0.5:
			names = append(names, p.labels[k])
		case p.problem == data.SingleLabel:
			names = append(names, p.labels[int(v)])
		}
	}
	return strings.Join(names, ", ")
}
