package adapter

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// hubBuilder makes the tensors and places of an adapter before the model changes.
type hubBuilder struct {
	m      layer.Layered
	name   string // of the adapter
	root   string // of the model without its head, as "bert"
	hidden int
	layers []hubLayer
	bank   *tuner.Bank
	common *hubTensors // those that all places read, or nil
	places []hubPlace
	twice  []second
	taken  map[any]bool    // places that have something already
	deltas []*tuner.Placed // those places that can be folded into the base
	next   uint64
}

// hubLayer is a layer with the names that the library has for its places.
type hubLayer struct {
	block             *layer.Block
	index             int
	attention, output string // of the bottlenecks behind the attention and behind the MLP
}

// hubPlace is what was put into the model at one place.
type hubPlace struct {
	attach, detach func()
	idle           func() bool
}

// second is another name of a tensor.
type second struct{ of, name string }

// stream is a number that no other part of the adapter has.
func (b *hubBuilder) stream() uint64 { b.next++; return b.next }

func (b *hubBuilder) place(attach, detach func(), idle func() bool) {
	b.places = append(b.places, hubPlace{attach, detach, idle})
}

// path is the name of something beside the model's layers.
func (b *hubBuilder) path(name string) string {
	if b.root == "" {
		return name
	}
	return b.root + "." + name
}

// newBuilder looks at the model.
func newBuilder(m layer.Model, name string, rng *rand.Rand) (*hubBuilder, error) {
	x, ok := m.(layer.Layered)
	if !ok || len(x.Layers()) == 0 {
		return nil, fmt.Errorf("adapter: a model of type %q shows no layers", m.ModelType())
	}
	b := &hubBuilder{m: x, name: name, bank: tuner.NewBank(m, rng), taken: map[any]bool{}}
	for _, l := range x.Layers() {
		if slices.ContainsFunc(b.layers, func(o hubLayer) bool { return o.block == l }) {
			continue // layers that share everything share the adapter
		}
		name := projections(l.Attention)[0].Name
		at := layerName(name)
		if len(b.layers) == 0 {
			b.root = rootName(name)
			down := projections(l.MLP)
			_, b.hidden = down[len(down)-1].Dims()
		}
		o := hubLayer{block: l, index: len(b.layers), attention: at + ".attention_adapters.adapters", output: at + ".output_adapters.adapters"}
		switch {
		case m.ModelType() == "albert":
			o.attention = at + ".attention.attention_adapters.adapters"
		case slices.ContainsFunc(projections(l.Attention), func(s *layer.Slot) bool { return s.Name == at+".attention.output.dense" }): // BERT and its kin
			o.attention, o.output = at+".attention.output.adapters", at+".output.adapters"
		}
		b.layers = append(b.layers, o)
	}
	return b, nil
}

// projections are the slots of a branch that hold no tables.
func projections(b layer.Branch) []*layer.Slot {
	return slices.DeleteFunc(b.Slots(), func(s *layer.Slot) bool { return s.Kind == layer.Embedding })
}

// take makes sure that a place, known by its address, is free. What says what it has else.
func (b *hubBuilder) take(place any, free bool, what string) error {
	if !free || b.taken[place] {
		return fmt.Errorf("adapter: %s already, want one of a kind at a time", what)
	}
	b.taken[place] = true
	return nil
}

// prompted is the model as what comes before a text needs it.
func (b *hubBuilder) prompted() (layer.Prompted, error) {
	m, ok := b.m.(layer.Prompted)
	if !ok {
		return nil, fmt.Errorf("adapter: a model of type %q takes no virtual tokens", b.m.ModelType())
	}
	return m, b.take("prompter", m.Prompter() == nil, "the model has virtual tokens")
}

// layerName is the name of the layer that a slot of its attention lies in: it ends with the last number.
func layerName(slot string) string {
	parts := strings.Split(slot, ".")
	for n := len(parts); n > 0; n-- {
		if _, err := strconv.Atoi(parts[n-1]); err == nil {
			return strings.Join(parts[:n], ".")
		}
	}
	return slot
}

