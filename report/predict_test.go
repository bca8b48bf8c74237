package report

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
)

// supervised is an input for an encoder's task, whose losses do not matter.
func supervised(set data.Set, p *Predictions) Input {
	in := input()
	in.Set, in.NGram, in.Predictions = set, nil, p
	rows, weights := make([][]float32, len(set)), make([]float64, len(set))
	for i := range rows {
		rows[i], weights[i] = make([]float32, len(set[i].IDs)), 1
		rows[i][0] = 1
	}
	in.Tuned, in.Base = measured(rows, weights), measured(rows, weights)
	return in
}

// section builds the report and decodes one of its sections.
func section(t *testing.T, in Input, name string, v any) map[string]string {
	t.Helper()
	out := files(t, in)
	var d struct{ Sections map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(out[JSONFile]), &d); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(d.Sections[name], v); err != nil {
		t.Fatalf("section %s: %v", name, err)
	}
	return out
}

func TestClassesSection(t *testing.T) {
	var set data.Set
	for i := range 10 {
		set = append(set, data.Example{IDs: []int32{1, 5, 2}, Labels: []float32{float32(i % 2)}, Ordinal: i})
	}
	at := 0
	p, err := Read(context.Background(), set, []string{"no", "yes", "<never>"}, data.SingleLabel, func(b *data.Batch) (kernel.Mat, error) {
		m := kernel.NewMat(make([]float32, 3*len(b.Segments)), len(b.Segments), 3)
		for i := range b.Segments {
			m.Data[3*i+1] = 2 // always yes, at e²/(e²+2)
			at++
		}
		return m, nil
	})
	if err != nil || at != 10 {
		t.Fatal(at, err)
	}
	if want := math.Exp(2) / (math.Exp(2) + 2); math.Abs(p.Confidence[0]-want) > 1e-6 {
		t.Errorf("confidence %g, want %g", p.Confidence[0], want)
	}
	var v classesValue
	out := section(t, supervised(set, p), "classes", &v)
	if v.Accuracy != 0.5 || v.Majority != 0.5 || v.Matthews != 0 || v.Confusion[0][1] != 5 || v.Confusion[1][1] != 5 || v.Confusion[2][2] != 0 || math.Abs(v.ECE-(p.Confidence[0]-0.5)) > 1e-9 {
		t.Errorf("classes = %+v", v)
	}
	for _, want := range []string{"| no | 0.0 % | 0.0 % | 0.0 % | 5 |", "Accuracy 50.0 %"} {
		if !strings.Contains(out["report.md"], want) {
			t.Errorf("report.md lacks %q", want)
		}
	}
	if page := out["report.html"]; !strings.Contains(page, "no as yes: 5") || !strings.Contains(page, "&lt;never&gt;") || strings.Contains(page, "<never>") {
		t.Error("the confusion matrix lacks a cell, or a name is not escaped")
	}
}

func TestEntitiesSection(t *testing.T) {
	set := data.Set{{IDs: []int32{1, 5, 6, 2}, Tags: []int32{data.NoTarget, 1, 0, data.NoTarget},
		Origin: &data.Origin{Words: []string{"Rome", "is"}, Tags: []string{"B-LOC", "O"}, Word: []int32{-1, 0, 1, -1}}}}
	right := func(b *data.Batch) (kernel.Mat, error) {
		return kernel.NewMat([]float32{9, 0, 0, 5, 5, 0, 9, 0}, 4, 2), nil
	}
	p, err := Read(context.Background(), set, []string{"O", "B-LOC"}, "", right)
	if err != nil {
		t.Fatal(err)
	}
	var v entitiesValue
	section(t, supervised(set, p), "entities", &v)
	if v.F1 != 1 || v.Accuracy != 1 || len(v.Types) != 1 || v.Types[0].Name != "LOC" || v.Types[0].Support != 1 {
		t.Errorf("entities = %+v, want LOC found", v)
	}
}

// asked is a question over two windows of "xb", the answer being text.
func asked(ordinal int, text string) []data.Example {
	o := &data.Origin{Text: "xb", Offsets: [][2]int32{{-1, -1}, {0, 1}}}
	q := &data.Origin{Text: "xb", Offsets: [][2]int32{{-1, -1}, {1, 2}}}
	if text != "" {
		o.Golds, q.Golds = []string{text}, []string{text}
	}
	return []data.Example{{IDs: []int32{1, 5}, Answer: &[2]int32{}, Origin: o, Ordinal: ordinal}, {IDs: []int32{1, 6}, Answer: &[2]int32{}, Origin: q, Ordinal: ordinal}}
}

func TestAnswersSection(t *testing.T) {
	second := func(null float32) Predictor { // prefers the second window's token, or no answer
		return func(b *data.Batch) (kernel.Mat, error) {
			m := kernel.NewMat(make([]float32, 2*len(b.Tokens)), len(b.Tokens), 2)
			for t, id := range b.Tokens {
				m.Data[2*t] = map[int32]float32{1: null, 5: 1, 6: 2}[id]
			}
			return m, nil
		}
	}
	one := data.Set(append(asked(0, "b"), asked(1, "x")...))
	two := append(one[:4:4], asked(2, "")...)
	for _, c := range []struct {
		name      string
		set       data.Set
		null      float32
		questions int
		exact     float64
	}{
		{"version 1 answers always", one, 9, 2, 50},
		{"version 2 may see no answer", two, 9, 3, 100.0 / 3},
		{"version 2 may see an answer", two, 0, 3, 100.0 / 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Read(context.Background(), c.set, nil, "", second(c.null))
			if err != nil {
				t.Fatal(err)
			}
			var v answersValue
			section(t, supervised(c.set, p), "answers", &v)
			if v.Questions != c.questions || math.Abs(v.Exact-c.exact) > 1e-9 {
				t.Errorf("answers = %+v, want %d questions, %.1f %% exact", v, c.questions, c.exact)
			}
		})
	}
}

func TestReadFails(t *testing.T) {
	broken := errors.New("model: broken")
	set := data.Set{{IDs: []int32{1}, Labels: []float32{0}}}
	if _, err := Read(context.Background(), set, []string{"a", "b"}, data.SingleLabel, func(*data.Batch) (kernel.Mat, error) { return kernel.Mat{}, broken }); !errors.Is(err, broken) {
		t.Errorf("Read() = %v, want the predictor's error", err)
	}
	narrow := func(*data.Batch) (kernel.Mat, error) { return kernel.NewMat([]float32{1}, 1, 1), nil }
	if _, err := Read(context.Background(), set, []string{"a", "b"}, data.SingleLabel, narrow); err == nil || !strings.Contains(err.Error(), "1 scores, want 2") {
		t.Errorf("Read() of one score = %v", err)
	}
	lost := data.Set{{IDs: []int32{1}, Answer: &[2]int32{}}}
	if _, err := Read(context.Background(), lost, nil, "", narrow); err == nil {
		t.Error("a question without its context is no error")
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Read(stopped, set, []string{"a", "b"}, data.SingleLabel, narrow); !errors.Is(err, context.Canceled) {
		t.Errorf("Read() after cancel = %v", err)
	}
}
