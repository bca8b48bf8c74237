package prefix

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// AdaptionPrompt is LLaMA-Adapter [zhang2023]: in the top layers, queries also look at n trained rows E [n, C], by a softmax of
// its own, and what they find is added by a gate that starts at zero:
//
//	attention(x) + gate·softmax(Q·Kᵀ/√D)·V     K = E·W_kᵀ, V = E·W_vᵀ with the layer's own frozen weights
var AdaptionPrompt = peft.Method{Type: "ADAPTION_PROMPT", Name: "adaption_prompt", New: func() peft.Config { return NewAdaption() }}

// Adaption holds the settings of LLaMA-Adapter: adapter_config.json.
type Adaption struct {
	peft.Common
	AdapterLen    Count  // adapter_len: n
	AdapterLayers Count  // adapter_layers: so many of the last layers
	TargetModules string // target_modules: name of the attention; "" = the model type's

	record peft.Record
}

// NewAdaption returns PEFT's defaults.
func NewAdaption() *Adaption { return &Adaption{} }

// attentions are the model types that PEFT knows, with the names of their attentions, and whether what is found passes through the
// attention's output projection: PEFT's GPT-2 adds it behind.
var attentions = []struct {
	modelType, name string
	projected       bool
}{{"llama", "self_attn", true}, {"mistral", "self_attn", true}, {"gpt2", "attn", false}}

func adaptionDefaults() peft.Object {
	return peft.Object{"adapter_layers": nil, "adapter_len": nil, "target_modules": nil}
}

// Settings lists the keys of adapter_config.json that count.
func (c *Adaption) Settings() []peft.Setting {
	return []peft.Setting{
		{Key: "adapter_len", To: &c.AdapterLen, Want: "a whole number"},
		{Key: "adapter_layers", To: &c.AdapterLayers, Want: "a whole number"},
		{Key: "target_modules", To: &c.TargetModules, Want: "the name of the attention"},
		{Key: "base_model_name_or_path", To: &c.BaseModel},
		{Key: "task_type", To: &c.TaskType},
	}
}

// Shared implements peft.Config.
func (c *Adaption) Shared() *peft.Common { return &c.Common }

// Forget makes the settings such as came from no file.
func (c *Adaption) Forget() { c.record.Forget() }

// Parse implements peft.Config.
func (c *Adaption) Parse(b []byte) error {
	return parse(b, &c.Common, &c.record, AdaptionPrompt.Type, adaptionDefaults(), c.Settings())
}

// JSON implements peft.Config.
func (c *Adaption) JSON() ([]byte, error) {
	return c.record.JSON(AdaptionPrompt.Type, adaptionDefaults(), c.Settings())
}

// Validate implements peft.Config.
func (c *Adaption) Validate() error {
	return errors.Join(within("adapter_len", int(c.AdapterLen), 1), within("adapter_layers", int(c.AdapterLayers), 1))
}

// Attach implements peft.Config.
func (c *Adaption) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	list, inside, err := c.places(m)
	if err != nil {
		return nil, err
	}
	a := &Recalling{}
	for _, l := range list {
		if l.Beside != nil {
			return nil, fmt.Errorf("prefix: %s has an adaption prompt already, want one adapter of this kind at a time", parent(l))
		}
		in, _ := l.In[0].Dims()
		a.parts = append(a.parts, &recalling{at: l, projected: inside,
			rows: table{op.NewShapedParam(normal(rng, int(c.AdapterLen)*in), 1, int(c.AdapterLen), in)}, gate: op.NewShapedParam([]float32{0}, 1)})
	}
	for _, x := range a.parts {
		x.at.Beside = x
	}
	return a, nil
}