// rootName is what comes before the list of layers: "bert" of bert.encoder.layer.0, "model" of model.layers.0.
func rootName(slot string) string {
	parts := strings.Split(slot, ".")
	n := slices.IndexFunc(parts, func(p string) bool { _, err := strconv.Atoi(p); return err == nil })
	parts = parts[:max(0, n-1)]
	if n := len(parts); n > 1 && (parts[n-1] == "encoder" || parts[n-1] == "transformer") {
		parts = parts[:n-1]
	}
	return strings.Join(parts, ".")
}

// hubTensors makes the tensors of one place.
type hubTensors struct {
	b      *hubBuilder
	prefix string
	mine   *[]*nn.Param
	shared *hubTensors
}

func (b *hubBuilder) tensors(prefix string) *hubTensors {
	return &hubTensors{b: b, prefix: prefix, mine: &[]*nn.Param{}}
}

// below makes tensors of the same place under a longer name.
func (t *hubTensors) below(name string) *hubTensors {
	return &hubTensors{b: t.b, prefix: t.prefix + name + ".", mine: t.mine}
}

// reads notes that the place reads the tensors of another, too.
func (t *hubTensors) reads(o *hubTensors) { t.shared = o }

// all are the parameters that the place reads.
func (t *hubTensors) all() []*nn.Param {
	if t.shared != nil {
		return append(slices.Clone(*t.mine), *t.shared.mine...)
	}
	return *t.mine
}

func (t *hubTensors) param(name string, draw tuner.Draw, shape ...int) *nn.Param {
	p := t.b.bank.Param(t.prefix+name, draw, shape...)
	*t.mine = append(*t.mine, p)
	return p
}

func (t *hubTensors) buffer(name string, draw tuner.Draw, shape ...int) *peft.Buffer {
	return t.b.bank.Buffer(t.prefix+name, draw, shape...)
}

// linear is a map from in to out columns.
func (t *hubTensors) linear(name string, out, in int, draw tuner.Draw) dense {
	w, b := t.param(name+".weight", draw, out, in), t.param(name+".bias", tuner.Zeros, out)
	return func(t *tape.Tape, x *tape.Node) *tape.Node { return t.AddRow(t.MatMulT(x, t.Param(w)), 1, t.Param(b)) }
}

// norm is a LayerNorm.
func (t *hubTensors) norm(name string, n int) *op.Norm {
	w, b := t.param(name+".weight", tuner.Fill(1), n), t.param(name+".bias", tuner.Zeros, n)
	return &op.Norm{Kind: op.Center, Weight: &op.Vector{Value: op.Data(w), Param: w}, Bias: &op.Vector{Value: op.Data(b), Param: b}, Eps: 1e-5}
}

// second notes another name of a linear map or a norm.
func (t *hubTensors) second(of, name string) {
	for _, end := range []string{".weight", ".bias"} {
		t.b.twice = append(t.b.twice, second{t.prefix + of + end, t.prefix + name + end})
	}
}

// zeros says that what a map writes is zero, and that this is no change.
func (t *hubTensors) zeros(name string, c *bottleneck) func() bool {
	var list []*nn.Param
	for n, p := range t.b.bank.Params() {
		if strings.HasPrefix(n, t.prefix+name+".") {
			list = append(list, p)
		}
	}
	return func() bool {
		if c.phm.on || c.normAfter || !c.lnAfter || c.lnBefore && !c.parallel && c.residualFirst != "true" {
			return false
		}
		return !slices.ContainsFunc(list, func(p *nn.Param) bool {
			return slices.ContainsFunc(op.Data(p), func(v float32) bool { return v != 0 })
		})
	}
}

// hubAdapter is an adapter of the library attached to a model.
type hubAdapter struct {
	bank   *tuner.Bank
	root   string
	places []hubPlace
	twice  []second
	head   hubHead // nil = none
}

