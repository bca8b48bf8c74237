package train

import (
	"fmt"
	"math"
	"strings"
)

// Schedule gives the factor by which every group's learning rate is multiplied at an update, counted from 0.
type Schedule interface {
	Factor(update int) float64
}

// curve is a schedule that is a function of the update alone.
type curve func(update int) float64

// Factor implements Schedule.
func (c curve) Factor(update int) float64 { return c(update) }

// ScheduleSettings are what every schedule is made from.
type ScheduleSettings struct {
	Steps        int     // updates of the whole run: N
	WarmupSteps  int     // updates of the warm-up: W
	LearningRate float64 // the base rate, which schedules with an absolute end rate are relative to
	Arguments    map[string]any
}

// ScheduleKind is one row of the table of schedules.
type ScheduleKind struct {
	Name  string
	Doc   string
	build func(ScheduleSettings) (Schedule, error)
}

// Schedules lists the learning-rate schedules under the names that Hugging Face's Trainer gives them, with its formulas.
// k is the update, W the warm-up, N the whole run; every warm-up is k/W, so the first of its updates has rate 0.
var Schedules = []ScheduleKind{
	{"linear", "down to 0 in a line: (N-k)/(N-W)", linear},
	{"cosine", "down to 0 along a cosine; num_cycles (0.5) half waves", cosine},
	{"cosine_with_restarts", "num_cycles (1) cosines, each from 1 down to 0", cosineWithRestarts},
	{"cosine_with_min_lr", "down along a cosine to min_lr, or min_lr_rate of the learning rate", cosineWithMinLR},
	{"cosine_warmup_with_min_lr", "as cosine_with_min_lr, with a warm-up that begins at warmup_lr_rate and has no update of rate 0", cosineWarmupWithMinLR},
	{"polynomial", "down to lr_end (1e-7) along (1-x)^power (1)", polynomial},
	{"inverse_sqrt", "1/√(k/timescale) after the warm-up; timescale is W, or 10000 without one", inverseSqrt},
	{"constant", "always the learning rate, no warm-up", constant},
	{"constant_with_warmup", "the learning rate after the warm-up", constantWithWarmup},
	{"reduce_lr_on_plateau", "times factor (0.1) after more than patience (10) evaluations without improvement by threshold (1e-4); no warm-up", reduceOnPlateau},
	{"warmup_stable_decay", "warm-up, a plateau, then num_decay_steps down to min_lr_ratio (0); decay_type cosine, linear or 1-sqrt", warmupStableDecay},
}

// NewSchedule builds the schedule of that name.
func NewSchedule(name string, s ScheduleSettings) (Schedule, error) {
	if s.Steps < 0 || s.WarmupSteps < 0 {
		return nil, fmt.Errorf("train: lr_scheduler: %d steps with %d warmup_steps, want neither below 0", s.Steps, s.WarmupSteps)
	}
	var names []string
	for _, k := range Schedules {
		if k.Name == name {
			return k.build(s)
		}
		names = append(names, k.Name)
	}
	return nil, fmt.Errorf("train: lr_scheduler is %q, want %s", name, strings.Join(names, ", "))
}

// Rounding says how a warm-up given as a share of the run becomes a number of updates.
type Rounding string

// The roundings of WarmupSteps.
const (
	RoundNearest Rounding = "round" // half to even, as Python's round
	RoundUp      Rounding = "ceil"  // as Hugging Face's Trainer
)

// WarmupSteps is ratio·steps as a whole number.
func WarmupSteps(ratio float64, steps int, r Rounding) int {
	w := ratio * float64(steps)
	if r == RoundUp {
		return int(math.Ceil(w))
	}
	return int(math.RoundToEven(w))
}

// warm puts the linear warm-up k/W before a schedule.
func (s ScheduleSettings) warm(after curve) curve {
	return func(k int) float64 {
		if k < s.WarmupSteps {
			return float64(k) / float64(max(1, s.WarmupSteps))
		}
		return after(k)
	}
}

// progress is the share of the updates after the warm-up that update k has behind it; beyond 1 after the end.
func (s ScheduleSettings) progress(k int) float64 {
	return float64(k-s.WarmupSteps) / float64(max(1, s.Steps-s.WarmupSteps))
}

