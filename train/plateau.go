package train

import "math"

// Plateau is the schedule that waits for evaluations: torch's ReduceLROnPlateau. Its exported fields are all its state.
// Not safe for concurrent use.
type Plateau struct {
	Scale    float64  `json:"scale"` // the factor of the next update
	Best     *float64 `json:"best"`  // nil before the first evaluation
	Bad      int      `json:"bad"`   // evaluations since the best one
	Cooldown int      `json:"cooldown"`

	arguments    plateauArguments
	learningRate float64
}

type plateauArguments struct {
	Mode          string  `json:"mode"`
	Factor        float64 `json:"factor"`
	Patience      int     `json:"patience"`
	Threshold     float64 `json:"threshold"`
	ThresholdMode string  `json:"threshold_mode"`
	Cooldown      int     `json:"cooldown"`
	MinLR         float64 `json:"min_lr"`
	Eps           float64 `json:"eps"`
}

func reduceOnPlateau(s ScheduleSettings) (Schedule, error) {
	a := plateauArguments{Mode: "min", Factor: 0.1, Patience: 10, Threshold: 1e-4, ThresholdMode: "rel", Eps: 1e-8}
	const what = "reduce_lr_on_plateau"
	if err := setArguments(what, s.Arguments, &a); err != nil {
		return nil, err
	}
	b := bounds{what: what}
	b.oneOf("mode", a.Mode, "min", "max")
	b.oneOf("threshold_mode", a.ThresholdMode, "rel", "abs")
	b.within("factor", a.Factor, 0, 1)
	b.atLeast("patience", float64(a.Patience), 0)
	b.atLeast("cooldown", float64(a.Cooldown), 0)
	b.atLeast("min_lr", a.MinLR, 0)
	return &Plateau{Scale: 1, arguments: a, learningRate: s.LearningRate}, b.err()
}

// Factor implements Schedule; it depends on what was observed, not on the update.
func (p *Plateau) Factor(int) float64 { return p.Scale }

// Observe takes the metric of an evaluation.
func (p *Plateau) Observe(metric float64) {
	if p.Best == nil || p.better(metric, *p.Best) {
		p.Best, p.Bad = &metric, 0
	} else {
		p.Bad++
	}
	if p.Cooldown > 0 {
		p.Cooldown--
		p.Bad = 0
	}
	if p.Bad <= p.arguments.Patience {
		return
	}
	old := p.Scale * p.learningRate
	if rate := max(old*p.arguments.Factor, p.arguments.MinLR); old-rate > p.arguments.Eps {
		p.Scale = rate / p.learningRate
	}
	p.Cooldown, p.Bad = p.arguments.Cooldown, 0
}

// better says whether a improves on b by more than the threshold.
func (p *Plateau) better(a, b float64) bool {
	margin := p.arguments.Threshold
	if p.arguments.ThresholdMode == "rel" {
		margin *= math.Abs(b)
	}
	if p.arguments.Mode == "max" {
		return a > b+margin
	}
	return a < b-margin
}
