package release

import (
	"encoding/json"
	"fmt"
	"slices"
)

// ReportFile is the report of a run, in its folder.
const ReportFile = "report.json"

// Fact is a name and what is so called.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Figures are what report.json says of a run.
type Figures struct {
	Facts    []Fact
	Examples int     // held out
	Losses   []Loss  // of the base, the result and what counting gives
	Scores   []Score // of the result
}

// Loss is how a model does on the held-out rows.
type Loss struct {
	Name string  `json:"name"`
	Loss float64 `json:"loss"` // per target, in nats
	Low  float64 `json:"low"`  // of its 95 % interval
	High float64 `json:"high"`
}

// Score is a figure by which predictions are judged.
type Score struct {
	Section, Name string
	Value         float64
}

// judged are the sections of report.json with scores, and which of their figures are told.
var judged = []struct {
	section string
	names   []string
}{
	{"classes", []string{"accuracy", "macro_f1", "matthews"}},
	{"labels", []string{"micro_f1", "macro_f1", "subset_accuracy"}},
	{"values", []string{"mse", "mae", "pearson", "spearman"}},
	{"entities", []string{"f1", "precision", "recall"}},
	{"answers", []string{"exact", "f1"}},
}

// ReadFigures reads report.json.
func ReadFigures(b []byte) (*Figures, error) {
	var doc struct {
		Facts    []Fact                     `json:"facts"`
		Sections map[string]json.RawMessage `json:"sections"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("release: %s: it is not JSON as graft writes it", ReportFile)
	}
	var loss struct {
		Examples int    `json:"examples"`
		Models   []Loss `json:"models"`
	}
	if raw, ok := doc.Sections["loss"]; ok {
		if err := json.Unmarshal(raw, &loss); err != nil {
			return nil, fmt.Errorf("release: %s: section loss is not as graft writes it", ReportFile)
		}
	}
	f := &Figures{Facts: doc.Facts, Examples: loss.Examples, Losses: loss.Models}
	for _, j := range judged {
		if raw, ok := doc.Sections[j.section]; ok {
			f.Scores = append(f.Scores, scoresIn(raw, j.section, j.names)...)
		}
	}
	return f, nil
}

// scoresIn finds figures in a section, which is an object, or a list with one for each model.
func scoresIn(raw json.RawMessage, section string, names []string) (list []Score) {
	var all []map[string]any
	if json.Unmarshal(raw, &all) != nil {
		var one map[string]any
		if json.Unmarshal(raw, &one) != nil {
			return nil
		}
		all = append(all, one)
	}
	i := slices.IndexFunc(all, func(o map[string]any) bool { return o["name"] == nil || o["name"] == "fine-tuned" })
	if i < 0 {
		return nil
	}
	for _, name := range names {
		if v, ok := all[i][name].(float64); ok {
			list = append(list, Score{section, name, v})
		}
	}
	return list
}
