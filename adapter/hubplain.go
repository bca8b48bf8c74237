package adapter

import (
	"errors"
	"fmt"

	"github.com/graft-ml/graft/checkpoint"
)

// PlainLora are the settings of a LoRA of the library that other programs can say, too: it adds alpha/r·B·A·x to projections.
type PlainLora struct {
	Rank, Alpha  int
	Dropout      float64
	Matrices     []string // of attn_matrices: q, k, v
	Attention    bool     // selfattn_lora
	Intermediate bool     // intermediate_lora
	Output       bool     // output_lora
	LeaveOut     []int    // layers without
}

// PlainLora is what the settings say if they say nothing else; the error names what other programs cannot say.
func (c *HubConfig) PlainLora() (p PlainLora, err error) {
	if c.union || len(c.parts) != 1 {
		return p, fmt.Errorf("adapter: config is a union of %d methods, which only the library has", len(c.parts))
	}
	l, ok := c.parts[0].hubMethod.(*hubLora)
	if !ok {
		name := c.parts[0].kind.architecture
		if name == "" {
			name = "bottleneck"
		}
		return p, fmt.Errorf("adapter: config.architecture is %q, which other programs do not have", name)
	}
	var errs []error
	for _, x := range []struct {
		is  bool
		why string
	}{
		{l.mode != "add", fmt.Sprintf("composition_mode is %q: the library scales what a projection gives, bias and all", l.mode)},
		{l.gated, "use_gating is true: only the library has gates, which depend on the text"},
		{l.dora, "use_dora is true: the library scales biases, too, and leaves alpha/r out of the lengths"},
		{l.vera(), "vera_d or vera_b is set: the library trains whole matrices there"},
	} {
		if x.is {
			errs = append(errs, fmt.Errorf("adapter: %s", x.why))
		}
	}
	return PlainLora{l.rank, l.alpha, l.dropout, l.matrices, l.attention, l.intermediate, l.output, l.leaveOut}, errors.Join(errs...)
}

// NewPlainLora are settings of the library for a LoRA on a model of a class of transformers, "" and 0 where these are not known.
func NewPlainLora(p PlainLora, class, modelType string, hidden int) *HubConfig {
	c := NewHub("lora")
	l := c.parts[0].hubMethod.(*hubLora)
	l.rank, l.alpha, l.dropout, l.matrices, l.leaveOut = p.Rank, p.Alpha, p.Dropout, p.Matrices, p.LeaveOut
	l.attention, l.intermediate, l.output = p.Attention, p.Intermediate, p.Output
	c.base = hubBase{hidden, class, modelType}
	return c
}

// LoraEnd ends the names of a LoRA's tensors behind that of the module: lora_A [r, in], lora_B [out, r].
func (c *HubConfig) LoraEnd() string { return ".loras." + c.Name + "." }

// OpenOwnHead opens the head in a folder if it is the model's own, as transformers has it; nil if there is none, an error if it is one
// of the library's.
func (c *HubConfig) OpenOwnHead(dir string) (*checkpoint.Checkpoint, error) {
	file, err := c.openHead(dir)
	if err != nil || c.head == nil {
		return file, err
	}
	return nil, errors.Join(fmt.Errorf("adapter: the head is one of the library's, of type %q, and not the model's own", c.head.kind), file.Close())
}

// WritePlain writes the files of an adapter whose tensors are given, and those of the model's own head if there are some.
func (c *HubConfig) WritePlain(dir string, tensors, head []checkpoint.Entry) error {
	config, err := c.JSON()
	if err != nil {
		return err
	}
	if len(head) > 0 {
		if err := c.writeHead(dir, head); err != nil {
			return err
		}
	}
	return c.writeBody(dir, tensors, config)
}
