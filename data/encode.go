package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/tokenizer"
)

// Tokenizer is what encoding needs of a tokenizer. Safe for concurrent use.
type Tokenizer interface {
	// Encode gives ids with byte offsets; special puts in what the model expects around a text ({0, 0} in the offsets).
	Encode(text string, special bool) tokenizer.Encoding
	BOS() (int32, bool)
	EOS() (int32, bool)
}

// Chat renders conversations the way a model wants them. Safe for concurrent use.
type Chat interface {
	// Render gives the tokens of a conversation and the weight of each as a target: Message.Weight for those that the
	// message's author wrote, the end of the turn included; 0 for the frame around it.
	Render(c *Conversation) (ids []int32, weights []float32, err error)
}

// Settings say what a source means and what becomes of it.
type Settings struct {
	Shape    string            // one of Shapes; "" or "auto" looks at the first row
	Columns  map[string]string // role of the shape → column of the data, where the usual names do not fit
	Roles    map[string]string // role in the data → role for the chat template
	Template string            // of instructions: one of Templates, or "chat"; "" is chat if there is a chat template, else alpaca
	System   string            // the system message of rows without one

	Separator     string // put between prompt and completion
	TrainOnPrompt bool   // prompts, systems, users count as targets, too
	TrainOn       string // of several answers: "all" ("") or "last"
	Boundary      string // how parts become tokens: "joint" or "separate"; "" is what the shape wants. See Encoder
	AddBOS        *bool  // nil: as the tokenizer does
	AddEOS        *bool  // after the last part; nil: yes where the tokenizer has one, and not after a chat

	SequenceLen int    // most tokens of an example; 0 = no limit
	Overlong    string // "drop", "truncate" (at the end), "raise" or "split" (into windows); "" is split for text, else drop
	Concatenate bool   // put texts end to end and cut them into examples of SequenceLen

	// Of encoders' tasks.
	Task        string   // what the rows are for, one of task.Tasks; decides which shapes are tried
	Labels      []string // names of all labels in the order of their numbers; nil collects and sorts those of the rows
	ProblemType string   // of classification, see SingleLabel …; "" goes by the first row's label
	Stride      int      // tokens of context that windows of a question share
	KeepOrigin  bool     // keep what predictions are read back with, and windows without an answer

	// Of sources and what is told of them. SequenceLen is the most tokens of a source.
	SourcePrefix string // put before every source: T5's "translate English to German: "
	TargetLen    int    // most tokens of a target; 0 = SequenceLen
	DecoderStart *int32 // the token before a target, config.json's decoder_start_token_id

	Predict bool // rows are only read by a model: labels, tags and completions need not be there, and are not used

	// What follows decides nothing about the examples.
	Workers  int            `json:"-"` // that tokenize; 0 = GOMAXPROCS
	Progress func(Progress) `json:"-"` // is told how far Build is; called from one goroutine at a time
}

// Progress is how far Build is.
type Progress struct {
	Rows   int
	Tokens int64
}

// Validate reports every bad field.
func (s *Settings) Validate() error {
	var errs []error
	oneOf := func(key, got string, want ...string) {
		if got != "" && !slices.Contains(want, got) {
			errs = append(errs, fmt.Errorf("data: %s is %q, want one of %s", key, got, strings.Join(want, ", ")))
		}
	}
	oneOf("shape", s.Shape, append([]string{"auto"}, ShapeNames()...)...)
	oneOf("template", s.Template, TemplateNames()...)
	oneOf("overlong", s.Overlong, "drop", "truncate", "raise", "split")
	oneOf("boundary", s.Boundary, "joint", "separate")
	oneOf("train_on", s.TrainOn, "all", "last")
	oneOf("problem_type", s.ProblemType, problemTypes...)
	if s.Stride < 0 {
		errs = append(errs, fmt.Errorf("data: stride is %d, want at least 0", s.Stride))
	}
	for i, l := range s.Labels {
		if l == "" || slices.Contains(s.Labels[:i], l) {
			errs = append(errs, fmt.Errorf("data: labels[%d] is %q, want another name than those before it", i, l))
		}
	}
	if s.SequenceLen < 0 || s.SequenceLen == 1 {
		errs = append(errs, fmt.Errorf("data: sequence_len is %d, want 0 (no limit) or at least 2", s.SequenceLen))
	}
	if s.TargetLen < 0 || s.TargetLen == 1 {
		errs = append(errs, fmt.Errorf("data: target_len is %d, want 0 (sequence_len) or at least 2", s.TargetLen))
	}
	if s.Workers < 0 {
		errs = append(errs, fmt.Errorf("data: workers is %d, want at least 0", s.Workers))
	}
	if s.Concatenate && s.SequenceLen == 0 {
		errs = append(errs, errors.New("data: concatenate needs a sequence_len to cut at"))
	}
	return errors.Join(errs...)
}

