package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A decoder is a chain of stages. Each stage takes tokens one by one and hands on what can no longer change; flush
// hands on the rest. Decode and the streaming Decoder run the same stages, so they cannot disagree.
type stage interface {
	token(s string, emit func(string))
	flush(emit func(string))
}

// decoderJSON holds the keys of every kind of decoder.
type decoderJSON struct {
	Type     string            `json:"type"`
	Decoders []json.RawMessage `json:"decoders"`

	Prefix             *string      `json:"prefix"`
	Suffix             *string      `json:"suffix"`
	Cleanup            *bool        `json:"cleanup"`
	Replacement        string       `json:"replacement"`
	AddPrefixSpace     *bool        `json:"add_prefix_space"`
	PrependScheme      string       `json:"prepend_scheme"`
	Pattern            *patternJSON `json:"pattern"`
	Content            string       `json:"content"`
	Start              int          `json:"start"`
	Stop               int          `json:"stop"`
	PadToken           *string      `json:"pad_token"`
	WordDelimiterToken *string      `json:"word_delimiter_token"`
}

// stageMaker starts a stage for one text.
type stageMaker struct {
	new func() stage
	// joins: what comes out is one single token, handed on in parts.
	joins bool
}

// decoders is the table of kinds.
var decoders = map[string]func(j *decoderJSON) (stageMaker, error){
	"ByteLevel":    func(*decoderJSON) (stageMaker, error) { return joining(func() stage { return &byteLevelStage{} }) },
	"ByteFallback": func(*decoderJSON) (stageMaker, error) { return making(func() stage { return &fallbackStage{} }) },
	"Fuse":         func(*decoderJSON) (stageMaker, error) { return joining(func() stage { return mapStage(same) }) },
	"WordPiece": func(j *decoderJSON) (stageMaker, error) {
		prefix, cleanup := textOr(j.Prefix, "##"), isTrue(j.Cleanup, true)
		return making(func() stage { return &wordPieceStage{prefix: prefix, cleanup: cleanup, first: true} })
	},
	"Metaspace": func(j *decoderJSON) (stageMaker, error) {
		drop := isTrue(j.AddPrefixSpace, true) && j.PrependScheme != "never"
		return making(func() stage { return &metaspaceStage{mark: j.Replacement, dropFirst: drop} })
	},
	"BPEDecoder": func(j *decoderJSON) (stageMaker, error) {
		suffix := textOr(j.Suffix, "</w>")
		return making(func() stage { return &suffixStage{suffix: suffix} })
	},
	"Replace": func(j *decoderJSON) (stageMaker, error) {
		p, err := j.Pattern.compile()
		if err != nil {
			return stageMaker{}, err
		}
		return making(func() stage { return mapStage(func(s string) string { return replaceAll(s, p, j.Content) }) })
	},
	"Strip": func(j *decoderJSON) (stageMaker, error) {
		if utf8.RuneCountInString(j.Content) != 1 || j.Start < 0 || j.Stop < 0 {
			return stageMaker{}, fmt.Errorf("content %q, start %d, stop %d, want one character and no negative number", j.Content, j.Start, j.Stop)
		}
		return making(func() stage { return stripStage{j.Content, j.Start, j.Stop} })
	},
	"CTC": func(j *decoderJSON) (stageMaker, error) {
		pad, space, cleanup := textOr(j.PadToken, "<pad>"), textOr(j.WordDelimiterToken, "|"), isTrue(j.Cleanup, true)
		return making(func() stage { return &ctcStage{pad: pad, space: space, cleanup: cleanup} })
	},
}

func making(f func() stage) (stageMaker, error)  { return stageMaker{new: f}, nil }
func joining(f func() stage) (stageMaker, error) { return stageMaker{new: f, joins: true}, nil }

