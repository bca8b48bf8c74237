package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model/layer"
)

// HeadKind says what the scores of a model are about.
type HeadKind uint8

// Kinds of heads.
const (
	NoHead         HeadKind = iota // the bare model
	NextToken                      // each row: the token after it
	MaskedToken                    // each row: the token that it hides
	SequenceLabels                 // each segment: its class, its labels or its values
	TokenLabels                    // each row: its class
	AnswerSpan                     // each row: that the answer starts there, that it ends there
	TargetToken                    // each row of a decoder that looks at a source: the token after it
)

// headKinds are the ends of transformers' class names, which architectures[0] of config.json holds. The first of a kind is
// how it is written.
var headKinds = []struct {
	end  string
	kind HeadKind
}{
	{"ForConditionalGeneration", TargetToken}, {"MTModel", TargetToken},
	{"ForCausalLM", NextToken}, {"LMHeadModel", NextToken}, {"ForMaskedLM", MaskedToken}, {"BertForPreTraining", MaskedToken},
	{"ForSequenceClassification", SequenceLabels}, {"ForTokenClassification", TokenLabels}, {"ForQuestionAnswering", AnswerSpan}, {"Model", NoHead},
}

// String is the end of the class name.
func (k HeadKind) String() string {
	for _, h := range headKinds {
		if h.kind == k {
			return h.end
		}
	}
	return fmt.Sprintf("HeadKind(%d)", uint8(k))
}

// Head describes what turns hidden states into scores. Its names are whole: heads lie outside of the prefix, and a pooler
// that lies within has it.
type Head struct {
	Kind  HeadKind
	Pool  layer.Pool
	Steps []Step
	Out   string // "" = none
	Bias  string // tensor of the output's bias, "" = none
	Tied  bool   // without a tensor of its own the output is the input embedding
}

// Step is a layer of a head: a projection, an activation, perhaps a norm.
type Step struct {
	Dense      string
	NoBias     bool
	Width      int // 0 = as it reads
	Activation string
	Norm       string
}

// heads are the heads that the family has; the first is that of files whose architectures names none of them. A decoder
// has a language model's head and, as all of transformers' do, a classifier on the last token.
func (s *Spec) heads() []Head {
	if s.Heads != nil {
		return s.Heads
	}
	lm := Head{Kind: NextToken, Out: s.Head, Tied: true}
	if s.HeadBias {
		lm.Bias = s.Head + ".bias"
	}
	return []Head{lm, {Kind: SequenceLabels, Pool: layer.LastRow, Out: "score"}}
}

// encoderHeads are those that BERT and its kin have in common: classifiers of tokens and of answers.
func encoderHeads(more ...Head) []Head {
	return append(more, Head{Kind: TokenLabels, Out: "classifier", Bias: "classifier.bias"}, Head{Kind: AnswerSpan, Out: "qa_outputs", Bias: "qa_outputs.bias"})
}

// kind is what architectures[0] says.
func (c *Config) kind(s *Spec) HeadKind {
	if len(c.Architectures) > 0 {
		for _, h := range headKinds {
			if strings.HasSuffix(c.Architectures[0], h.end) && slices.ContainsFunc(s.heads(), func(x Head) bool { return x.Kind == h.kind }) {
				return h.kind
			}
		}
	}
	return s.heads()[0].Kind
}

// HeadKind is the head that the model has by its config.json: what architectures[0] names, or else the family's first.
func (c *Config) HeadKind() HeadKind {
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return NoHead
	}
	s := arch.Spec(c)
	return c.kind(&s)
}

// HasLabels says that a head's scores are of labels that the data name.
func (k HeadKind) HasLabels() bool { return k == SequenceLabels || k == TokenLabels }

// ParseHeadKind is the kind of a class name such as BertForTokenClassification; false of a class that is none of a head.
func ParseHeadKind(class string) (HeadKind, bool) {
	for _, h := range headKinds {
		if strings.HasSuffix(class, h.end) && h.kind != NoHead {
			return h.kind, true
		}
	}
	return NoHead, false
}

// CheckHead reports a head that the family does not have.
func (c *Config) CheckHead(kind HeadKind) error {
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	s := arch.Spec(c)
	return s.checkHead(c.ModelType, kind)
}

func (s *Spec) checkHead(modelType string, kind HeadKind) error {
	var has []string
	for _, h := range s.heads() {
		if h.Kind == kind {
			return nil
		}
		has = append(has, h.Kind.String())
	}
	return fmt.Errorf("model: %s has no head %s, want one of %s", modelType, kind, strings.Join(has, ", "))
}

