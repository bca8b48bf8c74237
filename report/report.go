// Package report says how good a run is: on the rows that it held out, against the base that it started from and against
// a model that only counts words.
//
//	tuned, err := report.Measure(ctx, model, task, mode, heldOut)
//	adapter.Detach()
//	base, err := report.Measure(ctx, model, task, mode, heldOut)
//	r, err := report.Build(report.Input{Name: "first", Set: heldOut, Tuned: tuned, Base: base, …})
//	for _, file := range r.Files() { … }
//
// A report is a list of sections, the table Sections. A section turns the input into a value, which report.json keeps under
// its name, and into blocks (paragraphs, tables, figures, passages of text), which know their forms in report.md and
// report.html. The three files say the same. They have no times in them: the same run gives the same bytes. report.html
// needs no other file and no network.
//
// eval/examples.jsonl has a line for each held-out example, from which runs are compared:
//
//	{"file":"eval.jsonl","line":3,"row":3,"tokens":57,"targets":31,"weight":31,"loss":40.2,"base_loss":310.9,"ngram_loss":77.1}
//
// weight is Σ weight over the example's targets, the losses are Σ weight·loss in nats.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/metric"
	"github.com/graft-ml/graft/train"
)

// Input is what a report is made of.
type Input struct {
	Name   string       // of the run
	Facts  []Fact       // what ran, in the order in which they are told
	Recipe []byte       // recipe.toml
	Curves train.Curves // of metrics.jsonl

	Set         data.Set     // held out
	Tuned, Base *Measured    // on Set
	BaseName    string       // what Base is called; "" = base
	NGram       *NGram       // on Set; nil where counting words makes no sense
	Prior       *Prior       // on Set; nil for tasks without labels
	Predictions *Predictions // of encoders' tasks; nil otherwise
	Texts       *Texts       // that the models wrote; nil = none. Build fails if it has another number of prompts than of texts
	Pieces      PiecesOf     // nil shows no texts
	Resamples   int          // of the bootstrap; 0 = 1000, fewer for many examples
	Seed        uint64       // of the bootstrap
	level       float64      // of intervals
	base, tuned metric.Sample
}

// Fact is a name and what is so called.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PiecesOf gives the text of each token [len(ids)]; put end to end they are the text. A token may have no text of its own,
// where a character has several tokens.
type PiecesOf func(ids []int32) []string

// Report is a finished report.
type Report struct {
	Name     string
	EvalHash string // of the held-out examples: reports with the same one can be compared example by example
	Facts    []Fact
	Values   map[string]any // by section
	Examples []Example
	sections []filled
}

// filled is a section with its content.
type filled struct {
	Section
	blocks []Block
}

// Section is one part of a report.
type Section struct {
	Name  string // its key in report.json
	Title string
	// Make gives the section's value and its blocks; a nil value means that the run has no such section.
	Make func(in *Input) (value any, blocks []Block, err error)
}

// Sections are all sections in their order.
var Sections = []Section{outcome, written, classes, labels, values, entities, answers, course, lengths, worst, provenance}

// Build makes the sections.
func Build(in Input) (*Report, error) {
	if err := in.prepare(); err != nil {
		return nil, err
	}
	r := &Report{Name: in.Name, EvalHash: in.Set.Fingerprint(), Facts: in.Facts, Values: map[string]any{}, Examples: in.examples()}
	for _, s := range Sections {
		value, blocks, err := s.Make(&in)
		if err != nil {
			return nil, fmt.Errorf("report: %s: %w", s.Name, err)
		}
		if value != nil {
			r.Values[s.Name] = value
			r.sections = append(r.sections, filled{s, blocks})
		}
	}
	return r, nil
}

// prepare checks the input and settles the defaults.
func (in *Input) prepare() error {
	n := len(in.Set)
	if n == 0 {
		return fmt.Errorf("report: no held-out examples, want at least one")
	}
	for _, m := range []struct {
		what string
		got  int
	}{{"tuned", in.Tuned.len()}, {"base", in.Base.len()}} {
		if m.got != n {
			return fmt.Errorf("report: %s was measured on %d examples, want %d", m.what, m.got, n)
		}
	}
	if in.NGram != nil && len(in.NGram.Examples) != n {
		return fmt.Errorf("report: the n-gram model was measured on %d examples, want %d", len(in.NGram.Examples), n)
	}
	if in.Prior != nil && len(in.Prior.Examples) != n {
		return fmt.Errorf("report: the frequencies were measured on %d examples, want %d", len(in.Prior.Examples), n)
	}
	if err := in.Texts.check(); err != nil {
		return err
	}
	const draws = 20_000_000 // of examples in a bootstrap: well under a second
	if in.Resamples == 0 {
		in.Resamples = min(1000, max(100, draws/n))
	}
	in.level = 0.95
	in.base, in.tuned = Sample(in.Base.Examples), Sample(in.Tuned.Examples)
	return nil
}

// baseName is what the base is called: without a head of its own it is no more than its untrained head.
func (in *Input) baseName() string {
	if in.BaseName == "" {
		return "base"
	}
	return in.BaseName
}

// Sample makes losses of examples a score that can be resampled: the loss per target.
func Sample(examples []metric.Loss) metric.Sample {
	rows := make([][]float64, len(examples))
	for i, l := range examples {
		rows[i] = []float64{l.Sum, l.Weight}
	}
	return metric.Sample{Segments: rows, Score: func(sum []float64) float64 { return sum[0] / sum[1] }}
}

// File is a file of a report; its name is relative to the run folder, with slashes.
type File struct {
	Name    string
	Content []byte
}

// Files are report.json, report.md, report.html and eval/examples.jsonl.
func (r *Report) Files() ([]File, error) {
	var files []File
	for _, f := range []struct {
		name string
		make func() ([]byte, error)
	}{{JSONFile, r.json}, {"report.md", r.markdown}, {"report.html", r.html}, {ExamplesFile, r.lines}} {
		b, err := f.make()
		if err != nil {
			return nil, fmt.Errorf("report: %s: %w", f.name, err)
		}
		files = append(files, File{f.name, b})
	}
	return files, nil
}

// Names of files that are read again.
const (
	JSONFile     = "report.json"
	ExamplesFile = "eval/examples.jsonl"
)

// document is report.json.
type document struct {
	Name     string         `json:"name"`
	EvalHash string         `json:"eval_hash"`
	Facts    []Fact         `json:"facts"`
	Sections map[string]any `json:"sections"`
}

func (r *Report) json() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(document{r.Name, r.EvalHash, r.Facts, r.Values})
	return b.Bytes(), err
}

func (r *Report) markdown() ([]byte, error) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "# %s\n", escapeMarkdown(r.Name))
	for _, s := range r.sections {
		fmt.Fprintf(&w, "\n## %s\n", s.Title)
		for _, b := range s.blocks {
			w.WriteByte('\n')
			b.markdown(&w)
		}
	}
	return w.Bytes(), nil
}