func textOr(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

func same(s string) string { return s }

// newDecoder builds the chain; null means none.
func newDecoder(raw json.RawMessage, at string) ([]stageMaker, error) {
	if isNull(raw) {
		return nil, nil
	}
	var j decoderJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if j.Type == "Sequence" {
		chain := []stageMaker{}
		for i, raw := range j.Decoders {
			more, err := newDecoder(raw, fmt.Sprintf("%s.decoders[%d]", at, i))
			if err != nil {
				return nil, err
			}
			chain = append(chain, more...)
		}
		return chain, nil
	}
	build, ok := decoders[j.Type]
	if !ok {
		return nil, unknownType(at, j.Type, decoders)
	}
	m, err := build(&j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return []stageMaker{m}, nil
}

// startChain makes the stages for one text. A stage that gets a joined text in parts either can cope (Strip does, by
// its ends) or has it gathered first.
func startChain(chain []stageMaker) []stage {
	var stages []stage
	joined := false
	for i, m := range chain {
		s := m.new()
		if strip, ok := s.(stripStage); ok && joined {
			s = &stripEnds{content: strip.content, start: strip.start, stop: strip.stop}
		} else if joined && !(m.joins && i > 0 && isFuse(s)) {
			stages = append(stages, &gather{})
		}
		stages = append(stages, s)
		joined = joined || m.joins
	}
	return stages
}

func isFuse(s stage) bool { _, ok := s.(mapStage); return ok }

// mapStage rewrites each token on its own.
type mapStage func(string) string

func (f mapStage) token(s string, emit func(string)) { emit(f(s)) }
func (mapStage) flush(func(string))                  {}

// gather hands on everything at the end, as one token.
type gather struct{ strings.Builder }

func (g *gather) token(s string, _ func(string)) { g.WriteString(s) }
func (g *gather) flush(emit func(string))        { emit(g.String()) }

func replaceAll(s string, p pattern, content string) string {
	found := p.find(s, nil)
	if len(found) == 0 {
		return s
	}
	var b strings.Builder
	last := 0
	for _, m := range found {
		b.WriteString(s[last:m.start])
		b.WriteString(content)
		last = m.end
	}
	b.WriteString(s[last:])
	return b.String()
}

// byteLevelStage turns letters back into bytes and hands on whole characters; bytes that are not UTF-8 become U+FFFD,
// one for each longest wrong part.
type byteLevelStage struct{ pending []byte }

func (b *byteLevelStage) token(s string, emit func(string)) {
	n := len(b.pending)
	out, ok := appendLetterBytes(b.pending, s)
	if !ok {
		out = append(out[:n], s...)
	}
	b.pending = out
	done := len(out) - incomplete(out)
	if done > 0 {
		emit(lossy(out[:done]))
		b.pending = append(out[:0], out[done:]...)
	}
}

func (b *byteLevelStage) flush(emit func(string)) {
	if len(b.pending) > 0 {
		emit(lossy(b.pending))
		b.pending = b.pending[:0]
	}
}

// incomplete is the number of bytes at the end of b that may be the start of a character.
func incomplete(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		tail := b[len(b)-n:]
		if !utf8.RuneStart(tail[0]) {
			continue
		}
		if !utf8.FullRune(tail) {
			return n
		}
		return 0
	}
	return 0
}

// lossy writes U+FFFD for each longest part that could start a character but does not.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out.WriteRune(r)
			b = b[n:]
			continue
		}
		n = 1
		for n < len(b) && !utf8.FullRune(b[:n]) && !utf8.FullRune(b[:n+1]) {
			n++
		}
		out.WriteRune(utf8.RuneError)
		b = b[n:]
	}
	return out.String()
}

// fallbackStage joins <0xHH> tokens to characters; a run that is not UTF-8 becomes one U+FFFD per byte.
type fallbackStage struct{ pending []byte }

func (f *fallbackStage) token(s string, emit func(string)) {
	if b, ok := fallbackByte(s); ok {
		f.pending = append(f.pending, b)
		return
	}
	f.flush(emit)
	emit(s)
}

func (f *fallbackStage) flush(emit func(string)) {
	if len(f.pending) == 0 {
		return
	}
	if utf8.Valid(f.pending) {
		emit(string(f.pending))
	} else {
		for range f.pending {
			emit("\uFFFD")
		}
	}
	f.pending = f.pending[:0]
}

