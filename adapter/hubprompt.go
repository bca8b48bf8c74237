package adapter

import (
	"fmt"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// hubPrompt is the library's prompt tuning: n trained rows E [n, C] before those of every text, behind the whole embedding with its
// positions and its norm. The text keeps its positions.
type hubPrompt struct {
	length        int
	init, combine string
	text          string // prompt_init_text
}

func newHubPrompt() hubMethod {
	return &hubPrompt{length: 10, init: "random_uniform", combine: "prefix"}
}

var promptDefaults = peft.Object{"architecture": "prompt_tuning", "combine": "prefix", "init_weights_seed": nil, "prompt_init": "random_uniform",
	"prompt_init_text": nil, "prompt_length": 10}

// Settings implements hubMethod.
func (c *hubPrompt) Settings() []peft.Setting {
	return []peft.Setting{{Key: "prompt_length", To: &c.length, Min: 1, Max: 1 << 16}, {Key: "prompt_init", To: &c.init}, {Key: "prompt_init_text", To: &c.text},
		{Key: "combine", To: &c.combine}}
}

// check implements hubMethod.
func (c *hubPrompt) check() []error {
	return []error{peft.CheckSettings(c.Settings()), oneOf("prompt_init", c.init, "random_uniform", "from_string"), oneOf("combine", c.combine, "prefix")}
}

// prompted is prompt tuning in its place.
type prompted struct {
	*hubPrompt
	rows    func(t *tape.Tape) *tape.Node
	hidden  int
	trained *hubTensors
}

// attach implements hubMethod.
func (c *hubPrompt) attach(b *hubBuilder) error {
	m, err := b.prompted()
	if err != nil {
		return err
	}
	if w := b.m.Beginning().Width(); w != b.hidden {
		return fmt.Errorf("adapter: prompt_tuning: embeddings are %d wide and the layers %d, want them as wide", w, b.hidden)
	}
	x := &prompted{hubPrompt: c, hidden: b.hidden, trained: b.tensors(b.path("prompt_tuning") + ".prompt_tunings." + b.name + ".")}
	e := x.trained.param("prompt_embedding.weight", tuner.Uniform(0.5), c.length, b.hidden)
	x.rows = func(t *tape.Tape) *tape.Node { return t.Param(e) }
	b.place(func() { m.SetPrompter(x) }, func() { m.SetPrompter(nil) }, func() bool { return false })
	return nil
}

// Prompts implements layer.Prompter: all segments get the same.
func (x *prompted) Prompts(p *op.Pass) []layer.Prompt {
	f := &tape.Formula{Trained: x.trained.all(), Record: func(t *tape.Tape, _ *op.Pass, _ []*tape.Node) *tape.Node { return x.rows(t) }}
	e := f.Compute(p, x.length, x.hidden)
	list := make([]layer.Prompt, len(p.Segments))
	for i := range list {
		list[i] = layer.Prompt{Rows: e, Still: true}
	}
	return list
}

// Leads implements layer.Prompter.
func (x *prompted) Leads() bool { return true }

// NumVirtualTokens implements layer.Prompter: the text loses no positions.
func (x *prompted) NumVirtualTokens() int { return 0 }
