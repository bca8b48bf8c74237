// Package prefix holds the methods that put something before a text instead of changing a layer: virtual tokens whose input
// embeddings are trained (prompt tuning [lester2021], P-tuning [liu2021]), or whose keys and values in every layer are (prefix
// tuning [li2021]); and LLaMA-Adapter [zhang2023], whose top layers look at trained rows beside their text.
//
//	cfg := prefix.NewTuning()
//	cfg.NumVirtualTokens = 20
//	adapter, err := cfg.Attach(m, rand.New(rand.NewPCG(1, 2)))
//
// Virtual tokens take positions: those of the text begin after them, and it can be that much shorter. No loss counts there.
// Of a model that reads a source, the encoder gets virtual tokens that are input embeddings, and the decoder's attention to its own
// rows those that are keys and values, as in PEFT.
//
// None of these methods can be folded into the base, and all but LLaMA-Adapter change the model from the start.
//
// # Encoders
//
// What is trained may be a small network that makes the virtual tokens. PEFT stores what it makes and throws the network away;
// so does Save. A run's own checkpoints keep the network, so that the run can go on; from the files alone, training goes on
// with the virtual tokens themselves.
//
// References: [li2021] Prefix-Tuning, arXiv 2101.00190; [lester2021] The Power of Scale for Parameter-Efficient Prompt Tuning,
// arXiv 2104.08691; [liu2021] GPT Understands, Too, arXiv 2103.10385; [zhang2023] LLaMA-Adapter, arXiv 2303.16199.
package prefix

import (
	"fmt"
	"iter"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// embeddings is the one tensor of the virtual tokens' file.
const embeddings = "prompt_embeddings"

// encoder makes the virtual tokens.
type encoder interface {
	// encode gives the virtual tokens [n, width] as a value of the graph.
	encode(p *op.Pass) mat.Tensor
	// params yields the trainable parameters by their names.
	params() iter.Seq2[string, *nn.Param]
}

// Adapter is a method of virtual tokens attached to a model.
type Adapter struct {
	model     layer.Prompted
	encoder   encoder
	tokens    int
	keyValues bool // the tokens are keys and values rather than input embeddings
	saved     *peft.Companions
}

// attach makes the model's passes begin with the virtual tokens.
func (a *Adapter) attach() *Adapter {
	a.model.SetPrompter(a)
	return a
}

// Prompts implements layer.Prompter: all segments get the same.
func (a *Adapter) Prompts(p *op.Pass) []layer.Prompt {
	list := make([]layer.Prompt, len(p.Segments))
	e := a.encoder.encode(p)
	if n := op.Of(e).View().Rows; n > a.tokens { // see Virtual.rows
		first := make([]int, a.tokens)
		for i := range first {
			first[i] = i
		}
		e = op.Take(p, e, first)
	}
	for i := range list {
		if a.keyValues {
			list[i].KeyValues = e
		} else {
			list[i].Rows = e
		}
	}
	return list
}

// Leads implements layer.Prompter.
func (a *Adapter) Leads() bool { return !a.keyValues }

// NumVirtualTokens implements layer.Prompter.
func (a *Adapter) NumVirtualTokens() int { return a.tokens }

// Params implements peft.Adapter. PEFT gives the modules that are saved beside virtual tokens a shorter prefix.
func (a *Adapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for name, p := range a.encoder.params() {
			if !yield(name, p) {
				return
			}
		}
		for name, p := range a.saved.Params() {
			if !yield("base_model."+strings.TrimPrefix(name, peft.Prefix), p) {
				return
			}
		}
	}
}

// Detach implements peft.Adapter.
func (a *Adapter) Detach() {
	a.model.SetPrompter(nil)
	a.saved.Detach()
}

// Convert implements peft.Converter: the file holds what the encoder makes.
func (a *Adapter) Convert(c peft.Config) (peft.Config, peft.Adapter) {
	if _, plain := a.encoder.(plain); plain {
		return c, a
	}
	p := op.NewPass(nil, nil, kernel.ModeF32, op.NewArena())
	made := op.Of(a.encoder.encode(p)).View()
	data := append([]float32(nil), made.Data...)
	return c, &Adapter{model: a.model, encoder: plain{op.NewParam(data, made.Rows, made.Cols)}, tokens: a.tokens, keyValues: a.keyValues, saved: a.saved}
}

// plain are virtual tokens that are trained themselves.
type plain struct{ tokens *nn.Param } // [n, width]

func (e plain) encode(p *op.Pass) mat.Tensor { return table{e.tokens}.all(p) }

func (e plain) params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) { yield(embeddings, e.tokens) }
}

// prompted is the model as these methods need it.
func prompted(m layer.Model) (layer.Prompted, error) {
	x, ok := m.(layer.Prompted)
	if !ok {
		return nil, fmt.Errorf("prefix: a model of type %q takes no virtual tokens", m.ModelType())
	}
	if x.Prompter() != nil {
		return nil, fmt.Errorf("prefix: the model has virtual tokens already, want one adapter of this kind at a time")
	}
	return x, nil
}
