package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/metric"
	"github.com/graft-ml/graft/train"
)

// input is a run of three examples whose losses are known.
func input() Input {
	set := data.Set{
		{IDs: []int32{1, 5, 6, 7}, Loss: []data.Span{{Start: 2, End: 4, Weight: 1}}, Place: data.Place{File: "eval.jsonl", Line: 1, Row: 1}},
		{IDs: []int32{1, 5, 8}, Loss: []data.Span{{Start: 1, End: 3, Weight: 1}}, Place: data.Place{File: "eval.jsonl", Line: 3, Row: 2}},
		{IDs: []int32{1, 9, 9, 9, 2}, Loss: []data.Span{{Start: 3, End: 5, Weight: 0.5}}, Place: data.Place{File: "eval.jsonl", Line: 4, Row: 3}},
	}
	words := map[int32]string{1: "<s>", 2: "</s>", 5: "a|b", 6: " *c*", 7: "\nd ", 8: "<script>", 9: " é"}
	return Input{Name: "first & <best>", Set: set, Recipe: []byte("[train]\nmax_steps = 2\n"), Facts: []Fact{{"seed", "0"}},
		Curves: train.Curves{Steps: []float64{1, 2}, Losses: []float64{4, 2}, EvalSteps: []float64{0, 2}, EvalLosses: []float64{4, 2}},
		Tuned:  measured([][]float32{{0, 1, 2, 0}, {1, 1, 0}, {0, 0, 5, 5, 0}}, []float64{1, 1, 0.5}),
		Base:   measured([][]float32{{0, 3, 3, 0}, {4, 4, 0}, {0, 0, 4, 4, 0}}, []float64{1, 1, 0.5}),
		NGram:  &NGram{Order: 5, Rows: 2, Of: 7, Examples: []metric.Loss{{Sum: 6, Weight: 2}, {Sum: 6, Weight: 2}, {Sum: 3, Weight: 1}}},
		Pieces: func(ids []int32) []string {
			out := make([]string, len(ids))
			for i, id := range ids {
				out[i] = words[id]
			}
			return out
		},
	}
}

func measured(rows [][]float32, weights []float64) *Measured {
	m := &Measured{Rows: rows, Sums: op.LossSums{Correct: 3}}
	for i, row := range rows {
		var l metric.Loss
		for _, v := range row {
			if v != 0 {
				l.AddWeighted(float64(v), weights[i])
				m.Sums.Targets++
			}
		}
		m.Examples = append(m.Examples, l)
		m.Sums.Loss += l.Sum
		m.Sums.Weight += l.Weight
	}
	return m
}

// files builds the report and gives its files by name.
func files(t *testing.T, in Input) map[string]string {
	t.Helper()
	r, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Files()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range list {
		out[f.Name] = string(f.Content)
	}
	return out
}

func TestReportTellsTheLosses(t *testing.T) {
	out := files(t, input())
	var d struct {
		EvalHash string `json:"eval_hash"`
		Sections struct {
			Loss struct {
				Targets, Improved int
				Models            []score
				Difference        versus
			}
			Lengths []bucket
			Worst   []hard
		}
	}
	if err := json.Unmarshal([]byte(out[JSONFile]), &d); err != nil {
		t.Fatal(err)
	}
	l := d.Sections.Loss
	const tuned, base = 10.0 / 5, 18.0 / 5 // Σ weight·loss / Σ weight
	if len(l.Models) != 3 || l.Models[0].Loss != base || l.Models[1].Loss != tuned || l.Models[2].Loss != 3 {
		t.Errorf("models = %+v, want losses %g, %g, 3", l.Models, base, tuned)
	}
	if l.Targets != 6 || l.Improved != 2 || math.Abs(l.Difference.Value-(tuned-base)) > 1e-12 {
		t.Errorf("%d targets, %d improved, difference %g, want 6, 2, %g", l.Targets, l.Improved, l.Difference.Value, tuned-base)
	}
	if b := d.Sections.Lengths; len(b) != 2 || b[0].From != 3 || b[0].UpTo != 4 || b[0].Examples != 2 || b[1].UpTo != 8 || b[1].Loss != 5 {
		t.Errorf("lengths = %+v, want 3–4 of 2 examples and 5–8 of loss 5", b)
	}
	if w := d.Sections.Worst; len(w) != 3 || w[0].Place != "eval.jsonl:4" || w[0].BaseLoss != 4 {
		t.Errorf("worst = %+v, want eval.jsonl:4 first", w)
	}
}

func TestReportsAreTheSameBytes(t *testing.T) {
	a, b := files(t, input()), files(t, input())
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s differs between two reports of one run", name)
		}
	}
}

func TestPageStandsAlone(t *testing.T) {
	page := files(t, input())["report.html"]
	for _, no := range []string{"<script", "http://", "https://", "url(", "@import", "<link", "src=", "NaN"} {
		if strings.Contains(strings.ReplaceAll(page, `xmlns="http://www.w3.org/2000/svg"`, ""), no) {
			t.Errorf("report.html contains %q", no)
		}
	}
	for _, want := range []string{"<title>first &amp; &lt;best&gt;</title>", "prefers-color-scheme: dark", `name="viewport"`,
		`<mark class="s1" title="loss 1.00">&lt;script&gt;</mark>`, "the first 2 of 7 training rows", "<svg", "max_steps = 2"} {
		if !strings.Contains(page, want) {
			t.Errorf("report.html lacks %q", want)
		}
	}
	for _, name := range []string{"loss", "course", "lengths", "worst", "provenance"} {
		if !strings.Contains(page, fmt.Sprintf("<section id=%q>", name)) {
			t.Errorf("report.html has no section %q", name)
		}
	}
}

