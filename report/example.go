package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/graft-ml/graft/metric"
)

// Example is a line of eval/examples.jsonl.
type Example struct {
	File      string   `json:"file,omitempty"`
	Line      int      `json:"line,omitempty"` // counted from 1; 0 if the format has no lines
	Row       int      `json:"row,omitempty"`  // counted from 1
	Tokens    int      `json:"tokens"`
	Targets   int      `json:"targets"`
	Weight    float64  `json:"weight"` // Σ weight of the targets
	Loss      float64  `json:"loss"`   // Σ weight·loss in nats
	BaseLoss  float64  `json:"base_loss"`
	NGramLoss *float64 `json:"ngram_loss,omitempty"`
}

func (in *Input) examples() []Example {
	list := make([]Example, len(in.Set))
	for i := range in.Set {
		e := &in.Set[i]
		list[i] = Example{File: e.File, Line: e.Line, Row: e.Row, Tokens: len(e.IDs), Targets: e.Targets(), Weight: in.Tuned.Examples[i].Weight,
			Loss: in.Tuned.Examples[i].Sum, BaseLoss: in.Base.Examples[i].Sum}
		if in.NGram != nil {
			list[i].NGramLoss = &in.NGram.Examples[i].Sum
		}
	}
	return list
}

// lines is examples.jsonl.
func (r *Report) lines() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for i := range r.Examples {
		if err := e.Encode(&r.Examples[i]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// ReadExamples reads examples.jsonl; name is for messages.
func ReadExamples(name string, src io.Reader) ([]Example, error) {
	var list []Example
	lines := bufio.NewScanner(src)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e Example
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("report: %s:%d: %w", name, n, err)
		}
		if !(e.Weight > 0) {
			return nil, fmt.Errorf("report: %s:%d: weight is %g, want above 0", name, n, e.Weight)
		}
		list = append(list, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("report: %s: %w", name, err)
	}
	return list, nil
}

// losses are those of the examples.
func losses(list []Example) []metric.Loss {
	out := make([]metric.Loss, len(list))
	for i, e := range list {
		out[i] = metric.Loss{Sum: e.Loss, Weight: e.Weight}
	}
	return out
}
