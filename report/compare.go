package report

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/graft-ml/graft/metric"
)

// Run is a run as its report tells.
type Run struct {
	Name     string
	EvalHash string
	Facts    []Fact
	Examples []Example
}

// ParseRun reads report.json; name is for messages. The examples are read by ReadExamples.
func ParseRun(name string, src []byte) (*Run, error) {
	var d document
	if err := json.Unmarshal(src, &d); err != nil {
		return nil, fmt.Errorf("report: %s: %w", name, err)
	}
	if d.Name == "" || d.EvalHash == "" {
		return nil, fmt.Errorf("report: %s: no name and eval_hash, want a report of graft", name)
	}
	return &Run{Name: d.Name, EvalHash: d.EvalHash, Facts: d.Facts}, nil
}

// Standing is a line of a comparison.
type Standing struct {
	Name     string  `json:"name"`
	Examples int     `json:"examples"`
	Loss     float64 `json:"loss"` // per target, in nats
	Low      float64 `json:"low"`  // 95 % interval
	High     float64 `json:"high"`
	BaseLoss float64 `json:"base_loss"`

	// Difference is the loss less that of the first run; nil for the first, and where the held-out rows are not the same.
	Difference *Difference `json:"difference,omitempty"`
	Note       string      `json:"note,omitempty"` // why there is no difference
}

// Difference is a paired comparison on the same examples.
type Difference = versus

// Compare sets runs side by side. The first is what the others are compared with.
func Compare(runs []*Run, resamples int, seed uint64) ([]Standing, error) {
	if len(runs) == 0 {
		return nil, errors.New("report: no runs to compare, want at least one")
	}
	first := Sample(losses(runs[0].Examples))
	var out []Standing
	for i, r := range runs {
		s, err := r.standing(resamples, seed)
		if err != nil {
			return nil, fmt.Errorf("report: %s: %w", r.Name, err)
		}
		switch {
		case i == 0:
		case r.EvalHash != runs[0].EvalHash:
			s.Note = "other held-out rows or tokens than " + runs[0].Name
		case len(r.Examples) != len(runs[0].Examples):
			return nil, fmt.Errorf("report: %s: %d examples, want %d as %s has with the same rows", r.Name, len(r.Examples), len(runs[0].Examples), runs[0].Name)
		default:
			c, err := metric.Paired(first, Sample(losses(r.Examples)), resamples, seed)
			if err != nil {
				return nil, err
			}
			s.Difference = &Difference{c.Difference, c.Low, c.High, c.PValue}
		}
		out = append(out, s)
	}
	return out, nil
}

// standing is a run's own part of its line.
func (r *Run) standing(resamples int, seed uint64) (Standing, error) {
	i, err := Sample(losses(r.Examples)).Interval(0.95, resamples, seed)
	if err != nil {
		return Standing{}, err
	}
	var base metric.Loss
	for _, e := range r.Examples {
		base.Merge(metric.Loss{Sum: e.BaseLoss, Weight: e.Weight})
	}
	return Standing{Name: r.Name, Examples: len(r.Examples), Loss: i.Value, Low: i.Low, High: i.High, BaseLoss: base.PerToken()}, nil
}
