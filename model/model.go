// Package model holds the language models that graft fine-tunes: an architecture is one file that turns config.json into
// the parts of a layer.Block, and one line of the table Architectures.
//
//	c, err := checkpoint.Open("models/llama")
//	if err != nil {
//		return err
//	}
//	m, err := model.Load(c)
//	if err != nil {
//		return err
//	}
//	p := op.NewPass(batch.Segments, batch.Positions, kernel.DefaultMode(), arena)
//	hidden := m.Hidden(p, batch.Tokens) // [T, C], one row per token
//
// Frozen weights are views of the checkpoint, which must stay open as long as the model is used.
package model

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/mat"
)

// Architecture is one family of models.
type Architecture struct {
	ModelType string
	Defaults  func() Config // what transformers assumes where config.json is silent
	Aliases   []Alias       // words that the family's config.json has for Config's
	// Complete sets what follows from other fields; nil = nothing does.
	Complete func(c *Config)
	// Check reports what is wrong with the family's own fields; nil = they need none.
	Check func(c *Config) []error
	Spec  func(c *Config) Spec
}

// Architectures lists what graft can load.
var Architectures = []Architecture{
	llama, mistral, mixtral, qwen2, qwen3, gemma, gemma2, gemma3Text, phi3, gpt2, gptNeo, gptNeoX, gptj, opt, bloom, falcon,
	stablelm, starcoder2, olmo2, smollm3, granite,
	bert, roberta, xlmRoberta, distilBERT, electra, albert, modernBERT, debertaV2,
	t5, mt5, bart, marian,
}

// Lookup finds an architecture by its model_type.
func Lookup(modelType string) (Architecture, error) {
	var names []string
	for _, a := range Architectures {
		if a.ModelType == modelType {
			return a, nil
		}
		names = append(names, a.ModelType)
	}
	return Architecture{}, fmt.Errorf("model_type is %q, want one of %s", modelType, strings.Join(names, ", "))
}

// Model is a decoder or an encoder with its weights, or a decoder with the encoder that it looks at. A pass reads it only, so several
// passes may run at once; attaching a method and passing must not overlap.
type Model struct {
	Config     *Config
	Stack                  // whose rows the head reads
	Encoder    *Stack      // of a model with two stacks, else nil
	ProjectOut *layer.Slot // between norm and head, or nil
	Kind       HeadKind
	Top        layer.Top
	// Fresh names the tensors of the head that the checkpoint lacks and that were drawn at random.
	Fresh []string
	// Prefix is what the names in the checkpoint lack, as those of a bare model do; "" = nothing.
	Prefix string
	origin Source // nil if the weights are random
	hash   identity
	output op.Projection
	// logitsBias is the name of the bias in it.
	logitsBias string
	prompter   layer.Prompter
	viewed     *viewed // nil of a model that is no view
}

// ModelType implements layer.Model.
func (m *Model) ModelType() string { return m.Config.ModelType }

// Head is the slot of the output projection, nil of a bare model.
func (m *Model) Head() *layer.Slot { return m.Top.Out }

// Output turns features into scores: the head, with what the model does to its logits; nil of a bare model.
func (m *Model) Output() op.Projection { return m.output }

// Slots implements layer.Model: the embedding, the blocks' projections, the head. What layers share comes once.
func (m *Model) Slots() iter.Seq[*layer.Slot] {
	return func(yield func(*layer.Slot) bool) {
		var list []*layer.Slot
		for _, s := range m.stacks() {
			list = append(list, s.slots()...)
		}
		if m.ProjectOut != nil {
			list = append(list, m.ProjectOut)
		}
		seen := map[*layer.Slot]bool{}
		for _, s := range append(list, m.Top.Slots()...) {
			if !seen[s] && !yield(s) {
				return
			}
			seen[s] = true
		}
	}
}

