package llamacpp

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/model"
)

// special is what only one architecture's files say: it adds keys, and refuses what llama.cpp has built in otherwise.
type special func(a *attention, add func(key string, v any)) (notes []string, err error)

// attention is how a model looks back, layer by layer.
type attention struct {
	config *model.Config
	spec   model.Spec
	layers []model.Block
}

// attentionOf reads it off the architecture.
func attentionOf(c *model.Config) (*attention, error) {
	arch, err := model.Lookup(c.ModelType)
	if err != nil {
		return nil, err
	}
	a := &attention{config: c, spec: arch.Spec(c)}
	for i := range c.NumHiddenLayers {
		b := a.spec.Block
		if a.spec.Layer != nil {
			a.spec.Layer(i, &b)
		}
		a.layers = append(a.layers, b)
	}
	return a, nil
}

// window is that of the layers that have one, 0 if none has. Layer i must have one if and only if i mod period is below period − 1, which
// llama.cpp has built in.
func (a *attention) window(period int) (int, error) {
	w := 0
	for _, b := range a.layers {
		w = max(w, b.Attention.Window)
	}
	if w == 0 {
		return 0, nil
	}
	for i, b := range a.layers {
		if has := b.Attention.Window > 0; has != (i%period < period-1) {
			return 0, fmt.Errorf("layer %d has sliding_window %v, want %v: llama.cpp has a window in all but every %dth layer", i, has, !has, period)
		}
	}
	return w, nil
}

// scaled checks that scores are scaled as llama.cpp does it: by the size of a head, in models of so many layers by what heads share.
func (a *attention) scaled(largest int) error {
	c := a.config
	by := c.HeadDim
	if c.NumHiddenLayers == largest {
		by = c.HiddenSize / c.NumAttentionHeads
	}
	if want := 1 / math.Sqrt(float64(by)); math.Abs(a.spec.Block.Attention.Scale-want) > 1e-6*want {
		return fmt.Errorf("query_pre_attn_scalar is %.6g, want %d: llama.cpp has no other for models of %d layers", math.Pow(a.spec.Block.Attention.Scale, -2), by, c.NumHiddenLayers)
	}
	return nil
}

// gemma2Keys: two caps and a window in every other layer, the first one's.
func gemma2Keys(a *attention, add func(string, any)) ([]string, error) {
	cap, final := a.spec.Block.Attention.SoftCap, a.spec.LogitsCap
	if cap == 0 || final == 0 {
		return nil, fmt.Errorf("attn_logit_softcapping is %g and final_logit_softcapping %g, want both above 0: llama.cpp's gemma2 always caps", cap, final)
	}
	w, err := a.window(2)
	if err == nil && w == 0 {
		err = fmt.Errorf("sliding_window is missing, want one: llama.cpp's gemma2 always has it")
	}
	if err != nil {
		return nil, err
	}
	add("attn_logit_softcapping", float32(cap))
	add("final_logit_softcapping", float32(final))
	add("attention.sliding_window", uint32(w))
	return nil, a.scaled(46)
}

// gemma3Keys: a window in five of six layers, with rotary positions of their own.
func gemma3Keys(a *attention, add func(string, any)) ([]string, error) {
	if a.spec.Block.Attention.SoftCap != 0 || a.spec.LogitsCap != 0 {
		return nil, fmt.Errorf("attn_logit_softcapping or final_logit_softcapping is there, want neither: llama.cpp's gemma3 does not cap")
	}
	w, err := a.window(6)
	if err != nil {
		return nil, err
	}
	const base = 10000 // llama.cpp's, of the layers with a window
	if local := a.spec.Ropes[1]; w > 0 && (local.RopeTheta != base || local.RopeType != "default") {
		return nil, fmt.Errorf("rope_local_base_freq is %g (%s), want %d, not scaled: llama.cpp's gemma3 has no other", local.RopeTheta, local.RopeType, base)
	}
	if w > 0 {
		add("attention.sliding_window", uint32(w))
	}
	return nil, a.scaled(62)
}

// phi3Keys: the window is written, and not used; long texts have factors of their own.
func phi3Keys(a *attention, add func(string, any)) (notes []string, err error) {
	c, r := a.config, a.spec.Ropes[0]
	w := a.layers[0].Attention.Window
	add("attention.sliding_window", uint32(w))
	if c.HeadDim*c.NumAttentionHeads != c.HiddenSize {
		return nil, fmt.Errorf("head_dim is %d, want hidden_size / num_attention_heads: llama.cpp's phi3 has no other", c.HeadDim)
	}
	if w > 0 && w < c.MaxPositionEmbeddings {
		notes = append(notes, "sliding_window of config.json: llama.cpp looks back without bound in this architecture")
	}
	switch r.RopeType {
	case "default":
		add("rope.scaling.original_context_length", uint32(r.OriginalMaxPositionEmbeddings))
	case "longrope":
		add("rope.scaling.original_context_length", uint32(r.OriginalMaxPositionEmbeddings))
		add("rope.scaling.attn_factor", float32(longFactor(c, r)))
		notes = append(notes, "longrope: llama.cpp takes the long factors when its context is longer than the original one, transformers when the text is")
	default:
		return nil, fmt.Errorf("rope_type is %q, want default or longrope: others are not exported of phi3", r.RopeType)
	}
	return notes, nil
}

// longFactor is by how much longrope scales what turns.
//
// References: transformers modeling_rope_utils.py, _compute_longrope_parameters.
func longFactor(c *model.Config, r model.Rope) float64 {
	if r.AttentionFactor != nil {
		return *r.AttentionFactor
	}
	original := float64(r.OriginalMaxPositionEmbeddings)
	scale := float64(c.MaxPositionEmbeddings) / original
	if r.Factor != nil {
		scale = *r.Factor
	}
	if scale <= 1 {
		return 1
	}
	return math.Sqrt(1 + math.Log(scale)/math.Log(original))
}
