package lora

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// UniLoRA takes every number of all factors from one vector, at places that are drawn by a seed [li2025]:
//
//	y = base(x) + x·Aᵀ·Bᵀ     A[k, j] = t[place]/√n     n = how often the place is drawn
//
//	t [theta_d_length]   A [r, in]   B [out, r]
//
// Each place is drawn as often as every other, or once more.
//
// References: [li2025] Uni-LoRA: One Vector Is All You Need, arXiv 2506.00799.
var UniLoRA = (&tuner.Kind{Type: "UNILORA", Name: "unilora", New: func() tuner.Options { return &unilora{r: 4, length: 256, seed: 42, bound: 0.02, init: true} },
	Defaults: peft.Object{"bias": "none", "fan_in_fan_out": false, "init_theta_d_bound": 0.02, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "proj_seed": 42, "r": 4, "save_indices": false, "target_modules": nil, "theta_d_length": 256,
		"unilora_dropout": 0.0}}).Method()

type unilora struct {
	r, length, seed int
	bound, dropout  float64
	init, save      bool
}

func (o *unilora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "theta_d_length", To: &o.length, Min: 1, Max: 1 << 28},
		{Key: "proj_seed", To: &o.seed, Max: math.MaxUint32}, {Key: "init_theta_d_bound", To: &o.bound}, {Key: "unilora_dropout", To: &o.dropout, Max: 0.999},
		{Key: "init_weights", To: &o.init}, {Key: "save_indices", To: &o.save}}
}

func (o *unilora) Check() error {
	if o.save {
		return errors.New("unilora: save_indices is true, want false: the file would repeat the places, which follow from proj_seed")
	}
	return nil
}

// uniBank holds the vector and the places of all targets.
type uniBank struct {
	*unilora
	theta  *nn.Param
	places map[*layer.Slot][]int // of A, then of B
	scale  []float32             // 1/√n by place
}

// registered are the orders in which transformers makes the projections of one module where the pass has another: the places are drawn in
// them.
var registered = map[string][]string{
	"opt": {"k_proj", "v_proj", "q_proj", "out_proj"}, "gptj": {"k_proj", "v_proj", "q_proj", "out_proj"}, "gpt_neo": {"k_proj", "v_proj", "q_proj", "out_proj"},
	"phi3": {"o_proj", "qkv_proj"},
}

// inOrder sorts the slots of each module as transformers makes them.
func inOrder(slots []*layer.Slot, modelType string) []*layer.Slot {
	order, list := registered[modelType], slices.Clone(slots)
	split := func(s *layer.Slot) (module string, at int) {
		i := strings.LastIndexByte(s.Name, '.')
		return s.Name[:max(0, i)], slices.Index(order, s.Name[i+1:])
	}
	for from := 0; from < len(list); {
		to := from + 1
		module, first := split(list[from])
		for first >= 0 && to < len(list) {
			if m, at := split(list[to]); m != module || at < 0 {
				break
			}
			to++
		}
		slices.SortStableFunc(list[from:to], func(a, b *layer.Slot) int {
			_, i := split(a)
			_, j := split(b)
			return cmp.Compare(i, j)
		})
		from = to
	}
	return list
}

// Bank makes the vector and draws the places.
func (o *unilora) Bank(b *tuner.Bank) (tuner.Maker, error) {
	start := tuner.Uniform(o.bound)
	if !o.init {
		start = tuner.Normal(0, 1)
	}
	bank := &uniBank{o, b.Param("base_model.unilora_theta_d", start, o.length), map[*layer.Slot][]int{}, make([]float32, o.length)}
	total := 0
	for _, s := range b.Slots {
		in, out := s.Dims()
		total += o.r * (in + out)
	}
	if total > math.MaxInt32 {
		return nil, errors.New("unilora: r makes more numbers than the places can be drawn for")
	}
	all := o.draw(total)
	count := make([]int, o.length)
	for _, place := range all {
		count[place]++
	}
	for i, n := range count {
		if n > 0 {
			bank.scale[i] = float32(1 / math.Sqrt(float64(n)))
		}
	}
	for _, s := range inOrder(b.Slots, b.Model) {
		in, out := s.Dims()
		n := o.r * (in + out)
		bank.places[s], all = all[:n], all[n:]
	}
	return bank, nil
}

// draw gives every place as often as every other, or once more, in random order.
func (o *unilora) draw(n int) []int {
	list := make([]int, 0, n)
	for place := range o.length {
		for range n / o.length {
			list = append(list, place)
		}
	}
	rng := newPCG(uint32(o.seed))
	if rest := n % o.length; rest > 0 {
		list = append(list, rng.choose(o.length, rest)...)
	}
	rng.shuffle(list)
	return list
}

func (o *uniBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	places := o.places[s.Slot]
	first, second := places[:o.r*s.In], places[o.r*s.In:]
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		t := c.Mul(c.Param(o.theta), c.Const(kernel.NewMat(o.scale, 1, o.length)))
		a, b := c.Gather(t, o.r, s.In, first), c.Gather(t, s.Out, o.r, second)
		return c.MatMulT(c.MatMulT(c.Dropout(x, o.dropout), a), b)
	}}, nil
}
