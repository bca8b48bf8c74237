package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode"
)

// processor puts special tokens around one text or a pair, and type ids on them. It takes one encoding per text and
// returns the parts of the result in order.
type processor interface {
	process(tk *Tokenizer, parts []Encoding, special bool) []Encoding
	// added counts the special tokens that process puts in.
	added(pair bool) int
}

// processorJSON holds the keys of every kind of post-processor.
type processorJSON struct {
	Type       string            `json:"type"`
	Processors []json.RawMessage `json:"processors"`

	Single        []templatePiece                 `json:"single"`
	Pair          []templatePiece                 `json:"pair"`
	SpecialTokens map[string]templateSpecialToken `json:"special_tokens"`

	Sep            tokenID `json:"sep"`
	Cls            tokenID `json:"cls"`
	TrimOffsets    *bool   `json:"trim_offsets"`
	AddPrefixSpace *bool   `json:"add_prefix_space"`
}

// processors is the table of kinds.
var processors = map[string]func(j *processorJSON) (processor, error){
	"TemplateProcessing": newTemplate,
	"BertProcessing": func(j *processorJSON) (processor, error) {
		return bertProcessor{cls: j.Cls.id, sep: j.Sep.id}, nil
	},
	"RobertaProcessing": func(j *processorJSON) (processor, error) {
		return robertaProcessor{cls: j.Cls.id, sep: j.Sep.id, trim: trimmer{isTrue(j.TrimOffsets, true), isTrue(j.AddPrefixSpace, true)}}, nil
	},
	"ByteLevel": func(j *processorJSON) (processor, error) {
		return trimmer{isTrue(j.TrimOffsets, true), isTrue(j.AddPrefixSpace, true)}, nil
	},
}

func newProcessor(raw json.RawMessage, at string) (processor, error) {
	if isNull(raw) {
		return nil, nil
	}
	var j processorJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if j.Type == "Sequence" {
		var seq processorSequence
		for i, raw := range j.Processors {
			p, err := newProcessor(raw, fmt.Sprintf("%s.processors[%d]", at, i))
			if err != nil {
				return nil, err
			}
			if p != nil {
				seq = append(seq, p)
			}
		}
		return seq, nil
	}
	build, ok := processors[j.Type]
	if !ok {
		return nil, unknownType(at, j.Type, processors)
	}
	p, err := build(&j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return p, nil
}

type processorSequence []processor

func (s processorSequence) process(tk *Tokenizer, parts []Encoding, special bool) []Encoding {
	for _, p := range s {
		parts = p.process(tk, parts, special)
	}
	return parts
}

func (s processorSequence) added(pair bool) int {
	n := 0
	for _, p := range s {
		n += p.added(pair)
	}
	return n
}

// tokenID is ["[SEP]", 102].
type tokenID struct {
	token string
	id    int32
}

func (t *tokenID) UnmarshalJSON(b []byte) error {
	var pair []any
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) == 2 {
		s, ok := pair[0].(string)
		id, also := pair[1].(float64)
		if ok && also && id >= 0 && id < 1<<31 {
			t.token, t.id = s, int32(id)
			return nil
		}
	}
	return fmt.Errorf("%s, want a token and its id", b)
}

// one is the encoding of special tokens that are put in.
func one(typeID int32, ids ...int32) Encoding {
	var e Encoding
	for _, id := range ids {
		e.push(id, 0, 0, typeID, -1, -1)
	}
	return e
}

// templatePiece is {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}.
type templatePiece struct {
	SpecialToken, Sequence *struct {
		ID     string `json:"id"`
		TypeID int32  `json:"type_id"`
	}
}

type templateSpecialToken struct {
	IDs []int32 `json:"ids"`
}

// template writes the result piece by piece.
type template struct{ single, pair []templateStep }

type templateStep struct {
	text   int // 0 or 1, -1 for special tokens
	ids    []int32
	typeID int32
}

func newTemplate(j *processorJSON) (processor, error) {
	single, err := templateSteps(j, j.Single, 1, "single")
	if err != nil {
		return nil, err
	}
	pair, err := templateSteps(j, j.Pair, 2, "pair")
	return template{single, pair}, err
}