// Encoder turns rows of one shape into examples. Safe for concurrent use.
//
// Parts become tokens in one of two ways. "joint": the parts are put end to end and tokenized as one text; a token that
// reaches into a target belongs to it, with the bytes before that it may cover. "separate": each part is tokenized by
// itself, as it happens at generation, where the prompt ends before the answer begins; a tokenizer that marks the
// beginning of a text (with "▁") then marks the beginning of each part.
type Encoder struct {
	*drafter
	tok            Tokenizer
	chatTemplate   Chat
	prefix, suffix []int32 // what the tokenizer puts around a text, as settings change it
	eos            int32   // put at the end of a text; -1 = nothing
	joint, split   bool
	overlong       string
	notes          []string

	// Of shapes for encoders.
	pairs   PairTokenizer
	problem string // of classification
	after   int    // special tokens at the end of a text
}

// NewEncoder makes an encoder for a source whose first row is first. chat may be nil.
func NewEncoder(tok Tokenizer, chat Chat, s Settings, first *Row) (*Encoder, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Predict && s.Boundary == "" {
		s.Boundary = "separate" // a prompt ends before anybody knows what follows
	}
	d, err := newDrafter(&s, first, chat != nil)
	if err != nil {
		return nil, err
	}
	e := &Encoder{drafter: d, tok: tok, chatTemplate: chat, overlong: s.Overlong, eos: -1}
	if chat == nil && e.renders() {
		return nil, fmt.Errorf("data: %s: shape is %q, but the model has no chat template", first, d.shape.Name)
	}
	if s.Concatenate && !d.shape.concat {
		return nil, fmt.Errorf("data: %s: concatenate is for shapes \"text\" and \"masked_text\", got %q", first, d.shape.Name)
	}
	if e.overlong == "" {
		switch e.overlong = "drop"; {
		case d.shape.split:
			e.overlong = "split"
		case d.shape.encode != nil:
			e.overlong = "truncate"
		}
	}
	if e.overlong == "split" && !d.shape.split {
		return nil, fmt.Errorf("data: overlong is \"split\", which is for shapes \"text\", \"masked_text\" and \"qa\", got %q", d.shape.Name)
	}
	e.joint = s.Boundary == "joint" || s.Boundary == "" && !d.shape.separate
	e.unread()
	if d.shape.encode != nil {
		e.after = e.specialsAtEnd()
		return e, e.prepareSequence(first)
	}
	return e, e.ends()
}

// specialsAtEnd counts the tokens that the tokenizer puts behind a text.
func (e *Encoder) specialsAtEnd() int {
	probe := e.tok.Encode("a", true)
	n := len(probe.IDs)
	for n > 0 && probe.Offsets[n-1] == [2]int{} {
		n--
	}
	return len(probe.IDs) - n
}

// unread notes settings that the shape has no use for. They are no errors, since several sources may share settings.
func (e *Encoder) unread() {
	s, shape := e.settings, e.shape.Name
	chat := shape == "chat" || shape == "tools"
	for _, x := range []struct {
		key       string
		set, used bool
	}{
		{"separator", s.Separator != "", shape == "prompt_completion"},
		{"template", s.Template != "", shape == "instruction"},
		{"system", s.System != "", chat || shape == "instruction" || shape == "prompt_completion"},
		{"roles", len(s.Roles) > 0, chat},
		{"train_on", s.TrainOn != "", chat || shape == "instruction"},
		{"train_on_prompt", s.TrainOnPrompt, shape != "text" && e.shape.encode == nil},
		{"boundary", s.Boundary != "", !e.renders() && shape != "text" && e.shape.encode == nil},
		{"labels", len(s.Labels) > 0, shape == classification.Name || shape == tokens.Name},
		{"problem_type", s.ProblemType != "", shape == classification.Name},
		{"stride", s.Stride > 0, shape == qa.Name || shape == maskedText.Name},
		{"source_prefix", s.SourcePrefix != "", shape == seq2seq.Name},
		{"target_len", s.TargetLen > 0, shape == seq2seq.Name},
	} {
		if x.set && !x.used {
			e.notes = append(e.notes, fmt.Sprintf("%s is set, but rows of shape %s do not use it", x.key, shape))
		}
	}
}