// wave is a cosine of so many full periods, from 1.
func wave(cycles, progress float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*cycles*2*progress)) }

func linear(s ScheduleSettings) (Schedule, error) {
	if err := setArguments("linear", s.Arguments, &struct{}{}); err != nil {
		return nil, err
	}
	return s.warm(func(k int) float64 {
		return max(0, float64(s.Steps-k)/float64(max(1, s.Steps-s.WarmupSteps)))
	}), nil
}

func cosine(s ScheduleSettings) (Schedule, error) {
	a := struct {
		NumCycles float64 `json:"num_cycles"`
	}{0.5}
	if err := setArguments("cosine", s.Arguments, &a); err != nil {
		return nil, err
	}
	return s.warm(func(k int) float64 { return max(0, wave(a.NumCycles, s.progress(k))) }), nil
}

func cosineWithRestarts(s ScheduleSettings) (Schedule, error) {
	a := struct {
		NumCycles float64 `json:"num_cycles"`
	}{1}
	if err := setArguments("cosine_with_restarts", s.Arguments, &a); err != nil {
		return nil, err
	}
	return s.warm(func(k int) float64 {
		x := s.progress(k)
		if x >= 1 {
			return 0
		}
		return max(0, wave(0.5, math.Mod(a.NumCycles*x, 1)))
	}), nil
}

// floor is an end rate: absolute, or a share of the learning rate.
type floor struct {
	NumCycles float64  `json:"num_cycles"`
	MinLR     *float64 `json:"min_lr"`
	MinLRRate *float64 `json:"min_lr_rate"`
}

// rate is the floor as a share of the learning rate.
func (f floor) rate(what string, learningRate float64) (float64, error) {
	switch {
	case f.MinLR != nil && f.MinLRRate != nil:
		return 0, fmt.Errorf("train: %s: both min_lr and min_lr_rate are set, want one", what)
	case f.MinLR != nil && learningRate > 0:
		return *f.MinLR / learningRate, nil
	case f.MinLRRate != nil:
		return *f.MinLRRate, nil
	}
	return 0, fmt.Errorf("train: %s: neither min_lr nor min_lr_rate is set, want one", what)
}

func cosineWithMinLR(s ScheduleSettings) (Schedule, error) {
	a := floor{NumCycles: 0.5}
	if err := setArguments("cosine_with_min_lr", s.Arguments, &a); err != nil {
		return nil, err
	}
	low, err := a.rate("cosine_with_min_lr", s.LearningRate)
	if err != nil {
		return nil, err
	}
	return s.warm(func(k int) float64 { return max(0, wave(a.NumCycles, s.progress(k))*(1-low)+low) }), nil
}

func cosineWarmupWithMinLR(s ScheduleSettings) (Schedule, error) {
	a := struct {
		NumCycles    float64  `json:"num_cycles"`
		MinLR        *float64 `json:"min_lr"`
		MinLRRate    *float64 `json:"min_lr_rate"`
		WarmupLRRate *float64 `json:"warmup_lr_rate"`
	}{NumCycles: 0.5}
	const what = "cosine_warmup_with_min_lr"
	if err := setArguments(what, s.Arguments, &a); err != nil {
		return nil, err
	}
	low, err := floor{MinLR: a.MinLR, MinLRRate: a.MinLRRate}.rate(what, s.LearningRate)
	if err != nil {
		return nil, err
	}
	return curve(func(k int) float64 {
		if k < s.WarmupSteps {
			if a.WarmupLRRate == nil {
				return float64(k+1) / float64(max(1, s.WarmupSteps))
			}
			return *a.WarmupLRRate + (1-*a.WarmupLRRate)*float64(k)/float64(max(1, s.WarmupSteps-1))
		}
		x := float64(k-s.WarmupSteps+1) / float64(max(1, s.Steps-s.WarmupSteps))
		return max(0, wave(a.NumCycles, x)*(1-low)+low)
	}), nil
}