func templateSteps(j *processorJSON, pieces []templatePiece, texts int, at string) ([]templateStep, error) {
	var steps []templateStep
	for i, p := range pieces {
		switch {
		case p.Sequence != nil:
			which := map[string]int{"A": 0, "B": 1}
			n, ok := which[p.Sequence.ID]
			if !ok || n >= texts {
				return nil, fmt.Errorf("%s[%d]: Sequence %q, want A, or B in a pair", at, i, p.Sequence.ID)
			}
			steps = append(steps, templateStep{text: n, typeID: p.Sequence.TypeID})
		case p.SpecialToken != nil:
			tok, ok := j.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return nil, fmt.Errorf("%s[%d]: %q is not among special_tokens", at, i, p.SpecialToken.ID)
			}
			steps = append(steps, templateStep{text: -1, ids: tok.IDs, typeID: p.SpecialToken.TypeID})
		default:
			return nil, fmt.Errorf("%s[%d]: want SpecialToken or Sequence", at, i)
		}
	}
	return steps, nil
}

func (t template) steps(pair bool) []templateStep {
	if pair {
		return t.pair
	}
	return t.single
}

func (t template) process(_ *Tokenizer, parts []Encoding, special bool) []Encoding {
	var out []Encoding
	for _, s := range t.steps(len(parts) == 2) {
		switch {
		case s.text >= 0 && s.text < len(parts):
			parts[s.text].setTypes(s.typeID)
			out = append(out, parts[s.text])
		case s.text < 0 && special:
			out = append(out, one(s.typeID, s.ids...))
		}
	}
	return out
}

func (t template) added(pair bool) int {
	n := 0
	for _, s := range t.steps(pair) {
		n += len(s.ids)
	}
	return n
}

// bertProcessor writes [CLS] A [SEP] B [SEP].
type bertProcessor struct{ cls, sep int32 }

func (p bertProcessor) process(_ *Tokenizer, parts []Encoding, special bool) []Encoding {
	if !special {
		return parts
	}
	out := []Encoding{one(0, p.cls)}
	for i := range parts {
		typeID := int32(min(i, 1))
		parts[i].setTypes(typeID)
		out = append(out, parts[i], one(typeID, p.sep))
	}
	return out
}

func (bertProcessor) added(pair bool) int {
	if pair {
		return 3
	}
	return 2
}

// robertaProcessor writes <s> A </s></s> B </s>, all of type 0.
type robertaProcessor struct {
	cls, sep int32
	trim     trimmer
}

func (p robertaProcessor) process(tk *Tokenizer, parts []Encoding, special bool) []Encoding {
	parts = p.trim.process(tk, parts, special)
	for i := range parts {
		parts[i].setTypes(0)
	}
	if !special {
		return parts
	}
	out := []Encoding{one(0, p.cls)}
	for i := range parts {
		if i > 0 {
			out = append(out, one(0, p.sep))
		}
		out = append(out, parts[i], one(0, p.sep))
	}
	return out
}

func (robertaProcessor) added(pair bool) int {
	if pair {
		return 4
	}
	return 2
}

// trimmer takes the spaces at the ends of byte-level tokens out of their offsets.
type trimmer struct{ trim, prefix bool }

func (trimmer) added(bool) int { return 0 }

func (p trimmer) process(tk *Tokenizer, parts []Encoding, _ bool) []Encoding {
	if p.trim {
		for i := range parts {
			p.apply(tk, &parts[i])
		}
	}
	return parts
}

func (p trimmer) apply(tk *Tokenizer, e *Encoding) {
	for i := range e.Overflowing {
		p.apply(tk, &e.Overflowing[i])
	}
	for i, id := range e.IDs {
		token, _ := tk.Token(id)
		lead, trail := 0, 0
		rest := []rune(token)
		for lead < len(rest) && isLetterSpace(rest[lead]) {
			lead++
		}
		for trail < len(rest) && isLetterSpace(rest[len(rest)-1-trail]) {
			trail++
		}
		o := &e.Offsets[i]
		if lead > 0 {
			if p.prefix && (i == 0 || o[0] == 0) {
				lead-- // the space that was put before the text
			}
			o[0] = min(o[0]+lead, o[1])
		}
		if trail > 0 && o[1] >= trail {
			o[1] = max(o[1]-trail, o[0])
		}
	}
}

func isLetterSpace(r rune) bool { return r == byteLetters[' '] || unicode.IsSpace(r) }