// ends finds what stands before and after each text.
func (e *Encoder) ends() error {
	// The special tokens around a text do not depend on it.
	probe := e.tok.Encode("a", true)
	for i := 0; i < len(probe.IDs) && probe.Offsets[i] == [2]int{}; i++ {
		e.prefix = append(e.prefix, probe.IDs[i])
	}
	for i := len(probe.IDs) - 1; i >= len(e.prefix) && probe.Offsets[i] == [2]int{}; i-- {
		e.suffix = append([]int32{probe.IDs[i]}, e.suffix...)
	}
	if want := e.settings.AddBOS; want != nil {
		bos, ok := e.tok.BOS()
		if *want && !ok {
			return errors.New("data: add_bos is true, but the tokenizer has no bos_token")
		}
		e.prefix = slices.DeleteFunc(e.prefix, func(id int32) bool { return ok && id == bos })
		if *want {
			e.prefix = append([]int32{bos}, e.prefix...)
		}
	}
	eos, ok := e.tok.EOS()
	want := e.settings.AddEOS
	switch {
	case want == nil && ok, want != nil && *want && ok:
		e.eos = eos
	case want == nil && e.renders():
		// The template says how a turn ends.
	case want == nil:
		e.notes = append(e.notes, "the tokenizer has no eos_token: examples end without one, so the model does not learn to stop")
	case *want:
		return errors.New("data: add_eos is true, but the tokenizer has no eos_token")
	}
	e.suffix = slices.DeleteFunc(e.suffix, func(id int32) bool { return ok && id == eos })
	if n := len(e.prefix); e.settings.SequenceLen > 0 && n >= e.settings.SequenceLen {
		return fmt.Errorf("data: sequence_len is %d, want more than the %d special tokens before a text", e.settings.SequenceLen, n)
	}
	return nil
}

// renders says whether rows go through the chat template.
func (e *Encoder) renders() bool {
	return e.shape.Name == "chat" || e.shape.Name == "tools" || e.shape.Name == "instruction" && e.template.Name == "chat"
}

// Shape is the shape in use.
func (e *Encoder) Shape() *Shape { return e.shape }

// Encoded is what became of a row.
type Encoded struct {
	Examples  []Example // none if the row was dropped
	Dropped   string    // why
	Truncated bool

	names []string // that Tags and Labels of the examples number; Build gives them the numbers of the whole source
}

// Encode turns a row into examples: one, unless a text is cut into windows. With Settings.Concatenate it is the whole
// text, which Build cuts.
func (e *Encoder) Encode(row *Row) (Encoded, error) {
	if len(row.Fields) == 0 {
		return Encoded{Dropped: "empty row"}, nil
	}
	if e.shape.encode != nil {
		return e.shape.encode(e, row)
	}
	d, err := e.draft(row)
	if err != nil || d.dropped != "" {
		return Encoded{Dropped: d.dropped}, err
	}
	x := Example{Place: row.Place}
	var weights []float32
	if d.chat != nil {
		x.IDs, weights, err = e.conversation(row, d.chat)
	} else {
		x.IDs, weights = e.parts(d.parts)
	}
	if err != nil {
		return Encoded{}, err
	}
	x.Loss = spans(weights)
	if x.Targets() == 0 {
		return Encoded{Dropped: "no target"}, nil
	}
	return e.fit(x)
}

func (e *Encoder) draft(row *Row) (draft, error) { return e.shape.draft(e.drafter, row) }