// Output is the name of the output projection of a kind of head; "" if the family has no such head.
func (c *Config) Output(kind HeadKind) string {
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return ""
	}
	s := arch.Spec(c)
	for _, h := range s.heads() {
		if h.Kind == kind {
			return h.Out
		}
	}
	return ""
}

// Classes is the number of labels of a classifier: as many as id2label names, or num_labels, or transformers' default.
func (c *Config) Classes() int {
	switch {
	case c.ID2Label != nil:
		return len(c.ID2Label)
	case c.NumLabels != nil:
		return *c.NumLabels
	}
	return 2
}

// ClassNames are the names of the classes by number, as id2label gives them; nil where it does not number them from 0 on.
func (c *Config) ClassNames() []string {
	names := make([]string, len(c.ID2Label))
	for i := range names {
		name, ok := c.ID2Label[strconv.Itoa(i)]
		if !ok {
			return nil
		}
		names[i] = name
	}
	return names
}

// FullName is the name that a tensor of the checkpoint has beside a head: with the prefix that a bare model's lack.
func (m *Model) FullName(stored string) string {
	if m.Prefix == "" {
		return stored
	}
	arch, err := Lookup(m.Config.ModelType)
	if err != nil {
		return stored
	}
	s := arch.Spec(m.Config)
	for _, h := range s.heads() {
		for _, name := range h.names() {
			if !strings.HasPrefix(name, m.Prefix) && (stored == name || strings.HasPrefix(stored, name+".")) {
				return stored
			}
		}
	}
	return m.Prefix + stored
}

// DefaultLabels are transformers' names for n labels without names.
func DefaultLabels(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "LABEL_" + strconv.Itoa(i)
	}
	return names
}

// Want is a head that a task asks of a model.
type Want struct {
	Kind        HeadKind
	Labels      []string // names of the classes by number; nil = those of config.json
	ProblemType string   // single_label_classification, multi_label_classification or regression; "" = that of config.json
	// RNG draws the head's tensors that the checkpoint lacks: weights N(0, initializer_range), biases 0. Without it they are
	// missing, and that is an error.
	RNG *rand.Rand
}

// LoadFor is Load with the head that a task needs rather than that of config.json. Where the number of labels is another than
// the checkpoint's, the output projection is drawn anew.
func LoadFor(src Source, w Want) (*Model, error) {
	c, err := readConfig(src)
	if err != nil {
		return nil, err
	}
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return nil, err
	}
	s := arch.Spec(c)
	before := c.Classes()
	if err := c.want(&s, w); err != nil {
		return nil, err
	}
	src, err = rename(src)
	if err != nil {
		return nil, err
	}
	return assemble(c, &builder{src: src, used: map[string]bool{}, rng: w.RNG, std: c.InitializerRange, anew: c.Classes() != before})
}

// NewFor is New with the head that a task needs rather than that of the config, which it changes; rng draws all weights.
func NewFor(c *Config, w Want, rng *rand.Rand) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	s := arch.Spec(c)
	if err := c.want(&s, w); err != nil {
		return nil, err
	}
	return New(c, rng)
}

// want writes what is asked for into the config.
func (c *Config) want(s *Spec, w Want) error {
	if err := s.checkHead(c.ModelType, w.Kind); err != nil {
		return err
	}
	class := ""
	if len(c.Architectures) > 0 {
		for _, h := range headKinds {
			if front, ok := strings.CutSuffix(c.Architectures[0], h.end); ok && class == "" {
				class = front
			}
		}
	}
	if len(c.Architectures) == 0 || c.kind(s) != w.Kind { // else the class may have another name for its head: MarianMTModel, GPT2LMHeadModel
		c.Architectures = []string{class + w.Kind.String()}
	}
	if w.Labels != nil {
		c.ID2Label = map[string]string{}
		for i, name := range w.Labels {
			c.ID2Label[strconv.Itoa(i)] = name
		}
	}
	if w.ProblemType != "" {
		c.ProblemType = w.ProblemType
	}
	return nil
}

// HeadFields are what config.json must say for the model to be loaded with its head: the fields that LoadFor may have changed.
func (c *Config) HeadFields() map[string]any {
	f := map[string]any{"architectures": c.Architectures}
	if c.ID2Label != nil {
		numbers := map[string]int{}
		for i, name := range c.ClassNames() {
			numbers[name] = i
		}
		f["id2label"], f["label2id"] = c.ID2Label, numbers
	}
	if c.ProblemType != "" {
		f["problem_type"] = c.ProblemType
	}
	return f
}

