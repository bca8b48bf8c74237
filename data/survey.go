package data

import "iter"

// Survey is what the rows of a source say about their labels, before anything is tokenized.
type Survey struct {
	Task    string   // that the first row is for: the task of its shape
	Problem string   // of classification: one of SingleLabel …
	Labels  []string // names in their order; nil of a regression
	Values  int      // numbers of a row of a regression
}

// Look reads the labels of all rows of the shapes classification and tokens. Rows that are bad are left to Build, which says
// what is wrong with them.
func Look(rows iter.Seq2[Row, error], s Settings) (Survey, error) {
	if err := s.Validate(); err != nil {
		return Survey{}, err
	}
	var out Survey
	var e *Encoder
	labels := newLabeler(nil)
	for row, err := range rows {
		if err != nil || len(row.Fields) == 0 {
			continue
		}
		if e == nil {
			d, err := newDrafter(&s, &row, false)
			if err != nil {
				return Survey{}, err
			}
			e = &Encoder{drafter: d}
			out.Task = d.shape.Task
			if d.shape.Name == classification.Name {
				e.setProblem(&row)
				out.Problem = e.problem
			}
		}
		names, values := e.labelsOf(&row)
		out.Values = max(out.Values, values)
		for _, name := range names {
			if _, known := labels.ids[name]; !known {
				labels.add(name)
			}
		}
	}
	if e != nil && out.Problem != Regression {
		out.Labels = sortLabels(labels.names, e.shape.Name == tokens.Name)
	}
	return out, nil
}

// labelsOf are the names that a row has for its labels, and how many values.
func (e *Encoder) labelsOf(row *Row) (names []string, values int) {
	switch e.shape.Name {
	case classification.Name:
		list, names, err := e.label(row)
		if err != nil {
			return nil, 0
		}
		return names, len(list)
	case tokens.Name:
		_, tags, err := e.words(row)
		if err != nil {
			return nil, 0
		}
		return tags, 0
	}
	return nil, 0
}

// TaskOf is the task of the first shape that fits a row, among those that have a task; "" if none does.
func TaskOf(row *Row, columns map[string]string) string {
	s := &Settings{Columns: columns}
	for i := range Shapes {
		d := &drafter{columns: columns, settings: s, shape: &Shapes[i]}
		if d.shape.Task != "" && d.fits(row) {
			return d.shape.Task
		}
	}
	return ""
}

// ShapeTask is the task that rows of a shape are for; "" of tasks about language itself, and of no shape.
func ShapeTask(name string) string {
	for i := range Shapes {
		if Shapes[i].Name == name {
			return Shapes[i].Task
		}
	}
	return ""
}