// conversation has the chat template render it.
func (e *Encoder) conversation(row *Row, c *Conversation) ([]int32, []float32, error) {
	ids, weights, err := e.chatTemplate.Render(c)
	if err != nil {
		return nil, nil, row.Errorf("%w", err)
	}
	if len(weights) != len(ids) {
		return nil, nil, row.Errorf("chat template gives %d tokens with %d weights", len(ids), len(weights))
	}
	if want := e.settings.AddEOS; want != nil && *want && (len(ids) == 0 || ids[len(ids)-1] != e.eos) {
		ids, weights = append(ids, e.eos), append(weights, c.Messages[len(c.Messages)-1].Weight)
	}
	if e.settings.TrainOnPrompt {
		for i := range weights {
			if weights[i] == 0 {
				weights[i] = 1
			}
		}
	}
	return ids, weights, nil
}

// parts tokenizes parts of text, and puts the special tokens around them.
func (e *Encoder) parts(parts []Part) (ids []int32, weights []float32) {
	ids = append(ids, e.prefix...)
	for range e.prefix {
		weights = append(weights, parts[0].Weight)
	}
	if e.joint && len(parts) > 1 {
		ids, weights = e.together(parts, ids, weights)
	} else {
		for _, p := range parts {
			if p.Text == "" {
				continue // some tokenizers make a token of nothing
			}
			got := e.tok.Encode(p.Text, false).IDs
			ids = append(ids, got...)
			for range got {
				weights = append(weights, p.Weight)
			}
		}
	}
	last := parts[len(parts)-1].Weight
	ids = append(ids, e.suffix...)
	for range e.suffix {
		weights = append(weights, 0)
	}
	if n := len(ids); e.eos >= 0 && (n == 0 || ids[n-1] != e.eos) {
		ids, weights = append(ids, e.eos), append(weights, last)
	}
	return ids, weights
}

// together tokenizes the parts as one text.
func (e *Encoder) together(parts []Part, ids []int32, weights []float32) ([]int32, []float32) {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	enc := e.tok.Encode(b.String(), false)
	ids = append(ids, enc.IDs...)
	for _, o := range enc.Offsets {
		weights = append(weights, weightAt(parts, o[0], o[1]))
	}
	return ids, weights
}

// weightAt is the weight of a token that covers the bytes from start to end: the largest of the parts it overlaps. A
// token that covers nothing, its space having been trimmed off, belongs to where it ends.
func weightAt(parts []Part, start, end int) float32 {
	if start == end {
		start = max(end-1, 0)
		end = start + 1
	}
	w, at := float32(0), 0
	for _, p := range parts {
		next := at + len(p.Text)
		if start < next && end > at {
			w = max(w, p.Weight)
		}
		at = next
	}
	return w
}

// fit does what settings say about examples that are too long.
func (e *Encoder) fit(x Example) (Encoded, error) {
	most := e.settings.SequenceLen
	if most == 0 || len(x.IDs) <= most || e.settings.Concatenate {
		return Encoded{Examples: []Example{x}}, nil
	}
	switch e.overlong {
	case "raise":
		return Encoded{}, x.Errorf("%d tokens, want at most sequence_len %d", len(x.IDs), most)
	case "drop":
		return Encoded{Dropped: "longer than sequence_len"}, nil
	case "truncate":
		if x = x.slice(nil, 0, most); x.Targets() == 0 {
			return Encoded{Dropped: "no target within sequence_len"}, nil
		}
		return Encoded{Examples: []Example{x}, Truncated: true}, nil
	}
	var out []Example
	n := len(e.prefix)
	for from := n; from < len(x.IDs); from += most - n {
		w := x.slice(e.prefix, from, min(from+most-n, len(x.IDs)))
		if n > 0 {
			w.Loss = joinSpans(append([]Span{{0, int32(n), 1}}, w.Loss...))
		}
		if w.Targets() > 0 {
			out = append(out, w)
		}
	}
	return Encoded{Examples: out}, nil
}

// joinSpans joins spans that touch.
func joinSpans(s []Span) []Span {
	out := s[:0]
	for _, x := range s {
		if n := len(out); n > 0 && out[n-1].End == x.Start && out[n-1].Weight == x.Weight {
			out[n-1].End = x.End
			continue
		}
		out = append(out, x)
	}
	return out
}