func fallbackByte(s string) (byte, bool) {
	if len(s) != 6 || !strings.HasPrefix(s, "<0x") || s[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(s[3:5], 16, 8)
	return byte(b), err == nil
}

// wordPieceStage puts a space before every piece that starts a word.
type wordPieceStage struct {
	prefix         string
	cleanup, first bool
}

func (w *wordPieceStage) token(s string, emit func(string)) {
	if !w.first {
		if rest, ok := strings.CutPrefix(s, w.prefix); ok {
			s = rest
		} else {
			s = " " + s
		}
	}
	w.first = false
	if w.cleanup {
		s = CleanUp(s)
	}
	emit(s)
}

func (*wordPieceStage) flush(func(string)) {}

// cleanups are applied in this order.
var cleanups = [...][2]string{
	{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
	{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
}

// CleanUp takes out the spaces that word-by-word decoding leaves before English punctuation and contractions. It is
// what clean_up_tokenization_spaces asks for; Decode never does it to a whole text.
func CleanUp(s string) string {
	if strings.IndexByte(s, ' ') < 0 {
		return s
	}
	for _, c := range cleanups {
		s = strings.ReplaceAll(s, c[0], c[1])
	}
	return s
}

// metaspaceStage writes the mark as a space, and drops those of the first token.
type metaspaceStage struct {
	mark             string
	dropFirst, later bool
}

func (m *metaspaceStage) token(s string, emit func(string)) {
	space := " "
	if m.dropFirst && !m.later {
		space = ""
	}
	m.later = true
	if m.mark != "" {
		s = strings.ReplaceAll(s, m.mark, space)
	}
	emit(s)
}

func (*metaspaceStage) flush(func(string)) {}

// suffixStage writes the end-of-word mark as a space, but for the last token, so it is one token behind.
type suffixStage struct {
	suffix, last string
	some         bool
}

func (x *suffixStage) token(s string, emit func(string)) {
	if x.some {
		emit(x.write(" "))
	}
	x.last, x.some = s, true
}

func (x *suffixStage) flush(emit func(string)) {
	if x.some {
		emit(x.write(""))
		x.some = false
	}
}

func (x *suffixStage) write(space string) string {
	if x.suffix == "" {
		return x.last
	}
	return strings.ReplaceAll(x.last, x.suffix, space)
}

// stripStage drops up to start and stop times its character at the ends of each token.
type stripStage struct {
	content     string
	start, stop int
}

func (x stripStage) token(s string, emit func(string)) {
	for i := 0; i < x.start && strings.HasPrefix(s, x.content); i++ {
		s = s[len(x.content):]
	}
	for i := 0; i < x.stop && strings.HasSuffix(s, x.content); i++ {
		s = s[:len(s)-len(x.content)]
	}
	emit(s)
}

func (stripStage) flush(func(string)) {}

// stripEnds does the same to a text that comes in parts: it holds back what may have to go at the end.
type stripEnds struct {
	content     string
	start, stop int
	dropped     int
	begun       bool
	held        int // times content at the end so far, not handed on
}

func (x *stripEnds) token(s string, emit func(string)) {
	for !x.begun && x.dropped < x.start && strings.HasPrefix(s, x.content) {
		s = s[len(x.content):]
		x.dropped++
	}
	if s == "" {
		return
	}
	x.begun = true
	if x.stop == 0 {
		emit(s)
		return
	}
	s = strings.Repeat(x.content, x.held) + s
	x.held = 0
	for x.held < x.stop && strings.HasSuffix(s, x.content) {
		s = s[:len(s)-len(x.content)]
		x.held++
	}
	if s != "" {
		emit(s)
	}
}

func (*stripEnds) flush(func(string)) {}

// ctcStage drops repeats and padding.
type ctcStage struct {
	pad, space string
	cleanup    bool
	last       string
	some       bool
}

func (x *ctcStage) token(s string, emit func(string)) {
	if x.some && s == x.last {
		return
	}
	x.last, x.some = s, true
	s = strings.ReplaceAll(s, x.pad, "")
	if x.cleanup {
		s = strings.ReplaceAll(CleanUp(s), x.space, " ")
	}
	if s != "" {
		emit(s)
	}
}

func (*ctcStage) flush(func(string)) {}

// Decoder turns ids into text one by one, for streaming. What it returns is final: it never ends inside a character,
// and all of it together is what Decode gives for all the ids. Not safe for concurrent use.
type Decoder struct {
	tk          *Tokenizer
	stages      []stage
	skipSpecial bool
	spaces      bool // no decoder: tokens are joined by spaces
	some        bool
	out         strings.Builder
}

// NewDecoder starts a text.
func (tk *Tokenizer) NewDecoder(skipSpecial bool) *Decoder {
	return &Decoder{tk: tk, stages: startChain(tk.decoder), skipSpecial: skipSpecial, spaces: tk.decoder == nil}
}

// Next takes an id and returns the text that is certain now, often "".
func (d *Decoder) Next(id int32) string {
	d.put(id)
	return d.take()
}

// Flush returns the rest; the decoder can then start another text.
func (d *Decoder) Flush() string {
	for i, s := range d.stages {
		s.flush(func(s string) { d.feed(i+1, s) })
	}
	s := d.take()
	d.stages, d.some = startChain(d.tk.decoder), false
	return s
}

func (d *Decoder) put(id int32) {
	s, ok := d.tk.Token(id)
	if !ok || d.skipSpecial && d.tk.Special(id) {
		return
	}
	if d.spaces && d.some {
		d.out.WriteByte(' ')
	}
	d.some = true
	d.feed(0, s)
}

func (d *Decoder) feed(i int, s string) {
	if i == len(d.stages) {
		d.out.WriteString(s)
		return
	}
	d.stages[i].token(s, func(s string) { d.feed(i+1, s) })
}

func (d *Decoder) take() string {
	s := d.out.String()
	d.out.Reset()
	return s
}

// Decode is the text of ids. Ids without a token are left out, and special tokens too if skipSpecial is set.
func (tk *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	d := tk.NewDecoder(skipSpecial)
	for _, id := range ids {
		d.put(id)
	}
	for i, s := range d.stages {
		s.flush(func(s string) { d.feed(i+1, s) })
	}
	return d.take()
}
