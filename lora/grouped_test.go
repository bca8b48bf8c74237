package lora

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// sharesConfig enables the first and the last third of down_proj's 12 outputs.
const sharesConfig = `{"peft_type": "LORA", "r": 2, "lora_alpha": 3, "target_modules": ["down_proj"], "fan_in_fan_out": true,
	"enable_lora": [true, false, true], "merge_weights": false}`

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c := New()
	if err := c.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return c
}

// fullB puts the branches [8, 2] of two shares of four outputs into the factor [12, 4] of one branch.
func fullB(b []float32) []float32 {
	full := kernel.NewMat(make([]float32, 12*4), 12, 4)
	for o := range 4 {
		copy(full.Row(o)[:2], b[2*o:2*o+2])
		copy(full.Row(8 + o)[2:], b[2*(4+o):2*(4+o)+2])
	}
	return full.Data
}

// TestShares holds branches of shares to one branch whose factor has zeros elsewhere: logits, gradients, merged weights.
func TestShares(t *testing.T) {
	m, plain := tiny(t, false), tiny(t, false)
	c := parsed(t, sharesConfig)
	if len(c.Warnings) > 0 {
		t.Errorf("warnings %q, want none", c.Warnings)
	}
	a, err := c.Attach(m, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	d := New()
	d.Rank, d.Alpha, d.TargetModules = 4, 6, c.TargetModules
	b, err := d.Attach(plain, rand.New(rand.NewPCG(3, 4)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	into := params(b)
	for name, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] = float32(0.3 * rng.NormFloat64())
		}
		q := op.Data(into[name])
		if copy(q, op.Data(p)); strings.HasSuffix(name, "lora_B.weight") {
			copy(q, fullB(op.Data(p)))
			if s := op.FileShape(p); !slices.Equal(s, []int{8, 2, 1}) {
				t.Errorf("%s is %v, want [8 2 1]", name, s)
			}
		}
	}
	_, want := pass(t, plain, false)
	_, got := pass(t, m, false)
	check.Close(t, "logits", got, want, 1e-5, 1e-5) // sums of tens of terms in another order
	pass(t, m, true)
	pass(t, plain, true)
	for name, p := range a.Params() {
		g, w := op.GradOf(p), op.GradOf(into[name])
		if strings.HasSuffix(name, "lora_B.weight") {
			masked, f := fullB(slices.Repeat([]float32{1}, 16)), slices.Clone(w)
			for i := range f {
				f[i] *= masked[i]
			}
			g, w = fullB(g), f
		}
		check.Close(t, "gradient of "+name, g, w, 1e-5, 1e-5)
	}
	x, y := a.(peft.Merger).Deltas(), b.(peft.Merger).Deltas()
	if len(x) != len(y) {
		t.Fatalf("%d deltas, want %d", len(x), len(y))
	}
	type adder interface {
		AddTo(lo, hi int, dst []float32)
	}
	for i := range x {
		got, want := make([]float32, 12*20), make([]float32, 12*20)
		x[i].(adder).AddTo(0, 12, got)
		y[i].(adder).AddTo(0, 12, want)
		check.Close(t, "what is merged into "+x[i].Target(), got, want, 1e-6, 1e-5)
	}
}

func params(a peft.Adapter) map[string]*nn.Param {
	list := map[string]*nn.Param{}
	for name, p := range a.Params() {
		list[name] = p
	}
	return list
}

// TestSharesRefused gives enable_lora that cannot be.
func TestSharesRefused(t *testing.T) {
	for _, x := range []struct{ was, is, want string }{
		{`[true, false, true]`, `[false, false]`, "enable_lora is [false,false], want a list of true and false, one of them true"},
		{`[true, false, true]`, `"all"`, "enable_lora is \"all\", want a list"},
		{`[true, false, true]`, `[true, false, false, false, true]`, "enable_lora has 5 shares, which do not divide its 12 outputs"},
		{`"r": 2`, `"r": 2, "use_dora": true`, "enable_lora and use_dora are both set, want one of them"},
		{`"r": 2`, `"r": 2, "rank_pattern": {"down_proj": 3}`, "enable_lora and rank_pattern are both set"},
	} {
		c := parsed(t, strings.Replace(sharesConfig, x.was, x.is, 1))
		if _, err := c.Attach(tiny(t, false), rand.New(rand.NewPCG(1, 2))); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", x.is, err, x.want)
		}
	}
}
