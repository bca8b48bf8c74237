package report

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
)

// says gives each example of a set its logits.
func says(rows ...[]float32) Predictor {
	at := 0
	return func(b *data.Batch) (kernel.Mat, error) {
		var all []float32
		for range b.Segments {
			all = append(all, rows[at]...)
			at++
		}
		return kernel.NewMat(all, len(b.Segments), len(rows[0])), nil
	}
}

func texts(labels ...[]float32) (set data.Set) {
	for i, l := range labels {
		set = append(set, data.Example{IDs: []int32{1, 5, 2}, Labels: l, Ordinal: i})
	}
	return set
}

func TestLabelsSection(t *testing.T) {
	set := texts([]float32{1, 0}, []float32{1, 1}, []float32{0, 0})
	p, err := Read(context.Background(), set, []string{"x", "y"}, data.MultiLabel, says([]float32{2, -2}, []float32{2, -2}, []float32{-1, 3}))
	if err != nil {
		t.Fatal(err)
	}
	var v labelsValue
	out := section(t, supervised(set, p), "labels", &v)
	// x: 2 right of 2; y: none right of 1 predicted, 1 actual
	if math.Abs(v.MicroF1-2.0/3) > 1e-9 || math.Abs(v.SubsetAccuracy-1.0/3) > 1e-9 || v.Labels[0].F1 != 1 || v.Labels[1].Support != 1 {
		t.Errorf("labels = %+v", v)
	}
	if p.Notes[1] != "missed: y; wrong: none" || p.Notes[2] != "missed: none; wrong: y" || p.Notes[0] != "" {
		t.Errorf("notes are %q", p.Notes)
	}
	if !strings.Contains(out["report.md"], "Micro F1 66.7 %") {
		t.Error("report.md lacks micro F1")
	}
	scores, err := p.Scores()
	if err != nil || scores[0] != (Score{"micro_f1", v.MicroF1}) {
		t.Errorf("Scores() = %v, %v", scores, err)
	}
}

func TestValuesSection(t *testing.T) {
	set := texts([]float32{1}, []float32{2}, []float32{3})
	p, err := Read(context.Background(), set, []string{"LABEL_0"}, data.Regression, says([]float32{1}, []float32{2.5}, []float32{4}))
	if err != nil {
		t.Fatal(err)
	}
	var v valuesValue
	out := section(t, supervised(set, p), "values", &v)
	if math.Abs(v[0].MSE-1.25/3) > 1e-6 || math.Abs(v[0].MAE-0.5) > 1e-6 || v[0].Pearson == nil || math.Abs(*v[0].Pearson-1) > 1e-9 {
		t.Errorf("values = %+v", v)
	}
	if !strings.Contains(out["report.html"], "<circle") || strings.Contains(out["report.md"], "perplexity") || strings.Contains(out["report.md"], "accuracy") {
		t.Error("the drawing is missing, or numbers have a perplexity or an accuracy")
	}
	same, err := Read(context.Background(), set, []string{"LABEL_0"}, data.Regression, says([]float32{1}, []float32{1}, []float32{1}))
	if err != nil {
		t.Fatal(err)
	}
	if scores, err := same.Scores(); err != nil || len(scores) != 1 {
		t.Errorf("Scores() of a constant = %v, %v; want the error only, for it has no correlation", scores, err)
	}
}

func TestCountLabels(t *testing.T) {
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s = %g, want %g", what, got, want)
		}
	}
	classes := CountLabels(texts([]float32{0}, []float32{0}, []float32{1}), texts([]float32{0}, []float32{1}), 2, data.SingleLabel)
	near("loss of the commoner class", classes.Examples[0].Sum, -math.Log(3.0/5))
	near("loss of the rarer class", classes.Examples[1].Sum, -math.Log(2.0/5))
	near("accuracy", *classes.Accuracy, 0.5)
	sets := CountLabels(texts([]float32{1, 0}, []float32{1, 1}), texts([]float32{1, 1}), 2, data.MultiLabel)
	near("loss of a set", sets.Examples[0].Sum, -(math.Log(3.0/4)+math.Log(2.0/4))/2)
	values := CountLabels(texts([]float32{1}, []float32{3}), texts([]float32{5}), 1, data.Regression)
	near("loss of a value", values.Examples[0].Sum, 9)
	tags := data.Set{{IDs: []int32{1, 2, 3}, Tags: []int32{data.NoTarget, 0, 1}}}
	near("weight of a tagged text", CountLabels(tags, tags, 2, "").Examples[0].Weight, 2)
	in := supervised(texts([]float32{0}, []float32{1}), nil)
	in.Prior, in.BaseName = CountLabels(in.Set, in.Set, 2, data.SingleLabel), "untrained head"
	if md := files(t, in)["report.md"]; !strings.Contains(md, "| label frequencies |") || !strings.Contains(md, "| untrained head |") {
		t.Errorf("report.md lacks a baseline:\n%s", md)
	}
}
