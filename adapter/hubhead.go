package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// head is a head of the library: head_config.json. Each of its layers but the last is followed by the activation; modules are
// numbered with their dropouts and activations, "heads.<name>.<number>.weight".
type head struct {
	file peft.Object // all that head_config.json said
	name string

	kind       string // head_type
	layers     int
	activation string // activation_function, "" = none
	bias       bool
	labels     int // num_labels
	pooler     bool
}

// headKinds are the heads that graft has, by head_type, with the end of the class of transformers that has the same scores.
var headKinds = []struct{ kind, end string }{
	{"classification", "ForSequenceClassification"}, {"multilabel_classification", "ForSequenceClassification"}, {"tagging", "ForTokenClassification"},
	{"question_answering", "ForQuestionAnswering"},
}

// parseHead decodes head_config.json. A file of one of transformers' own heads has no settings: h is nil then.
func parseHead(b []byte) (h *head, err error) {
	o, err := peft.ParseObject(b)
	if err != nil {
		return nil, fmt.Errorf("adapter: head_config.json: %w", err)
	}
	if o["config"] == nil {
		return nil, nil
	}
	var f struct {
		Name   string `json:"name"`
		Config struct {
			Kind       string  `json:"head_type"`
			Layers     int     `json:"layers"`
			Activation *string `json:"activation_function"`
			Bias       *bool   `json:"bias"`
			Labels     int     `json:"num_labels"`
			Pooler     bool    `json:"use_pooler"`
		} `json:"config"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("adapter: head_config.json: %w", err)
	}
	c := f.Config
	h = &head{file: o, name: f.Name, kind: c.Kind, layers: c.Layers, bias: c.Bias == nil || *c.Bias, labels: c.Labels, pooler: c.Pooler}
	if c.Activation != nil {
		h.activation = *c.Activation
	}
	return h, h.check()
}

// maxLabels keeps hostile settings from exhausting memory.
const maxLabels = 1 << 20

func (h *head) check() error {
	errs := []error{}
	if h.layers < 1 || h.layers > 64 {
		errs = append(errs, fmt.Errorf("adapter: head_config.json: layers is %d, want 1 to 64", h.layers))
	}
	if h.labels < 1 || h.labels > maxLabels {
		errs = append(errs, fmt.Errorf("adapter: head_config.json: num_labels is %d, want 1 to %d", h.labels, maxLabels))
	}
	if h.activation != "" {
		errs = append(errs, oneOf("activation_function", h.activation, names(activations)...))
	}
	return errors.Join(errs...)
}

// end is the end of the class that has the head's scores, "" if graft has none.
func (h *head) end() string {
	for _, k := range headKinds {
		if k.kind == h.kind {
			return k.end
		}
	}
	return ""
}

// hubHead is a trained head.
type hubHead interface {
	Params() iter.Seq2[string, *nn.Param]
	Detach()
}

// attachHead makes the head of the file, or trains the model's own head as far as the task has one; nil if there is nothing.
func (c *HubConfig) attachHead(m layer.Model, rng *rand.Rand) (hubHead, error) {
	if c.head != nil {
		x, ok := m.(layer.Headed)
		if !ok || x.HeadName() != c.head.end() {
			c.Warnings = append(c.Warnings, fmt.Sprintf("head_config.json: the head %q is left out: the model has another", c.head.kind))
			return nil, nil
		}
		return c.head.attach(x, rng)
	}
	own, err := peft.Beside{Bias: "none", ModulesToSave: c.saved}.Attach(m, nil, &c.Common)
	if err != nil {
		return nil, err
	}
	for range own.Params() {
		return ownHead{own}, nil
	}
	return nil, nil
}

// ownHead is a trained copy of the head of transformers' class.
type ownHead struct{ *peft.Companions }

// Params gives the names without PEFT's prefix.
func (h ownHead) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for name, p := range h.Companions.Params() {
			if !yield(strings.TrimPrefix(name, peft.Prefix), p) {
				return
			}
		}
	}
}

// attachedHead is a head of the library in the place of the model's.
type attachedHead struct {
	m      layer.Headed
	was    layer.Top
	params []hubParam
}

type hubParam struct {
	name string
	p    *nn.Param
}

// attach puts the head into the place of the model's, of whose steps only a pooler stays.
func (h *head) attach(m layer.Headed, rng *rand.Rand) (hubHead, error) {
	a := &attachedHead{m: m, was: m.HeadTop()}
	top := layer.Top{Pool: a.was.Pool}
	if top.Pool == layer.MeanRow {
		top.Pool = layer.FirstRow
	}
	if len(a.was.Steps) > 0 && h.pooler && strings.HasSuffix(a.was.Steps[0].Dense.Name, "pooler.dense") {
		top.Steps = a.was.Steps[:1:1]
	}
	down := projections(m.(layer.Layered).Layers()[0].MLP)
	_, in := down[len(down)-1].Dims()
	number, step := 1, 2 // a dropout comes before each map
	if h.activation != "" {
		step = 3
	}
	for i := range h.layers {
		out := in
		if i == h.layers-1 {
			out = h.labels
		}
		slot := h.slot(a, fmt.Sprintf("heads.%s.%d", h.name, number), in, out, rng)
		if number += step; i == h.layers-1 {
			top.Out = slot
			break
		}
		act := activation{Activation: identity}
		if h.activation != "" {
			act = find(activations, h.activation)
		}
		top.Steps = append(top.Steps, layer.Step{Dense: slot, Activation: act.Activation})
	}
	m.SetHeadTop(top)
	return a, nil
}

// identity is no activation.
var identity = op.Activation{Name: "identity", Forward: func(y, x []float32) { copy(y, x) }, Backward: func(dx, dy, _ []float32) { copy(dx, dy) }}

// slot is a trained map with weights N(0, 0.02²).
func (h *head) slot(a *attachedHead, name string, in, out int, rng *rand.Rand) *layer.Slot {
	w := make([]float32, out*in)
	tuner.Normal(0, 0.02)(w, rng)
	base := &layer.Frozen{W: kernel.FrozenF32(w, out, in)}
	if h.bias {
		base.Bias = make([]float32, out)
	}
	t := layer.NewTrainable(base)
	for n, p := range t.Params() {
		a.params = append(a.params, hubParam{name + "." + n, p})
	}
	return &layer.Slot{Name: name, Kind: layer.Head, Projection: t, Base: base}
}

// Params implements hubHead.
func (a *attachedHead) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, x := range a.params {
			if !yield(x.name, x.p) {
				return
			}
		}
	}
}

// Detach implements hubHead.
func (a *attachedHead) Detach() { a.m.SetHeadTop(a.was) }