// ClassName is the class of transformers that config.json names; "" if it names none.
func (m *Model) ClassName() string {
	if len(m.Config.Architectures) == 0 {
		return ""
	}
	return m.Config.Architectures[0]
}

// HeadName implements layer.Headed.
func (m *Model) HeadName() string { return m.Kind.String() }

// HeadTop implements layer.Headed.
func (m *Model) HeadTop() layer.Top { return m.Top }

// SetHeadTop implements layer.Headed.
func (m *Model) SetHeadTop(t layer.Top) { m.Top, m.output = t, t.Out }

// top builds the head.
func (b *builder) top(tokens *layer.Slot) layer.Top {
	kind := b.c.kind(b.s)
	var h Head
	for _, x := range b.s.heads() {
		if x.Kind == kind {
			h = x
		} else {
			b.others = append(b.others, x.names()...)
		}
	}
	b.head = true
	defer func() { b.head = false }()
	top := layer.Top{Pool: h.Pool}
	width := b.embedDim()
	if b.s.Widen != "" {
		width = b.c.HiddenSize
	}
	for _, s := range b.steps(h) {
		in := width
		if s.Width != 0 {
			width = s.Width
		}
		act, _ := activation(s.Activation)
		top.Steps = append(top.Steps, layer.Step{Dense: b.projection(s.Dense, layer.Linear, in, width, !s.NoBias), Activation: act, Norm: b.whole(s.Norm, width)})
	}
	if h.Out != "" {
		top.Out = b.output(h, tokens, width)
	}
	return top
}

// steps are the head's; a bare model may come without its pooler.
func (b *builder) steps(h Head) []Step {
	if h.Kind == NoHead && b.src != nil && len(h.Steps) > 0 && !slices.Contains(b.src.Names(), b.stored(h.Steps[0].Dense)+".weight") {
		return nil
	}
	return h.Steps
}

// names are the starts of the names of a head's tensors.
func (h *Head) names() (list []string) {
	for _, s := range h.Steps {
		list = append(list, s.Dense)
		if s.Norm != "" {
			list = append(list, s.Norm)
		}
	}
	if h.Bias != "" {
		list = append(list, h.Bias)
	}
	if h.Out != "" {
		list = append(list, h.Out)
	}
	return list
}

// output is the last projection of a head. A stored one counts more than tie_word_embeddings; without one the input embedding
// serves.
func (b *builder) output(h Head, tokens *layer.Slot, width int) *layer.Slot {
	rows := b.outputs(h.Kind)
	stored := b.src != nil && slices.Contains(b.src.Names(), h.Out+".weight")
	tied := h.Tied && b.c.TieWordEmbeddings && !stored
	slot := &layer.Slot{Name: h.Out, Kind: layer.Head, Tied: tied}
	b.redraw = b.anew && (h.Kind == SequenceLabels || h.Kind == TokenLabels)
	if tied {
		slot.Base = tokens.Base
		if h.Bias != "" {
			slot.Base = &layer.Frozen{W: tokens.Base.W}
		}
	} else {
		slot.Base = &layer.Frozen{W: b.matrix(h.Out+".weight", rows, width)}
		slot.Stored = b.stored(h.Out)
	}
	if h.Bias != "" {
		slot.Base.Bias = b.numbers(h.Bias, rows, 0)
		if own := h.Out + ".bias"; own != h.Bias {
			slot.Bias = h.Bias
			b.use(own) // files have it under both names
		}
	}
	b.redraw = false
	slot.Projection = slot.Base
	return slot
}

// outputs is how many scores a kind of head gives.
func (b *builder) outputs(kind HeadKind) int {
	switch kind {
	case SequenceLabels, TokenLabels:
		return b.c.Classes()
	case AnswerSpan:
		return 2
	}
	return b.c.VocabSize
}

// drawn is a weight of a head that the checkpoint lacks.
func (b *builder) drawn(name string) bool {
	if b.src == nil {
		return true
	}
	if !b.head || b.rng == nil {
		return false
	}
	_, found := slices.BinarySearch(b.src.Names(), b.stored(name))
	if found && !b.redraw {
		return false
	}
	b.use(name)
	b.fresh = append(b.fresh, name)
	return true
}

// use notes that a tensor has a reader.
func (b *builder) use(name string) { b.used[b.stored(name)] = true }

// random is a matrix N(0, std).
func (b *builder) random(rows, cols int) *kernel.Frozen {
	w := make([]float32, rows*cols)
	for i := range w {
		w[i] = float32(b.rng.NormFloat64() * b.std)
	}
	return kernel.FrozenF32(w, rows, cols)
}
