package prefix

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// PTuning makes the input embeddings of virtual tokens from others e [n, C] by a network [liu2021]:
//
//	MLP    E = W₃·relu(W₂·relu(W₁·e + b₁) + b₂) + b₃
//	LSTM   E = W₂·relu(W₁·lstm(e) + b₁) + b₂, in both directions, encoder_num_layers deep
var PTuning = peft.Method{Type: "P_TUNING", Name: "p_tuning", New: func() peft.Config { return NewPTuning() }}

// Encoded holds the settings of P-tuning: adapter_config.json.
type Encoded struct {
	Virtual
	Encoder           string  // encoder_reparameterization_type: "MLP" or "LSTM"
	EncoderHiddenSize Count   // encoder_hidden_size
	EncoderNumLayers  int     // encoder_num_layers, of the LSTM
	EncoderDropout    float64 // encoder_dropout, between layers of the LSTM
}

// NewPTuning returns PEFT's defaults.
func NewPTuning() *Encoded { return &Encoded{Encoder: "MLP", EncoderNumLayers: 2} }

func encodedDefaults() peft.Object {
	return withVirtual(peft.Object{"encoder_dropout": 0.0, "encoder_hidden_size": nil, "encoder_num_layers": 2, "encoder_reparameterization_type": "MLP"})
}

// Settings lists the keys of adapter_config.json that count.
func (c *Encoded) Settings() []peft.Setting {
	return c.Virtual.with(
		peft.Setting{Key: "encoder_reparameterization_type", To: &c.Encoder},
		peft.Setting{Key: "encoder_hidden_size", To: &c.EncoderHiddenSize, Want: "a whole number"},
		peft.Setting{Key: "encoder_num_layers", To: &c.EncoderNumLayers},
		peft.Setting{Key: "encoder_dropout", To: &c.EncoderDropout})
}

// Parse implements peft.Config.
func (c *Encoded) Parse(b []byte) error {
	return c.parse(b, PTuning.Type, encodedDefaults(), c.Settings())
}

// JSON implements peft.Config.
func (c *Encoded) JSON() ([]byte, error) {
	return c.record.JSON(PTuning.Type, encodedDefaults(), c.Settings())
}

// Validate implements peft.Config.
func (c *Encoded) Validate() error {
	errs := []error{rate("encoder_dropout", c.EncoderDropout), within("encoder_hidden_size", int(c.EncoderHiddenSize), 0)}
	if c.Encoder != "MLP" && c.Encoder != "LSTM" {
		errs = append(errs, fmt.Errorf("prefix: encoder_reparameterization_type is %q, want \"MLP\" or \"LSTM\"", c.Encoder))
	}
	if c.EncoderNumLayers < 1 || c.EncoderNumLayers > 64 {
		errs = append(errs, fmt.Errorf("prefix: encoder_num_layers is %d, want 1 to 64", c.EncoderNumLayers))
	}
	return errors.Join(c.validate(errs...))
}

// Attach implements peft.Config. Settings of a file have the encoder's result in it.
func (c *Encoded) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	x, err := prompted(m)
	if err != nil {
		return nil, err
	}
	s := x.PromptShape()
	if err := c.fit(s, s.EmbedDim, s.Heads); err != nil {
		return nil, err
	}
	if c.EncoderHiddenSize == 0 {
		c.EncoderHiddenSize = c.TokenDim
	}
	saved, err := c.beside(m)
	if err != nil {
		return nil, err
	}
	return (&Adapter{model: x, tokens: int(c.NumVirtualTokens), saved: saved, encoder: c.encoder(rng)}).attach(), nil
}

func (c *Encoded) encoder(rng *rand.Rand) encoder {
	n, dim, h := c.rows(), int(c.TokenDim), int(c.EncoderHiddenSize)
	tokens := op.NewParam(normal(rng, n*dim), n, dim)
	switch {
	case c.FromFile:
		return plain{tokens}
	case c.Encoder == "MLP":
		return &encoded{embedding: table{tokens}, head: newMLP(rng, op.ReLU, dim, h, h, dim)}
	}
	e := &encoded{embedding: table{tokens}, dropout: c.EncoderDropout}
	for l, in := 0, dim; l < c.EncoderNumLayers; l, in = l+1, 2*h {
		e.lstm = append(e.lstm, [2]op.LSTM{newLSTM(rng, in, h), newLSTM(rng, in, h)})
	}
	e.head = newMLP(rng, op.ReLU, 2*h, 2*h, dim)
	return e
}

func newLSTM(rng *rand.Rand, in, h int) op.LSTM {
	return op.LSTM{In: op.NewParam(uniform(rng, 4*h*in, h), 4*h, in), Hidden: op.NewParam(uniform(rng, 4*h*h, h), 4*h, h),
		InBias: op.NewVectorParam(uniform(rng, 4*h, h)), HiddenBias: op.NewVectorParam(uniform(rng, 4*h, h))}
}

// encoded makes the virtual tokens from embeddings.
type encoded struct {
	embedding table
	lstm      [][2]op.LSTM // by layer, forwards and backwards; none for the MLP
	dropout   float64
	head      mlp
}

// dropoutStream begins the streams of the encoder's dropout, far from those of other methods.
const dropoutStream = 1 << 40

func (e *encoded) encode(p *op.Pass) mat.Tensor {
	x := e.embedding.all(p)
	for l, ways := range e.lstm {
		if l > 0 {
			x = op.Dropout(p, x, e.dropout, dropoutStream+uint64(l))
		}
		x = op.BiLSTM(p, x, ways[0], ways[1])
	}
	return e.head.forward(p, x)
}

// params has torch's names.
func (e *encoded) params() iter.Seq2[string, *nn.Param] {
	list := of("encoder.embedding", e.embedding.Params())
	for l, ways := range e.lstm {
		for i, way := range []string{"", "_reverse"} {
			w := ways[i]
			for _, x := range []named{{"weight_ih", w.In}, {"weight_hh", w.Hidden}, {"bias_ih", w.InBias}, {"bias_hh", w.HiddenBias}} {
				list = append(list, named{fmt.Sprintf("encoder.lstm_head.%s_l%d%s", x.name, l, way), x.p})
			}
		}
	}
	for i, l := range e.head.layers {
		list = append(list, of(fmt.Sprintf("encoder.mlp_head.%d", 2*i), l.Params())...)
	}
	return each(list)
}
