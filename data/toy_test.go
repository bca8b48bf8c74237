package data

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/graft-ml/graft/tokenizer"
)

// toy makes one token of every width bytes: id = sum of the bytes + 10. <s> is 1, </s> is 2.
type toy struct {
	width       int
	noBOS, ends bool // ends: </s> is put in, too
	noEOS       bool
}

func (t toy) Encode(text string, special bool) tokenizer.Encoding {
	var e tokenizer.Encoding
	put := func(id int32, start, end int) {
		e.IDs, e.Offsets = append(e.IDs, id), append(e.Offsets, [2]int{start, end})
	}
	if special && !t.noBOS {
		put(1, 0, 0)
	}
	for i := 0; i < len(text); i += max(t.width, 1) {
		end := min(i+max(t.width, 1), len(text))
		id := int32(10)
		for _, c := range []byte(text[i:end]) {
			id += int32(c)
		}
		put(id, i, end)
	}
	if special && t.ends {
		put(2, 0, 0)
	}
	return e
}

func (t toy) BOS() (int32, bool) { return 1, !t.noBOS }
func (t toy) EOS() (int32, bool) { return 2, !t.noEOS }

// show writes tokens of width 1 as text: targets in capitals' brackets, special tokens as < and >.
func show(e *Example) string {
	var b strings.Builder
	in := false
	for i, w := range e.Weights() {
		if (w > 0) != in {
			in = !in
			b.WriteByte("]["[map[bool]int{false: 0, true: 1}[in]])
		}
		switch id := e.IDs[i]; id {
		case 1:
			b.WriteByte('<')
		case 2:
			b.WriteByte('>')
		default:
			b.WriteByte(byte(id - 10))
		}
	}
	if in {
		b.WriteByte(']')
	}
	return b.String()
}

// plainChat renders "role:content;" and trains the content and the semicolon.
type plainChat struct{}

func (plainChat) Render(c *Conversation) (ids []int32, weights []float32, err error) {
	put := func(s string, w float32) {
		for _, id := range (toy{}).Encode(s, false).IDs {
			ids, weights = append(ids, id), append(weights, w)
		}
	}
	if len(c.Tools) > 0 {
		put(fmt.Sprintf("tools%d;", len(c.Tools)), 0)
	}
	for _, m := range c.Messages {
		if m.Role == "bad" {
			return nil, nil, errors.New("template: role bad")
		}
		put(m.Role+":", 0)
		for _, f := range m.Fields {
			put(f.Name+",", m.Weight)
		}
		put(m.Content+";", m.Weight)
	}
	return ids, weights, nil
}

// rowsOf parses one JSON object a line.
func rowsOf(t testing.TB, lines ...string) iter.Seq2[Row, error] {
	t.Helper()
	return func(yield func(Row, error) bool) {
		for i, l := range lines {
			v, err := ParseJSON([]byte(l))
			row := Row{Place: Place{File: "t.jsonl", Line: i + 1, Row: i + 1}}
			if err != nil {
				err = row.Errorf("%w", err)
			} else {
				row.Fields = v.(Object)
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func build(t testing.TB, s Settings, lines ...string) (Set, *Report) {
	t.Helper()
	set, r, err := Build(context.Background(), rowsOf(t, lines...), toy{}, plainChat{}, s)
	if err != nil {
		t.Fatalf("Build(%+v) = %v", s, err)
	}
	return set, r
}

// lengths makes a set with examples of the given lengths; token 0 of example i is i.
func setOf(lengths ...int) Set {
	s := make(Set, len(lengths))
	for i, n := range lengths {
		ids := make([]int32, n)
		for t := range ids {
			ids[t] = int32(i)
		}
		s[i] = Example{IDs: ids, Loss: []Span{{0, int32(n), 1}}, Ordinal: i}
	}
	return s
}
