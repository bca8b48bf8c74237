package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"
)

// LogLine is a line of metrics.jsonl about training steps.
type LogLine struct {
	Step         int     `json:"step"`
	TotalSteps   int     `json:"total_steps"`
	Epoch        float64 `json:"epoch"`
	Loss         float64 `json:"loss"`
	LearningRate float64 `json:"learning_rate"`
	GradNorm     float64 `json:"grad_norm"`
	TotalTokens  int64   `json:"total_tokens"`
	TotalTargets int64   `json:"total_targets"`
}

// evalLine writes a line of metrics.jsonl about an evaluation; the metrics keep their order.
func evalLine(step int, epoch float64, metrics []Metric, best bool) []byte {
	b := fmt.Appendf(nil, `{"step":%d,"epoch":%s`, step, number(epoch))
	for _, m := range metrics {
		name, _ := json.Marshal(m.Name) // a string always marshals
		b = fmt.Appendf(b, `,%s:%s`, name, number(m.Value))
	}
	if best {
		b = append(b, `,"best":true`...)
	}
	return append(b, '}')
}

// number is the shortest decimal form that reads back as v.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "null"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// timingLine is a line of timing.jsonl.
type timingLine struct {
	Step             int       `json:"step"`
	Time             time.Time `json:"time"`
	Elapsed          float64   `json:"elapsed_seconds"`
	Remaining        float64   `json:"remaining_seconds"`
	TokensPerSecond  float64   `json:"tokens_per_second"`
	TargetsPerSecond float64   `json:"targets_per_second"`
	Anonymous        int64     `json:"memory_anonymous"`
	Mapped           int64     `json:"memory_mapped"`
}

// appendLog is a file of lines that grows in place. Not safe for concurrent use.
type appendLog struct {
	file   *os.File
	name   string
	offset int64
}

// openLog opens the log and cuts it to size bytes. If strict, they must be there.
func openLog(name string, size int64, strict bool) (*appendLog, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Size() < size && !strict {
		size = st.Size()
	}
	if err == nil && st.Size() < size {
		err = fmt.Errorf("%s has %d bytes, want at least %d, which its checkpoint notes", name, st.Size(), size)
	}
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("train: %w", err)
	}
	return &appendLog{file: f, name: name, offset: size}, nil
}

// write appends one line in one call of the system.
func (l *appendLog) write(line []byte) error {
	n, err := l.file.Write(append(line, '\n'))
	l.offset += int64(n)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// sync makes what was written last.
func (l *appendLog) sync() error {
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// Curves are the losses of a run by step, as metrics.jsonl tells them.
type Curves struct {
	Steps, EvalSteps   []float64
	Losses, EvalLosses []float64
}

// ReadCurves reads metrics.jsonl. An incomplete last line, left by a kill, is ignored.
func ReadCurves(r io.Reader) (Curves, error) {
	var c Curves
	src, err := io.ReadAll(r)
	if err != nil {
		return c, fmt.Errorf("train: metrics.jsonl: %w", err)
	}
	for n, line := range bytes.Split(src, []byte("\n")) {
		var v struct {
			Step     float64  `json:"step"`
			Loss     *float64 `json:"loss"`
			EvalLoss *float64 `json:"eval_loss"`
		}
		if err := json.Unmarshal(line, &v); err != nil {
			if bytes.Count(src, []byte("\n")) == n {
				break // no newline after it: the last, incomplete one or nothing
			}
			return c, fmt.Errorf("train: metrics.jsonl:%d: %w", n+1, err)
		}
		if v.Loss != nil {
			c.Steps, c.Losses = append(c.Steps, v.Step), append(c.Losses, *v.Loss)
		}
		if v.EvalLoss != nil {
			c.EvalSteps, c.EvalLosses = append(c.EvalSteps, v.Step), append(c.EvalLosses, *v.EvalLoss)
		}
	}
	return c, nil
}
