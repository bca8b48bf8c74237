package methods_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/task"
	"github.com/nlpodyssey/spago/ag"
)

// TestGradientsInEveryMode: in split and bf16 mode the gradients of whole models are near those in f32, for weights as stored and
// quantised, [out, in] and [in, out].
func TestGradientsInEveryMode(t *testing.T) {
	models := []string{"llama", "qwen2, window in the upper layer", "gpt2", "bert", "t5"}
	for _, c := range modeltest.Tiny {
		if !slices.Contains(models, c.Name) {
			continue
		}
		dir := modeltest.Write(t, c)
		for _, kept := range []kernel.DType{kernel.F32, kernel.I8, kernel.NF4} {
			t.Run(fmt.Sprintf("%s in %v", c.Name, kept), func(t *testing.T) {
				base := modeltest.Open(t, dir)
				if kept != kernel.F32 {
					base.Quantise(kept)
				}
				want := loraGradients(t, base, kernel.ModeF32)
				for mode, limit := range map[kernel.Mode]float64{
					kernel.ModeSplit: 2e-4, // two bf16 numbers hold 16 bits of each operand, over a dozen products and norms
					kernel.ModeBF16:  0.15, // one holds 8; norms of these small models enlarge what that leaves out
				} {
					got := loraGradients(t, base, mode)
					if d := distance(got, want); !(d < limit) {
						t.Errorf("gradients in %v are %.2g of their length from those in f32, want below %g", mode, d, limit)
					}
				}
			})
		}
	}
}

// loraGradients are those of all parameters of a LoRA on every linear layer, one behind the other.
func loraGradients(t *testing.T, base *modeltest.Base, mode kernel.Mode) (all []float32) {
	config := loraWith(func(c *lora.Config, m layer.Model) { c.Init = "false" })(base.Model)
	a, err := config.Attach(base.Model, rand.New(rand.NewPCG(23, 29)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	own, ok := task.For(base.Model)
	if !ok {
		t.Fatal("the model has no head")
	}
	set := base.Set()
	b := set.Batch(modeltest.All(set))
	p := op.NewPass(b.Segments, b.Positions, mode, op.NewArena())
	p.Grad, p.Train = true, true
	node, _, err := own.Loss(base.Model, p, b, task.LossOptions{Scale: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := ag.Backward(node); err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		all = append(all, op.GradOf(p)...)
	}
	return all
}

// distance is |got - want| / |want|.
func distance(got, want []float32) float64 {
	var d, size float64
	for i, w := range want {
		d += float64(got[i]-w) * float64(got[i]-w)
		size += float64(w) * float64(w)
	}
	return math.Sqrt(d / size)
}
