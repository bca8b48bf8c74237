package data

import (
	"strconv"
	"strings"
)

// classification is the shape of labelled texts and pairs of texts.
var classification = Shape{
	Name: "classification", Task: "seq-cls",
	Doc: "text, optional text2, label: a name, a number, or a list of labels",
	Columns: []Column{
		{Name: "text", Names: []string{"text", "sentence", "text_a", "sentence1", "premise", "question1", "content", "review"}, Required: true},
		{Name: "text2", Names: []string{"text2", "text_b", "sentence2", "hypothesis", "question2"}},
		{Name: "label", Names: []string{"label", "labels", "intent", "class", "category", "score"}, Required: true, Target: true},
	},
	encode: (*Encoder).classification,
}

func (e *Encoder) classification(row *Row) (Encoded, error) {
	s, err := e.texts(row, "text", "text2")
	if err != nil {
		return Encoded{}, err
	}
	if strings.TrimSpace(s[0]) == "" {
		return Encoded{Dropped: "empty text"}, nil
	}
	x := Example{Place: row.Place}
	out := Encoded{}
	if !e.settings.Predict {
		if x.Labels, out.names, err = e.label(row); err != nil {
			return Encoded{}, err
		}
	}
	texts := s[:1]
	if s[1] != "" {
		texts = s
	}
	enc, cut, err := e.whole(row, texts...)
	if err != nil || enc == nil {
		return Encoded{Dropped: "longer than sequence_len"}, err
	}
	x.IDs, x.Types = enc.IDs, typesOf(enc.TypeIDs)
	if e.settings.KeepOrigin {
		x.Origin = &Origin{Text: strings.Join(texts, "\n")}
	}
	out.Examples, out.Truncated = []Example{x}, cut
	return out, nil
}

// label reads the label column: the values, or numbers of the names that come with them.
func (e *Encoder) label(row *Row) (values []float32, names []string, err error) {
	name, v, err := e.value(row, "label")
	if err != nil {
		return nil, nil, err
	}
	list, several := v.([]any)
	if !several {
		list = []any{v}
	}
	switch e.problem {
	case Regression:
		return e.numbers(row, name, list)
	case SingleLabel:
		if several {
			return nil, nil, row.Errorf("field %q is a list, want one label as in the first row (problem_type is %s)", name, e.problem)
		}
	}
	values = make([]float32, 0, len(list)) // not nil: no label is a label, too
	for i, v := range list {
		s, err := e.labelName(row, name, v)
		if err != nil {
			return nil, nil, err
		}
		values, names = append(values, float32(i)), append(names, s)
	}
	return values, names, nil
}

// numbers are the values of a regression; texts of tables are read as numbers.
func (e *Encoder) numbers(row *Row, name string, list []any) (values []float32, _ []string, err error) {
	for _, v := range list {
		switch v := v.(type) {
		case int64:
			values = append(values, float32(v))
		case float64:
			values = append(values, float32(v))
		case string:
			f, err := strconv.ParseFloat(strings.TrimSpace(v), 32)
			if err != nil {
				return nil, nil, row.Errorf("field %q is %s, want a number (problem_type is %s)", name, excerpt(v), e.problem)
			}
			values = append(values, float32(f))
		default:
			return nil, nil, row.Errorf("field %q is %s, want a number (problem_type is %s)", name, kind(v), e.problem)
		}
	}
	return values, nil, nil
}

// labelName is the name of a label: itself, or, for a number, the name with that index in Settings.Labels.
func (e *Encoder) labelName(row *Row, field string, v any) (string, error) {
	switch v := v.(type) {
	case string:
		if s := strings.TrimSpace(v); s != "" {
			return s, nil
		}
		return "", row.Errorf("field %q is empty, want a label", field)
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		given := e.settings.Labels
		if len(given) == 0 {
			return strconv.FormatInt(v, 10), nil
		}
		if v < 0 || v >= int64(len(given)) {
			return "", row.Errorf("field %q is label %d, want 0 to %d, as there are %d labels", field, v, len(given)-1, len(given))
		}
		return given[v], nil
	case float64:
		return "", row.Errorf("field %q is %g, want a label (problem_type is %s; say %s for numbers)", field, v, e.problem, Regression)
	}
	return "", row.Errorf("field %q is %s, want a label", field, kind(v))
}

// problemOf says what kind of label the first row has.
func problemOf(d *drafter, first *Row) string {
	_, v, _ := d.find(first, &d.shape.Columns[2])
	switch v := v.(type) {
	case []any:
		if len(v) > 0 {
			if _, ok := v[0].(float64); ok {
				return Regression
			}
		}
		return MultiLabel
	case float64:
		return Regression
	}
	return SingleLabel
}
