package model

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/op"
)

// RopeParameters say how rotary positions are scaled: rope_scaling of transformers 4, rope_parameters of 5.
type RopeParameters struct {
	RopeType                      string   `json:"rope_type"`
	Type                          string   `json:"type"` // the name of rope_type in old files
	RopeTheta                     float64  `json:"rope_theta"`
	Factor                        *float64 `json:"factor"`
	OriginalMaxPositionEmbeddings int      `json:"original_max_position_embeddings"`
	LowFreqFactor                 *float64 `json:"low_freq_factor"`
	HighFreqFactor                *float64 `json:"high_freq_factor"`
	AttentionFactor               *float64 `json:"attention_factor"`
	BetaFast                      *float64 `json:"beta_fast"`
	BetaSlow                      *float64 `json:"beta_slow"`
	MScale                        *float64 `json:"mscale"`
	MScaleAllDim                  *float64 `json:"mscale_all_dim"`
	Truncate                      *bool    `json:"truncate"`

	PartialRotaryFactor *float64  `json:"partial_rotary_factor"` // share of a head's numbers that turn
	ShortFactor         []float64 `json:"short_factor"`          // longrope: by frequency, within the original length
	LongFactor          []float64 `json:"long_factor"`           // and beyond

	// Settings by the type of layer, where they differ (Gemma 3).
	Full    *RopeParameters `json:"full_attention"`
	Sliding *RopeParameters `json:"sliding_attention"`
}