func TestMarkdownKeepsTextsApart(t *testing.T) {
	text := files(t, input())["report.md"]
	for _, want := range []string{"# first & &lt;best&gt;\n", `a|b **\*c\***` + "\n> **d**", "```\n[train]\nmax_steps = 2\n```", "| seed | 0 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("report.md lacks %q in\n%s", want, text)
		}
	}
}

func TestReportRefusesWhatWasNotMeasured(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Input)
		want   string
	}{
		{"no rows", func(in *Input) { in.Set = nil }, "report: no held-out examples, want at least one"},
		{"no base", func(in *Input) { in.Base = nil }, "report: base was measured on 0 examples, want 3"},
		{"part", func(in *Input) { in.Tuned.Examples = in.Tuned.Examples[:2] }, "report: tuned was measured on 2 examples, want 3"},
		{"n-grams of part", func(in *Input) { in.NGram.Examples = nil }, "report: the n-gram model was measured on 0 examples, want 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input()
			c.change(&in)
			if _, err := Build(in); err == nil || err.Error() != c.want {
				t.Errorf("Build() = %v, want %s", err, c.want)
			}
		})
	}
}

func TestExamplesReadBack(t *testing.T) {
	out := files(t, input())
	list, err := ReadExamples(ExamplesFile, strings.NewReader(out[ExamplesFile]))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 || list[2].Line != 4 || list[2].Loss != 5 || list[2].BaseLoss != 4 || *list[2].NGramLoss != 3 || list[2].Weight != 1 {
		t.Errorf("third example = %+v", list[2])
	}
	if _, err := ReadExamples("x", strings.NewReader("{\"weight\":1}\n{}\n")); err == nil || err.Error() != "report: x:2: weight is 0, want above 0" {
		t.Errorf("ReadExamples of no weight = %v", err)
	}
	for n := range len(out[ExamplesFile]) { // a cut file is an error or a shorter list, never a panic
		ReadExamples("cut", strings.NewReader(out[ExamplesFile][:n]))
	}
}

func TestCompareIsPaired(t *testing.T) {
	run := func(name string, shift float64) *Run {
		r := &Run{Name: name, EvalHash: "h"}
		for i := range 40 {
			r.Examples = append(r.Examples, Example{Weight: 2, Loss: 2 * (float64(i%7) + shift), BaseLoss: 20})
		}
		return r
	}
	other := run("other", 0)
	other.EvalHash = "another"
	list, err := Compare([]*Run{run("a", 1), run("b", 0.9), other}, 200, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The examples differ widely, their difference does not: only a paired test finds it.
	if d := list[1].Difference; d == nil || math.Abs(d.Value+0.1) > 1e-9 || d.PValue > 0.01 || d.High > -0.09 {
		t.Errorf("difference of b = %+v, want −0.1 for sure", d)
	}
	if list[0].Difference != nil || list[2].Difference != nil || list[2].Note == "" || list[0].BaseLoss != 10 {
		t.Errorf("standings = %+v, want no difference for the first and for other rows", list)
	}
	b := run("b", 0)
	b.Examples = b.Examples[1:]
	if _, err := Compare([]*Run{run("a", 1), b}, 10, 0); err == nil || err.Error() != "report: b: 39 examples, want 40 as a has with the same rows" {
		t.Errorf("Compare of a shorter run = %v", err)
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{[]float64{0, 200}, "0 50 100 150 200"},
		{[]float64{1.48, 10.83}, "0 2 4 6 8 10 12"},
		{[]float64{-0.02, 0.03}, "-0.02 -0.01 0.00 0.01 0.02 0.03"},
		{[]float64{3, 3}, "2.4 2.6 2.8 3.0 3.2 3.4 3.6"},
		{nil, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{[]float64{math.NaN(), 1, math.Inf(1), 2}, "1.0 1.2 1.4 1.6 1.8 2.0"},
	} {
		a := newAxis()
		a.include(c.values)
		a.place(0, 100, true)
		if _, labels := a.ticks(); strings.Join(labels, " ") != c.want {
			t.Errorf("ticks of %v = %q, want %q", c.values, labels, c.want)
		}
	}
}

func TestNGramsKnowTheTrainingRows(t *testing.T) {
	row := func(ids ...int32) data.Example {
		return data.Example{IDs: ids, Loss: []data.Span{{Start: 1, End: int32(len(ids)), Weight: 1}}}
	}
	n, err := CountNGrams(data.Set{row(0, 1, 2, 3), row(0, 1, 2, 4)}, data.Set{row(0, 1, 2, 3), row(0, 4, 4, 4)}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if n.Rows != 2 || n.Of != 2 || !(n.Examples[0].PerToken() < math.Log(10)) || !(n.Examples[1].PerToken() > n.Examples[0].PerToken()) {
		t.Errorf("CountNGrams() = %+v, want the first row easier than the second", n)
	}
	if _, err := CountNGrams(data.Set{row(0, 11)}, nil, 10); err == nil {
		t.Error("a token outside the vocabulary was counted")
	}
}

func TestBoldKeepsSpacesOutside(t *testing.T) {
	for in, want := range map[string]string{" a b ": " **a b** ", "\n\n": "\n\n", "x\n\n y": "**x**\n\n **y**", "": ""} {
		if got := bold(in); got != want {
			t.Errorf("bold(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseRun(f *testing.F) {
	f.Add([]byte(`{"name":"a","eval_hash":"b","facts":[{"name":"x","value":"y"}]}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		if r, err := ParseRun("x", src); err == nil && r.Name == "" {
			t.Error("a run without a name")
		}
		ReadExamples("x", bytes.NewReader(src))
	})
}
