package tokenizer

import "fmt"

// Encoding is a tokenized text. All slices have one entry per token.
type Encoding struct {
	IDs     []int32
	Offsets [][2]int // byte range of the input that the token covers; {0, 0} for special tokens that were put in
	TypeIDs []int32  // 0 for the first text of a pair, 1 for the second, as the post-processor says
	Words   []int32  // index of the word (or of the given word, see EncodeWords) within its text; -1 for tokens put in
	Texts   []int32  // 0 or 1: the text of a pair that the token comes from; -1 for tokens put in

	// Overflowing holds the parts that truncation cut off, each with its own special tokens.
	Overflowing []Encoding
}

// Len is the number of tokens.
func (e *Encoding) Len() int { return len(e.IDs) }

// reserve makes room for n tokens, unless there are some already.
func (e *Encoding) reserve(n int) {
	if e.IDs != nil {
		return
	}
	e.IDs, e.Offsets = make([]int32, 0, n), make([][2]int, 0, n)
	e.TypeIDs, e.Words, e.Texts = make([]int32, 0, n), make([]int32, 0, n), make([]int32, 0, n)
}

func (e *Encoding) push(id int32, start, end int, typeID, word, which int32) {
	e.IDs = append(e.IDs, id)
	e.Offsets = append(e.Offsets, [2]int{start, end})
	e.TypeIDs = append(e.TypeIDs, typeID)
	e.Words = append(e.Words, word)
	e.Texts = append(e.Texts, which)
}

// part copies the tokens a to b.
func (e *Encoding) part(a, b int) Encoding {
	return Encoding{
		IDs:     append([]int32(nil), e.IDs[a:b]...),
		Offsets: append([][2]int(nil), e.Offsets[a:b]...),
		TypeIDs: append([]int32(nil), e.TypeIDs[a:b]...),
		Words:   append([]int32(nil), e.Words[a:b]...),
		Texts:   append([]int32(nil), e.Texts[a:b]...),
	}
}

// join appends o; what overflows on either side is combined with everything on the other.
func (e *Encoding) join(o *Encoding) {
	var over []Encoding
	for i := range e.Overflowing {
		x := &e.Overflowing[i]
		over = append(over, joined(x, o))
		for k := range o.Overflowing {
			over = append(over, joined(x, &o.Overflowing[k]))
		}
	}
	for k := range o.Overflowing {
		over = append(over, joined(e, &o.Overflowing[k]))
	}
	e.IDs = append(e.IDs, o.IDs...)
	e.Offsets = append(e.Offsets, o.Offsets...)
	e.TypeIDs = append(e.TypeIDs, o.TypeIDs...)
	e.Words = append(e.Words, o.Words...)
	e.Texts = append(e.Texts, o.Texts...)
	e.Overflowing = over
}

// joined is a followed by b, without what overflows.
func joined(a, b *Encoding) Encoding {
	x := a.part(0, a.Len())
	y := b.part(0, b.Len())
	x.join(&y)
	return x
}

// setTypes gives every token the type id, in the overflowing parts too.
func (e *Encoding) setTypes(id int32) {
	for i := range e.TypeIDs {
		e.TypeIDs[i] = id
	}
	for i := range e.Overflowing {
		e.Overflowing[i].setTypes(id)
	}
}

// Truncation says how texts are shortened. It is the section truncation of tokenizer.json.
type Truncation struct {
	MaxLength int    `json:"max_length"` // tokens of the result, special ones included
	Stride    int    `json:"stride"`     // tokens that one part shares with the next
	Strategy  string `json:"strategy"`   // LongestFirst, OnlyFirst or OnlySecond
	Direction string `json:"direction"`  // Right or Left: the side that is cut
}

// Validate reports every bad field.
func (t *Truncation) Validate() error {
	var c collector
	c.check(t.MaxLength >= 0, "max_length is %d, want at least 0", t.MaxLength)
	c.check(t.Stride >= 0, "stride is %d, want at least 0", t.Stride)
	switch t.Strategy {
	case "", "LongestFirst", "OnlyFirst", "OnlySecond":
	default:
		c.check(false, "strategy is %q, want LongestFirst, OnlyFirst or OnlySecond", t.Strategy)
	}
	c.check(t.Direction == "" || t.Direction == "Right" || t.Direction == "Left", "direction is %q, want Right or Left", t.Direction)
	return c.err()
}

// shorten cuts a and b (nil if there is one text) so that together they have at most limit tokens.
func (t *Truncation) shorten(a, b *Encoding, limit int) error {
	total := a.Len()
	if b != nil {
		total += b.Len()
	}
	if total <= limit {
		return nil
	}
	switch t.Strategy {
	case "OnlyFirst":
		return t.shortenOne(a, total-limit, "first")
	case "OnlySecond":
		if b == nil {
			return fmt.Errorf("tokenizer: truncation: strategy OnlySecond with one text, want a pair")
		}
		return t.shortenOne(b, total-limit, "second")
	}
	if b == nil {
		return t.cut(a, limit)
	}
	n1, n2 := a.Len(), b.Len()
	swap := n1 > n2
	if swap {
		n1, n2 = n2, n1
	}
	if n1 > limit {
		n2 = n1
	} else {
		n2 = max(n1, limit-n1)
	}
	if n1+n2 > limit {
		n1 = limit / 2
		n2 = n1 + limit%2
	}
	if swap {
		n1, n2 = n2, n1
	}
	if err := t.cut(a, n1); err != nil {
		return err
	}
	return t.cut(b, n2)
}

func (t *Truncation) shortenOne(e *Encoding, remove int, which string) error {
	if e.Len() <= remove {
		return fmt.Errorf("tokenizer: truncation: the %s text has %d tokens, want more than the %d to cut", which, e.Len(), remove)
	}
	return t.cut(e, e.Len()-remove)
}

// cut shortens e to n tokens; the rest becomes overflowing parts of at most n tokens that share Stride tokens.
func (t *Truncation) cut(e *Encoding, n int) error {
	length := e.Len()
	if n >= length {
		return nil
	}
	if n == 0 {
		*e = Encoding{Overflowing: []Encoding{*e}}
		return nil
	}
	if t.Stride >= n {
		return fmt.Errorf("tokenizer: truncation: stride is %d, want less than the %d tokens that are left of a text", t.Stride, n)
	}
	var parts []Encoding
	step := n - t.Stride
	if t.Direction == "Left" {
		for stop := length; stop > 0; stop -= step {
			start := max(0, stop-n)
			parts = append(parts, e.part(start, stop))
			if start == 0 {
				break
			}
		}
	} else {
		for start := 0; start < length; start += step {
			stop := min(length, start+n)
			parts = append(parts, e.part(start, stop))
			if stop == length {
				break
			}
		}
	}
	*e = parts[0]
	e.Overflowing = parts[1:]
	return nil
}
