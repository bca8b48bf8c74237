package prefix

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// PrefixTuning trains the keys and values of virtual tokens [li2021]:
//
//	E [n, L·2·K·D]     keys of layer l: columns from 2l·K·D on; values: from (2l+1)·K·D on
//
// They are not turned by rotary positions. With prefix_projection, E = W₂·tanh(W₁·e + b₁) + b₂ is made from embeddings e [n, K·D].
var PrefixTuning = peft.Method{Type: "PREFIX_TUNING", Name: "prefix_tuning", New: func() peft.Config { return NewTuning() }}

// Tuning holds the settings of prefix tuning: adapter_config.json.
type Tuning struct {
	Virtual
	Projection        bool   // prefix_projection
	EncoderHiddenSize Count  // encoder_hidden_size, of the projection
	Init              string // init_weights: "" or "zero", with which the prefix starts as zeros
}

// NewTuning returns PEFT's defaults.
func NewTuning() *Tuning { return &Tuning{} }

func tuningDefaults() peft.Object {
	return withVirtual(peft.Object{"encoder_hidden_size": nil, "init_weights": nil, "prefix_projection": false})
}

// Settings lists the keys of adapter_config.json that count.
func (c *Tuning) Settings() []peft.Setting {
	return c.Virtual.with(
		peft.Setting{Key: "prefix_projection", To: &c.Projection},
		peft.Setting{Key: "encoder_hidden_size", To: &c.EncoderHiddenSize, Want: "a whole number"},
		peft.Setting{Key: "init_weights", To: &c.Init})
}

// Parse implements peft.Config.
func (c *Tuning) Parse(b []byte) error {
	return c.parse(b, PrefixTuning.Type, tuningDefaults(), c.Settings())
}

// JSON implements peft.Config.
func (c *Tuning) JSON() ([]byte, error) {
	return c.record.JSON(PrefixTuning.Type, tuningDefaults(), c.Settings())
}

// Validate implements peft.Config.
func (c *Tuning) Validate() error {
	var err error
	if c.Init != "" && c.Init != "zero" {
		err = fmt.Errorf("prefix: init_weights is %q, want null or \"zero\"", c.Init)
	}
	return c.validate(err, within("encoder_hidden_size", int(c.EncoderHiddenSize), 0))
}

// Attach implements peft.Config. Settings of a file have their prefix in it, without a projection.
func (c *Tuning) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	x, err := prompted(m)
	if err != nil {
		return nil, err
	}
	s := x.PromptShape()
	if len(x.Attentions()) != s.Layers {
		return nil, fmt.Errorf("prefix: the attention of %s takes no keys and values from elsewhere; prompt_tuning and p_tuning work with it", m.ModelType())
	}
	if err := c.fit(s, s.KeyValueHeads*s.HeadDim, s.KeyValueHeads); err != nil {
		return nil, err
	}
	if c.EncoderHiddenSize == 0 {
		c.EncoderHiddenSize = c.TokenDim
	}
	saved, err := c.beside(m)
	if err != nil {
		return nil, err
	}
	a := &Adapter{model: x, tokens: int(c.NumVirtualTokens), keyValues: true, saved: saved, encoder: c.encoder(rng, s.Layers)}
	return a.attach(), nil
}

func (c *Tuning) encoder(rng *rand.Rand, layers int) encoder {
	n, dim := int(c.NumVirtualTokens), int(c.TokenDim)
	wide := layers * 2 * dim
	if c.FromFile || !c.Projection {
		v := normal(rng, n*wide)
		if c.Init == "zero" {
			clear(v)
		}
		return plain{op.NewParam(v, n, wide)}
	}
	e := &projected{table{op.NewParam(normal(rng, n*dim), n, dim)}, newMLP(rng, op.Tanh, dim, int(c.EncoderHiddenSize), wide)}
	if last := e.transform.layers[1]; c.Init == "zero" {
		clear(op.Data(last.w))
		clear(op.Data(last.b))
	}
	return e
}

// projected makes the prefix from embeddings.
type projected struct {
	embedding table
	transform mlp
}

func (e *projected) encode(p *op.Pass) mat.Tensor {
	return e.transform.forward(p, e.embedding.all(p))
}

func (e *projected) params() iter.Seq2[string, *nn.Param] {
	list := of("encoder.embedding", e.embedding.Params())
	for i, l := range e.transform.layers {
		list = append(list, of(fmt.Sprintf("encoder.transform.%d", 2*i), l.Params())...)
	}
	return each(list)
}