// build makes everything, then changes the model.
func (c *HubConfig) build(m layer.Model, rng *rand.Rand) (attached, error) {
	b, err := newBuilder(m, c.Name, rng)
	if err != nil {
		return nil, err
	}
	err = tuner.Guard(func() error {
		for _, p := range c.parts {
			if err := p.attach(b); err != nil {
				return err
			}
		}
		return nil
	})
	if large := (tuner.TooLarge{}); errors.As(err, &large) {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	if err != nil {
		return nil, err
	}
	a := &hubAdapter{bank: b.bank, root: b.root, places: b.places, twice: b.twice}
	if len(a.places) == 0 {
		return nil, fmt.Errorf("adapter: the settings leave no place in the model for an adapter, want at least one")
	}
	if a.head, err = c.attachHead(m, rng); err != nil {
		return nil, err
	}
	for _, p := range a.places {
		p.attach()
	}
	c.base = hubBase{b.hidden, className(m), m.ModelType()}
	if own, ok := a.head.(ownHead); len(b.deltas) == len(a.places) && (ok || a.head == nil) {
		return &foldable{hubAdapter: a, list: b.deltas, own: own}, nil
	}
	return a, nil
}

// attached is an adapter of the library in one of its forms.
type attached interface {
	peft.Adapter
	unwrap() *hubAdapter
}

// foldable is an adapter that changes nothing but weights.
type foldable struct {
	*hubAdapter
	list []*tuner.Placed
	own  ownHead
}

// Deltas implements peft.Merger.
func (a *foldable) Deltas() (list []merge.Delta) {
	for _, p := range a.list {
		list = append(list, p.Deltas()...)
	}
	if a.own.Companions != nil {
		list = append(list, a.own.Deltas()...)
	}
	return list
}

// className is the class of transformers that a model is of.
func className(m layer.Model) string {
	if x, ok := m.(interface{ ClassName() string }); ok {
		return x.ClassName()
	}
	return ""
}

// Params implements peft.Adapter.
func (a *hubAdapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for name, p := range a.bank.Params() {
			if !yield(name, p) {
				return
			}
		}
		if a.head != nil {
			a.head.Params()(yield)
		}
	}
}

// Detach implements peft.Adapter.
func (a *hubAdapter) Detach() {
	for _, p := range slices.Backward(a.places) {
		p.detach()
	}
	if a.head != nil {
		a.head.Detach()
	}
}

// Idle implements peft.Idler.
func (a *hubAdapter) Idle() string {
	if slices.ContainsFunc(a.places, func(p hubPlace) bool { return !p.idle() }) {
		return ""
	}
	return "everything that it adds is zero"
}

// body is the adapter without its head: what its own file holds.
type body struct{ *hubAdapter }

// Params implements peft.Adapter.
func (a body) Params() iter.Seq2[string, *nn.Param] { return a.bank.Params() }

// Buffers implements peft.Buffered.
func (a *hubAdapter) Buffers() []*peft.Buffer { return a.bank.Buffers() }

// Extras implements peft.Extended: what the library's files hold under a second name.
func (a *hubAdapter) Extras() (list []peft.Extra) {
	params := map[string]*nn.Param{}
	for name, p := range a.bank.Params() {
		params[name] = p
	}
	for _, s := range a.twice {
		m, shape := op.Of(params[s.of]).View(), op.FileShape(params[s.of])
		x := peft.Extra{Name: s.name, Of: s.of, DType: checkpoint.F32, Shape: shape, Row: func(dst []float32, i int) { copy(dst, m.Row(i)) }, Written: true}
		list = append(list, x)
		x.Name, x.Written = strings.TrimPrefix(s.name, a.root+"."), false
		list = append(list, x)
	}
	return list
}

// oldName is what a part of a name was in files of the library's forerunner.
type oldName struct{ now, was string }

var oldNames = []oldName{
	{".attention.output.adapters.", ".attention.output.attention_text_task_adapters."}, {".attention.output.adapters.", ".attention.output.attention_text_lang_adapters."},
	{".output.adapters.", ".output.layer_text_task_adapters."}, {".output.adapters.", ".output.layer_text_lang_adapters."},
	{".invertible_adapters.", ".invertible_lang_adapters."},
}

// of is the old form of a name, if it has one.
func (o oldName) of(name string) (string, bool) {
	if !strings.Contains(name, o.now) {
		return "", false
	}
	return strings.Replace(name, o.now, o.was, 1), true
}

// Aliases implements peft.Aliased: a file of the bare model has no root, and of two names may have only the other.
func (a *hubAdapter) Aliases(name string) []string {
	list := []string{strings.TrimPrefix(name, a.root+".")}
	for _, o := range oldNames {
		if was, ok := o.of(name); ok {
			list = append(list, was)
		}
	}
	for _, s := range a.twice {
		if s.of == name {
			list = append(list, s.name, strings.TrimPrefix(s.name, a.root+"."))
		}
	}
	return list
}