// ropes is the table of rope types, as transformers' modeling_rope_utils has them.
var ropes = []struct {
	name  string
	needs []string
	make  func(r ropeInput) *op.Rope
}{
	{"default", nil, plainRope},
	{"linear", []string{"factor"}, linearRope},
	{"dynamic", []string{"factor"}, dynamicRope},
	{"llama3", []string{"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, llama3Rope},
	{"yarn", []string{"factor"}, yarnRope},
	{"longrope", []string{"short_factor", "long_factor"}, longRope},
}

// ropeInput is what the formulas read.
type ropeInput struct {
	RopeParameters
	dim    int // numbers of a head that turn
	maxPos int // max_position_embeddings
}

// ropeParameters returns the rope settings of either version of the file, for a type of layer if they differ by that.
func (c *Config) ropeParameters(layerType string) RopeParameters {
	r := RopeParameters{}
	switch {
	case c.RopeParameters != nil && layerType == "full_attention" && c.RopeParameters.Full != nil:
		r = *c.RopeParameters.Full
	case c.RopeParameters != nil && layerType == "sliding_attention" && c.RopeParameters.Sliding != nil:
		r = *c.RopeParameters.Sliding
	case c.RopeParameters != nil:
		r = *c.RopeParameters
	case c.RopeScaling != nil:
		r = *c.RopeScaling
	}
	if r.RopeTheta == 0 {
		r.RopeTheta = c.RopeTheta
	}
	if r.RopeType == "" {
		r.RopeType = r.Type
	}
	switch r.RopeType {
	case "":
		r.RopeType = "default"
	case "su": // what Phi-3 first called it
		r.RopeType = "longrope"
	}
	return r
}

// partialRotary is how many numbers of a head turn.
func (c *Config) partialRotary() int {
	factor := c.PartialRotaryFactor
	if p := c.ropeParameters("").PartialRotaryFactor; p != nil {
		factor = *p
	}
	return int(float64(c.HeadDim) * factor)
}

// build makes the rotary positions.
func (s Rope) build(c *Config) (*op.Rope, error) {
	r := s.RopeParameters
	if !(r.RopeTheta > 1) {
		return nil, c.bad("rope_theta", "is %g, want above 1", r.RopeTheta)
	}
	if s.Dim < 2 || s.Dim > c.HeadDim || s.Dim%2 != 0 {
		return nil, fmt.Errorf("model: config.json: rotary positions turn %d of the %d numbers of a head, want an even number of them", s.Dim, c.HeadDim)
	}
	var names []string
	for _, t := range ropes {
		if t.name != r.RopeType {
			names = append(names, t.name)
			continue
		}
		if err := r.check(t.needs, s.Dim); err != nil {
			return nil, err
		}
		rope := t.make(ropeInput{RopeParameters: r, dim: s.Dim, maxPos: c.MaxPositionEmbeddings})
		rope.Interleaved = s.Interleaved
		return rope, nil
	}
	return nil, fmt.Errorf("model: config.json: rope_type is %q, want one of %s", r.RopeType, strings.Join(names, ", "))
}

// check reports missing and impossible numbers.
func (r *RopeParameters) check(needs []string, dim int) error {
	have := map[string]*float64{"factor": r.Factor, "low_freq_factor": r.LowFreqFactor, "high_freq_factor": r.HighFreqFactor}
	if r.OriginalMaxPositionEmbeddings > 0 {
		n := float64(r.OriginalMaxPositionEmbeddings)
		have["original_max_position_embeddings"] = &n
	}
	lists := map[string][]float64{"short_factor": r.ShortFactor, "long_factor": r.LongFactor}
	var errs []error
	for _, key := range needs {
		if list, ok := lists[key]; ok {
			if len(list) != dim/2 {
				errs = append(errs, fmt.Errorf("model: config.json: rope %s has %d numbers, want %d", key, len(list), dim/2))
			}
			if len(list) > 0 && !(slices.Min(list) > 0) {
				errs = append(errs, fmt.Errorf("model: config.json: rope %s has %g, want numbers above 0", key, slices.Min(list)))
			}
			continue
		}
		v := have[key]
		switch {
		case v == nil:
			errs = append(errs, fmt.Errorf("model: config.json: rope_type %q needs %s", r.RopeType, key))
		case !(*v > 0):
			errs = append(errs, fmt.Errorf("model: config.json: rope %s is %g, want above 0", key, *v))
		}
	}
	if r.LowFreqFactor != nil && r.HighFreqFactor != nil && *r.HighFreqFactor == *r.LowFreqFactor {
		errs = append(errs, fmt.Errorf("model: config.json: rope high_freq_factor equals low_freq_factor (%g)", *r.LowFreqFactor))
	}
	return errors.Join(errs...)
}

// frequencies are 1/theta^(2i/dim).
func frequencies(theta float64, dim int) []float64 {
	f := make([]float64, dim/2)
	for i := range f {
		f[i] = 1 / math.Pow(theta, float64(2*i)/float64(dim))
	}
	return f
}

func plainRope(r ropeInput) *op.Rope {
	return &op.Rope{Frequencies: frequencies(r.RopeTheta, r.dim), Scale: 1}
}

// linearRope stretches all positions by the factor.
func linearRope(r ropeInput) *op.Rope {
	f := frequencies(r.RopeTheta, r.dim)
	for i := range f {
		f[i] /= *r.Factor
	}
	return &op.Rope{Frequencies: f, Scale: 1}
}

// dynamicRope raises theta for passes beyond max_position_embeddings.
func dynamicRope(r ropeInput) *op.Rope {
	dim, m := float64(r.dim), float64(r.maxPos)
	return &op.Rope{Frequencies: frequencies(r.RopeTheta, r.dim), Scale: 1, Dynamic: func(length int) []float64 {
		n := max(float64(length), m)
		return frequencies(r.RopeTheta*math.Pow(*r.Factor*n/m-(*r.Factor-1), dim/(dim-2)), r.dim)
	}}
}

// llama3Rope stretches long wave lengths, keeps short ones, and blends between.
func llama3Rope(r ropeInput) *op.Rope {
	f := frequencies(r.RopeTheta, r.dim)
	old := float64(r.OriginalMaxPositionEmbeddings)
	long, short := old / *r.LowFreqFactor, old / *r.HighFreqFactor
	for i, w := range f {
		length := 2 * math.Pi / w
		switch {
		case length > long:
			f[i] = w / *r.Factor
		case length >= short:
			smooth := (old/length - *r.LowFreqFactor) / (*r.HighFreqFactor - *r.LowFreqFactor)
			f[i] = (1-smooth)*w / *r.Factor + smooth*w
		}
	}
	return &op.Rope{Frequencies: f, Scale: 1}
}

// yarnRope stretches by parts [peng2023]: frequencies that turn less than beta_slow times within the original length are
// stretched, those that turn more than beta_fast times are kept, with a ramp between; scores are scaled.
func yarnRope(r ropeInput) *op.Rope {
	factor, old := *r.Factor, float64(r.maxPos)
	if r.OriginalMaxPositionEmbeddings > 0 {
		old = float64(r.OriginalMaxPositionEmbeddings)
	}
	or := func(p *float64, v float64) float64 {
		if p != nil && *p != 0 {
			return *p
		}
		return v
	}
	mscale := func(scale, m float64) float64 {
		if scale <= 1 {
			return 1
		}
		return 0.1*m*math.Log(scale) + 1
	}
	attention := mscale(factor, 1)
	if r.MScale != nil && r.MScaleAllDim != nil && *r.MScale != 0 && *r.MScaleAllDim != 0 {
		attention = mscale(factor, *r.MScale) / mscale(factor, *r.MScaleAllDim)
	}
	if r.AttentionFactor != nil {
		attention = *r.AttentionFactor
	}
	dim := float64(r.dim)
	turns := func(n float64) float64 { return dim * math.Log(old/(n*2*math.Pi)) / (2 * math.Log(r.RopeTheta)) }
	low, high := turns(or(r.BetaFast, 32)), turns(or(r.BetaSlow, 1))
	if r.Truncate == nil || *r.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001
	}
	f := frequencies(r.RopeTheta, r.dim)
	for i, w := range f {
		stretched := min(max((float64(i)-low)/(high-low), 0), 1)
		f[i] = w/factor*stretched + w*(1-stretched)
	}
	return &op.Rope{Frequencies: f, Scale: attention}
}

// longRope divides each frequency by a factor found by search [ding2024]: short ones within the original length, long ones
// for passes that reach beyond.
func longRope(r ropeInput) *op.Rope {
	old := float64(r.maxPos)
	if r.OriginalMaxPositionEmbeddings > 0 {
		old = float64(r.OriginalMaxPositionEmbeddings)
	}
	factor := float64(r.maxPos) / old
	if r.Factor != nil {
		factor = *r.Factor
	}
	scale := 1.0
	if factor > 1 {
		scale = math.Sqrt(1 + math.Log(factor)/math.Log(old))
	}
	if r.AttentionFactor != nil {
		scale = *r.AttentionFactor
	}
	by := func(factors []float64) []float64 {
		f := frequencies(r.RopeTheta, r.dim)
		for i := range f {
			f[i] /= factors[i]
		}
		return f
	}
	short, long := by(r.ShortFactor), by(r.LongFactor)
	return &op.Rope{Frequencies: short, Scale: scale, Dynamic: func(length int) []float64 {
		if float64(length) > old {
			return long
		}
		return short
	}}
}

// Rope is how rotary positions are set, in either version of config.json: rope_type and rope_theta are filled in.
func (c *Config) Rope() RopeParameters { return c.ropeParameters("") }