// BlockNames are the names of the layers, each once: what the last projections of their two branches have in common.
func (m *Model) BlockNames() (list []string) {
	for _, b := range m.Blocks {
		one, two := b.Attention.Slots(), b.MLP.Slots()
		x, y := strings.Split(one[len(one)-1].Name, "."), strings.Split(two[len(two)-1].Name, ".")
		n := 0
		for n < min(len(x), len(y)) && x[n] == y[n] {
			n++
		}
		if name := strings.Join(x[:n], "."); !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// Fused lists the weights that transformers keeps as one where the slots have parts of them.
func (m *Model) Fused() (list []layer.Fused) {
	for _, b := range m.Blocks {
		if l, ok := b.MLP.(*layer.Mixture); ok {
			list = append(list, l.Fused()...)
		}
	}
	return list
}

// Hidden passes tokens through the model: [T] -> [T, C], after the final norm. Each token must be below the vocabulary's
// size and each position within the model's (CheckTokens, CheckPositions).
//
// Without p.Grad, activations are given back to the arena as soon as they are used, so the arena must hold nothing that
// the caller still needs.
//
// What a method puts before the tokens passes through the blocks with them; its rows are not in the result.
func (m *Model) Hidden(p *op.Pass, tokens []int32) mat.Tensor {
	x, _ := m.hidden(p, tokens, false)
	return x
}

// HiddenLed is Hidden with a further row for each segment that begins with virtual tokens, the last of these, from which the
// segment's first token can be told: [T + len(led), C]. led are the numbers of these segments.
func (m *Model) HiddenLed(p *op.Pass, tokens []int32) (x mat.Tensor, led []int) {
	return m.hidden(p, tokens, true)
}

func (m *Model) hidden(p *op.Pass, tokens []int32, lead bool) (x mat.Tensor, led []int) {
	if err := m.routable(p); err != nil {
		panic(fmt.Sprintf("%v: CheckRoutes reports it", err))
	}
	list := m.prompts(p)
	var words mat.Tensor
	if m.Encoder != nil {
		p, words = m.read(p, tokens, list)
		list = withoutRows(list)
	}
	g := grow(p, list)
	x = g.embed(func(g *op.Pass, rows []mat.Tensor) mat.Tensor {
		if words != nil {
			return m.Stem.ForwardWords(p, g, words, rows)
		}
		return m.Stem.Forward(p, g, tokens, rows)
	})
	read := p.Read
	if g.virtual() || p.Routed() {
		read = nil
	}
	x = m.through(g.Pass, x, read, slices.Concat(g.Prefixes, []mat.Tensor{g.Memory})...)
	if g.virtual() {
		list, begun, last := own(p, g.Pass, m.Kind == SequenceLabels && m.Top.Pool == layer.FirstRow)
		if lead {
			list, led = append(list, last...), begun
		}
		x = op.Take(p, x, list)
	}
	x = m.end(p, x)
	if m.ProjectOut != nil {
		x = op.Project(p, x, m.ProjectOut)
	}
	m.trace(len(m.Blocks), x)
	return x, led
}

// CheckTokens reports a token that the embedding has no row for.
func (m *Model) CheckTokens(tokens []int32) error {
	for i, id := range tokens {
		if id < 0 || int(id) >= m.Config.VocabSize {
			return fmt.Errorf("model: token %d at %d, want 0 to vocab_size %d - 1 (is this the model's own tokenizer?)", id, i, m.Config.VocabSize)
		}
	}
	return nil
}

// CheckGenerates reports a model that continues no texts: it gives no next token, or tells a text from a source.
func (m *Model) CheckGenerates() error {
	if m.Kind != NextToken {
		return fmt.Errorf("model: %s has a head %s, want %s to generate", m.Config.ModelType, m.Kind, NextToken)
	}
	return nil
}

// CheckDecodes reports a model that gives no next token.
func (m *Model) CheckDecodes() error {
	if m.Kind == TargetToken {
		return nil
	}
	return m.CheckGenerates()
}

// CheckTypes reports a token type that the model has no row for. A model without types does not look at them, though its
// tokenizer may tell the texts of a pair apart, as that of DeBERTa does.
func (m *Model) CheckTypes(types []int32) error {
	if m.Stem.Types == nil {
		return nil
	}
	n := m.Config.TypeVocabSize
	for i, id := range types {
		if id < 0 || int(id) >= n {
			return fmt.Errorf("model: token type %d at %d, want 0 to type_vocab_size %d - 1", id, i, n)
		}
	}
	return nil
}

// Features turns hidden states into what Output reads, and gives the pass as the rows of that see it.
//
//	hidden [T, C] -> [T, ·], or [segments, ·] for a head of whole sequences
func (m *Model) Features(p *op.Pass, hidden mat.Tensor) (own *op.Pass, y mat.Tensor) {
	return m.Top.Features(p, hidden)
}

// Scores are what the head says.
//
//	hidden [T, C] -> [T, n], or [segments, n] for a head of whole sequences, in memory of its own
func (m *Model) Scores(p *op.Pass, hidden mat.Tensor) kernel.Mat {
	own, x := m.Features(p, hidden)
	return m.project(nil, own, x)
}

// Logits are the scores of some rows of hidden, for heads that score rows.
//
//	hidden [T, C] -> [len(rows), V], in memory of its own
func (m *Model) Logits(p *op.Pass, hidden mat.Tensor, rows []int) kernel.Mat {
	return m.LogitsIn(nil, p, hidden, rows)
}

// LogitsIn is Logits in memory that is there already, as far as it is enough.
func (m *Model) LogitsIn(memory []float32, p *op.Pass, hidden mat.Tensor, rows []int) kernel.Mat {
	own := p.Pick(rows)
	return m.project(memory, own, m.Top.Transform(own, op.Gather(p, hidden, rows)))
}

func (m *Model) project(memory []float32, p *op.Pass, features mat.Tensor) kernel.Mat {
	x := op.Of(features).View()
	_, n := m.output.Dims()
	if cap(memory) < x.Rows*n {
		memory = make([]float32, x.Rows*n)
	}
	y := kernel.NewMat(memory[:x.Rows*n], x.Rows, n)
	in := op.NewInput(x)
	defer in.Free()
	m.output.Forward(p, y, in)
	return y
}

// NewCache is an empty cache of keys and values for this model.
func (m *Model) NewCache() *op.Cache {
	return op.NewCache(len(m.Blocks), m.Config.NumKeyValueHeads*m.Config.HeadDim)
}

// NewPages is memory for keys and values of this model in pages of so many rows; bytes bounds it, 0 = nothing does.
func (m *Model) NewPages(rows int, bytes int64) *op.Pages {
	return op.NewPages(len(m.Blocks), m.Config.NumKeyValueHeads*m.Config.HeadDim, rows, bytes)
}

// Vectors lists the norms' weights and biases under their names in the checkpoint. What layers share comes once.
func (m *Model) Vectors() []layer.NamedVector {
	var list []layer.NamedVector
	for _, s := range m.stacks() {
		list = append(list, s.vectors()...)
	}
	list = append(list, m.Top.Vectors()...)
	seen := map[*op.Vector]bool{}
	return slices.DeleteFunc(list, func(v layer.NamedVector) bool {
		again := seen[v.Vector]
		seen[v.Vector] = true
		return again
	})
}

// Constant is a stored tensor that counts and is never trained.
type Constant struct {
	Name  string
	Shape []int
	Value []float32
}

// Constants lists what a checkpoint of the model holds beside its Params: BART's final_logits_bias.
func (m *Model) Constants() []Constant {
	if x, ok := m.output.(*op.Score); ok && x.Bias != nil {
		return []Constant{{m.logitsBias, []int{1, len(x.Bias)}, x.Bias}} // as transformers stores it
	}
	return nil
}