func polynomial(s ScheduleSettings) (Schedule, error) {
	a := struct {
		LREnd float64 `json:"lr_end"`
		Power float64 `json:"power"`
	}{1e-7, 1}
	if err := setArguments("polynomial", s.Arguments, &a); err != nil {
		return nil, err
	}
	if !(s.LearningRate > a.LREnd) {
		return nil, fmt.Errorf("train: polynomial: lr_end is %g, want less than learning_rate %g", a.LREnd, s.LearningRate)
	}
	return s.warm(func(k int) float64 {
		if k >= s.Steps {
			return a.LREnd / s.LearningRate
		}
		left := 1 - float64(k-s.WarmupSteps)/float64(s.Steps-s.WarmupSteps)
		return ((s.LearningRate-a.LREnd)*math.Pow(left, a.Power) + a.LREnd) / s.LearningRate
	}), nil
}

func inverseSqrt(s ScheduleSettings) (Schedule, error) {
	a := struct {
		Timescale *float64 `json:"timescale"`
	}{}
	if err := setArguments("inverse_sqrt", s.Arguments, &a); err != nil {
		return nil, err
	}
	scale := float64(s.WarmupSteps)
	switch {
	case a.Timescale != nil && !(*a.Timescale > 0):
		return nil, fmt.Errorf("train: inverse_sqrt: timescale is %g, want more than 0", *a.Timescale)
	case a.Timescale != nil:
		scale = *a.Timescale
	case s.WarmupSteps == 0:
		scale = 10000
	}
	shift := scale - float64(s.WarmupSteps)
	return s.warm(func(k int) float64 { return 1 / math.Sqrt((float64(k)+shift)/scale) }), nil
}

func constant(s ScheduleSettings) (Schedule, error) {
	if err := setArguments("constant", s.Arguments, &struct{}{}); err != nil {
		return nil, err
	}
	return curve(func(int) float64 { return 1 }), nil
}

func constantWithWarmup(s ScheduleSettings) (Schedule, error) {
	if err := setArguments("constant_with_warmup", s.Arguments, &struct{}{}); err != nil {
		return nil, err
	}
	return s.warm(func(int) float64 { return 1 }), nil
}

func warmupStableDecay(s ScheduleSettings) (Schedule, error) {
	a := struct {
		NumDecaySteps  int     `json:"num_decay_steps"`
		NumStableSteps *int    `json:"num_stable_steps"`
		WarmupType     string  `json:"warmup_type"`
		DecayType      string  `json:"decay_type"`
		MinLRRatio     float64 `json:"min_lr_ratio"`
		NumCycles      float64 `json:"num_cycles"`
	}{WarmupType: "linear", DecayType: "cosine", NumCycles: 0.5}
	const what = "warmup_stable_decay"
	if err := setArguments(what, s.Arguments, &a); err != nil {
		return nil, err
	}
	stable := s.Steps - s.WarmupSteps - a.NumDecaySteps
	if a.NumStableSteps != nil {
		stable = *a.NumStableSteps
	}
	b := bounds{what: what}
	b.atLeast("num_decay_steps", float64(a.NumDecaySteps), 0)
	b.oneOf("warmup_type", a.WarmupType, "linear", "cosine", "1-sqrt")
	b.oneOf("decay_type", a.DecayType, "linear", "cosine", "1-sqrt")
	b.atLeast("min_lr_ratio", a.MinLRRatio, 0)
	if err := b.err(); err != nil {
		return nil, err
	}
	lift := func(x float64) float64 { return max(0, x*(1-a.MinLRRatio)+a.MinLRRatio) }
	return curve(func(k int) float64 {
		switch decay := k - s.WarmupSteps - stable; {
		case k < s.WarmupSteps:
			return lift(ramp(a.WarmupType, 0.5, 1-float64(k)/float64(max(1, s.WarmupSteps))))
		case decay < 0:
			return 1
		case decay < a.NumDecaySteps:
			return lift(ramp(a.DecayType, a.NumCycles, float64(decay)/float64(max(1, a.NumDecaySteps))))
		}
		return a.MinLRRatio
	}), nil
}

// ramp falls from 1 at x = 0 to 0 at x = 1 in one of three forms.
func ramp(form string, cycles, x float64) float64 {
	switch form {
	case "linear":
		return 1 - x
	case "1-sqrt":
		return 1 - math.Sqrt(x)
	}
	return wave(cycles, x)
}
