package methods_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/peft/pefttest"
)

// laws has a row for each line of methods.All, and variants of it.
var laws = []pefttest.Case{
	{Name: "lora", Method: lora.Method, Identity: true, Mergeable: true, Lost: lostLora,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Dropout = 0.3 })},
	{Name: "lora with rslora and gaussian A", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.UseRSLoRA, c.Init = true, "gaussian" })},
	{Name: "lora with patterns", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) {
			end := linearNames(m)
			c.TargetModules = peft.Names{List: []string{end[0], end[len(end)-1]}}
			c.RankPattern = peft.Pattern{peft.NewEntry(end[0], 5)}
			c.AlphaPattern = peft.Pattern{peft.NewEntry(end[len(end)-1], 2)}
		})},
	{Name: "lora whose B is drawn", Method: lora.Method, Variant: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Init = "false" })},
	{Name: "dora", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		// The length of W + ΔW is a constant to the gradients of ΔW [liu2024] section 4.3.
		Approximate: func(name string) bool { return !strings.HasSuffix(name, "lora_magnitude_vector") },
		Config:      loraWith(func(c *lora.Config, m layer.Model) { c.UseDoRA, c.Dropout = true, 0.2 })},
	{Name: "lora with biases", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraOnBiases},
	{Name: "lora on the embedding", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) {
			c.TargetModules = peft.Names{List: []string{embeddingName(m), linearNames(m)[0]}}
		})},
	{Name: "lora beside a trained embedding", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Beside.ModulesToSave = []string{embeddingName(m)} })},
	{Name: "lora by olora", Method: lora.Method, Variant: true, Mergeable: true, Converted: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Init, c.Rank = "olora", 2 })},
}

// loraWith is LoRA on all linear layers, with rank and alpha off the fixed point alpha = r.
func loraWith(set func(c *lora.Config, m layer.Model)) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		c := lora.New()
		c.Rank, c.Alpha, c.TargetModules = 3, 7, peft.Names{Pattern: peft.AllLinear}
		set(c, m)
		return c
	}
}

// loraOnBiases adapts the layers that have a bias; nil if none has. Only these can take a bias of B in when they are merged.
func loraOnBiases(m layer.Model) peft.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.LoraBias, c.Beside.Bias = 3, 7, true, "all"
	for s := range m.Slots() {
		if s.Base.Bias != nil {
			c.TargetModules.List = append(c.TargetModules.List, s.Name)
		}
	}
	if len(c.TargetModules.List) == 0 {
		return nil
	}
	return c
}

func lostLora(layer.Model) peft.Config {
	c := lora.New()
	c.TargetModules = peft.Names{List: []string{"nowhere_proj"}}
	return c
}

// embeddingName is the last part of the name of the input embedding.
func embeddingName(m layer.Model) string {
	for s := range m.Slots() {
		if s.Kind == layer.Embedding {
			return s.Name[strings.LastIndexByte(s.Name, '.')+1:]
		}
	}
	return ""
}

// linearNames lists the last parts of the names of all linear slots, in the model's order.
func linearNames(m layer.Model) (ends []string) {
	for s := range m.Slots() {
		if s.Kind == layer.Linear || s.Kind == layer.Conv1D {
			ends = append(ends, s.Name[strings.LastIndexByte(s.Name, '.')+1:])
		}
	}
	return ends
}

// TestLaws holds every method to the laws on every architecture.
func TestLaws(t *testing.T) {
	has := map[string]bool{}
	for _, c := range append(slices.Clone(laws), othersLaws()...) {
		has[c.Method.Name] = has[c.Method.Name] || !c.Variant
		t.Run(c.Name, func(t *testing.T) { pefttest.Run(t, c) })
	}
	for _, m := range methods.All {
		if !has[m.Name] && !slices.Contains(untrainable, m.Name) {
			t.Errorf("method %q has no row in laws", m.Name)
		}
	}
}
