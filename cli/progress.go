package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/train"
	"github.com/jedib0t/go-pretty/v6/text"
)

// progress shows a run: one line that changes on a terminal, a line every so many steps elsewhere.
type progress struct {
	w     io.Writer
	s     screen
	every int
	live  bool // a changing line is on the screen
	shown time.Time
}

func newProgress(w io.Writer, every int) *progress {
	return &progress{w: w, s: screenOf(w), every: max(1, every)}
}

// stage names what is being done before the first step.
func (v *progress) stage(what string) {
	if v.s.terminal {
		v.line(what + " …")
	}
}

// line rewrites the changing line.
func (v *progress) line(s string) {
	fmt.Fprintf(v.w, "\r\x1b[K%s", text.Trim(s, v.s.width-1))
	v.live = true
}

// print writes a line that stays.
func (v *progress) print(s string) {
	v.end()
	fmt.Fprintln(v.w, s)
}

// end clears the changing line.
func (v *progress) end() {
	if v.live {
		fmt.Fprint(v.w, "\r\x1b[K")
		v.live = false
	}
}

// plan tells what is about to happen.
func (v *progress) plan(p *plan) {
	v.end()
	c := p.base.model.Config
	what := "all weights"
	if p.adapter != nil {
		what = fmt.Sprintf("%s, %s of %s parameters", p.recipe.Method.Type, count(peft.NumParams(p.adapter)), count(p.numBase()))
	}
	v.print(fmt.Sprintf("%s %s, %d layers of %d; training %s", v.s.paint(bold, p.recipe.Model.Path), c.ModelType, c.NumHiddenLayers, c.HiddenSize, what))
	st := p.train.Stats()
	line := fmt.Sprintf("%s examples, %s tokens, %s targets", count(int64(st.Examples)), count(st.Tokens), count(st.Targets))
	if len(p.eval) > 0 {
		line += fmt.Sprintf("; %s held out", count(int64(len(p.eval))))
	}
	v.print(fmt.Sprintf("%s; %d steps, compute %s", line, p.steps, p.base.mode))
	for _, name := range p.recalled {
		v.print(fmt.Sprintf("%s %s was encoded by an earlier run", v.s.paint(yellow, "note"), name))
	}
	for _, r := range p.reports {
		for _, d := range r.Dropped {
			v.print(fmt.Sprintf("%s %s rows dropped: %s (first at %s)", v.s.paint(yellow, "note"), count(int64(d.Rows)), d.Reason, d.First))
		}
		if r.Truncated > 0 {
			v.print(fmt.Sprintf("%s %s examples cut to %d tokens", v.s.paint(yellow, "note"), count(int64(r.Truncated)), p.recipe.Data.SequenceLen))
		}
		for _, n := range r.Notes {
			v.print(v.s.paint(yellow, "note") + " " + n)
		}
	}
}

// event shows what the loop tells.
func (v *progress) event(e train.Event) {
	switch e.Kind {
	case train.Stepped:
		v.step(e)
	case train.Evaluated:
		var parts []string
		for _, m := range e.Eval {
			parts = append(parts, fmt.Sprintf("%s %.4f", m.Name, m.Value))
		}
		mark := ""
		if e.Best {
			mark = " (best)"
		}
		v.print(fmt.Sprintf("step %d  %s%s", e.Step, strings.Join(parts, "  "), mark))
	case train.Resumed:
		if e.Path == "" {
			v.print("no checkpoint yet, starting from the beginning")
		} else {
			v.print(fmt.Sprintf("resuming from %s", e.Path))
		}
	case train.Warned:
		v.print(v.s.paint(yellow, "warning") + " " + e.Message)
	}
}

// step shows one update.
func (v *progress) step(e train.Event) {
	last := e.Step == e.TotalSteps
	if v.s.terminal {
		if time.Since(v.shown) < 100*time.Millisecond && !last {
			return
		}
		v.shown = time.Now()
		v.line(v.stepText(e, true))
		if last {
			v.print(v.stepText(e, false))
		}
		return
	}
	if e.Step%v.every == 0 || last {
		fmt.Fprintln(v.w, v.stepText(e, false))
	}
}

// stepText is a step in words, with a bar for terminals.
func (v *progress) stepText(e train.Event, bar bool) string {
	s := fmt.Sprintf("step %d/%d  loss %.4f  lr %.2e  %.0f tok/s  memory %s", e.Step, e.TotalSteps, e.Loss, e.LearningRate, e.TokensPerSecond, memoryText())
	if !bar {
		return s + "  elapsed " + spanText(e.Elapsed)
	}
	const width = 20
	done := width * e.Step / max(1, e.TotalSteps)
	return v.s.paint(cyan, strings.Repeat("━", done)) + v.s.paint(dim, strings.Repeat("─", width-done)) + " " + s + "  ETA " + spanText(e.Remaining)
}

// memoryText is the resident memory that is the process's own.
func memoryText() string { return bytesText(meminfo.Read().Anonymous) }

// numBase counts the base's parameters; a tied head counts once.
func (p *plan) numBase() (n int64) {
	for s := range p.base.model.Slots() {
		if s.Tied {
			continue
		}
		n += int64(s.Base.W.Rows) * int64(s.Base.W.Cols)
		n += int64(len(s.Base.Bias))
	}
	for _, v := range p.base.model.Vectors() {
		n += int64(len(v.Value))
	}
	return n
}