// places are the attentions to change: the last adapter_layers.
func (c *Adaption) places(m layer.Model) (list []*layer.Attention, projected bool, err error) {
	var known []string
	name := ""
	for _, t := range attentions {
		known = append(known, t.modelType)
		if t.modelType == m.ModelType() {
			name, projected = t.name, t.projected
		}
	}
	x, ok := m.(layer.Prompted)
	if name == "" || !ok {
		return nil, false, fmt.Errorf("prefix: adaption prompts are for models of type %s, got %q", strings.Join(known, ", "), m.ModelType())
	}
	if c.TargetModules == "" {
		c.TargetModules = name
	}
	if c.TargetModules != name {
		return nil, false, fmt.Errorf("prefix: target_modules %q match no module; the attention of %s is called %q", c.TargetModules, m.ModelType(), name)
	}
	list = x.Attentions()
	if int(c.AdapterLayers) > len(list) {
		return nil, false, fmt.Errorf("prefix: adapter_layers is %d, the model has %d layers", c.AdapterLayers, len(list))
	}
	return list[len(list)-int(c.AdapterLayers):], projected, nil
}

// parent is the name of an attention.
func parent(l *layer.Attention) string {
	return l.Output.Name[:strings.LastIndexByte(l.Output.Name, '.')]
}

// Recalling is LLaMA-Adapter attached to a model.
type Recalling struct{ parts []*recalling }

// Params implements peft.Adapter.
func (a *Recalling) Params() iter.Seq2[string, *nn.Param] {
	var list []named
	for _, x := range a.parts {
		at := peft.Prefix + parent(x.at)
		list = append(list, named{at + ".adaption_gate", x.gate}, named{at + ".adaption_prompt", x.rows.w})
	}
	return each(list)
}

// Detach implements peft.Adapter.
func (a *Recalling) Detach() {
	for _, x := range a.parts {
		x.at.Beside = nil
	}
}

// Idle implements peft.Idler.
func (a *Recalling) Idle() string {
	for _, x := range a.parts {
		if op.Data(x.gate)[0] != 0 {
			return ""
		}
	}
	return "every adaption_gate is zero"
}

// Modules lists the names of the attentions.
func (a *Recalling) Modules() (names []string) {
	for _, x := range a.parts {
		names = append(names, parent(x.at))
	}
	return names
}

// recalling is one attention that looks at trained rows.
type recalling struct {
	at        *layer.Attention
	rows      table     // [n, C]
	gate      *nn.Param // [1]
	projected bool      // what is found passes through the output projection
}

// Find implements layer.Beside.
func (x *recalling) Find(p *op.Pass, l *layer.Attention, s layer.Seekers, qkv, y mat.Tensor, out op.Projection) (mat.Tensor, op.Projection) {
	h := l.Heads
	m := &op.Memory{Values: h.KeyValue * h.Dim, Step: h.Dim, Gate: x.gate}
	rows := x.rows.all(s.Pass)
	if len(l.In) == 1 {
		m.KV, m.Keys, m.Values = op.Project(s.Pass, rows, l.In[0]), h.Query*h.Dim, (h.Query+h.KeyValue)*h.Dim
	} else {
		m.KV = op.Project(s.Pass, rows, l.In[1], l.In[2])
	}
	list := make([]*op.Memory, len(p.Segments))
	for i := range list {
		if s.Of == nil || s.Of[i] {
			list[i] = m
		}
	}
	found := op.Recall(p, qkv, h, 1/math.Sqrt(float64(h.Dim)), list)
	if !x.projected {
		if out != nil {
			y = op.Project(p, y, out)
		}
		return op.Add(p, y, found, 1), nil
	}
	if b := l.Output.Base.Bias; b != nil {
		out = &biasTwice{Projection: out, bias: b, memories: list}
	}
	return op.Add(p, y, found, 1), out
}

// biasTwice adds the bias of an output once more in the segments that have a memory: PEFT passes both results through the output
// and adds them, so files are trained with that.
type biasTwice struct {
	op.Projection
	bias     []float32
	memories []*op.Memory
}

// Forward implements op.Projection.
func (l *biasTwice) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	saved := l.Projection.Forward(p, y, x)
	for i, s := range p.Segments {
		for t := s.Start; t < s.End && l.memories[i] != nil; t++ {
			kernel.Add(y.Row(t), l.bias)
		}
	}
	return saved
}
