package source

import "github.com/graft-ml/graft/data"

// questions takes articles of SQuAD, {title, paragraphs: [{context, qas: [{id, question, answers}]}]}, apart into a row for
// each question. Other rows stay as they are.
func (x *file) questions(yield func(data.Row, error) bool) func(data.Row, error) bool {
	n, part := 0, 0
	return func(row data.Row, err error) bool {
		paragraphs, ok := row.Fields.Get("paragraphs")
		list, isList := paragraphs.([]any)
		if err != nil || !ok || !isList {
			return yield(row, err)
		}
		title, _ := row.Fields.Get("title")
		for _, p := range list {
			paragraph, _ := p.(data.Object)
			context, _ := paragraph.Get("context")
			qas, ok := paragraph.Get("qas")
			asked, isList := qas.([]any)
			if !ok || !isList || context == nil {
				return yield(data.Row{Place: row.Place}, row.Errorf("a paragraph has no context with a list of qas, want SQuAD's form"))
			}
			part++
			for _, q := range asked {
				n++
				r := data.Row{Place: x.place(row.Line, n)}
				r.Part = part
				question, ok := q.(data.Object)
				if !ok {
					return yield(r, r.Errorf("qas[…] is %s, want an object {id, question, answers}", kind(q)))
				}
				if title != nil {
					r.Fields = append(r.Fields, data.Field{Name: "title", Value: title})
				}
				r.Fields = append(append(r.Fields, data.Field{Name: "context", Value: context}), question...)
				if !yield(r, nil) {
					return false
				}
			}
		}
		return true
	}
}
