package adapter

import (
	"errors"
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// phm are the settings of parametrised hypercomplex multiplication [mahabadi2021]: weights that are sums of Kronecker products,
//
//	y = x·Σ_i (rule_i ⊗ W_i) + b     rule [n, n, n]    W [n, in/n, out/n], or W_left [n, in/n, r] times W_right [n, r, out/n]
//
// n is phm_dim. The rule is one for the whole model, or one for each layer. References: [mahabadi2021] Compacter, arXiv
// 2106.04647.
type phm struct {
	on                       bool
	dim, rank                int
	factored, sharedW        bool // of W: factorized_phm_W, shared_W_phm
	factoredRule, sharedRule bool
	ruleInit                 string
	ruleRange                float64
	learn, bias              bool
}

func (c *phm) settings() []peft.Setting {
	return []peft.Setting{{Key: "phm_layer", To: &c.on}, {Key: "phm_dim", To: &c.dim, Min: 1, Max: 1 << 12}, {Key: "phm_rank", To: &c.rank, Min: 1, Max: 1 << 16},
		{Key: "factorized_phm_W", To: &c.factored}, {Key: "shared_W_phm", To: &c.sharedW}, {Key: "factorized_phm_rule", To: &c.factoredRule},
		{Key: "shared_phm_rule", To: &c.sharedRule}, {Key: "phm_c_init", To: &c.ruleInit}, {Key: "phm_init_range", To: &c.ruleRange},
		{Key: "learn_phm", To: &c.learn}, {Key: "phm_bias", To: &c.bias}}
}

func (c *phm) check() (errs []error) {
	errs = append(errs, oneOf("phm_c_init", c.ruleInit, "normal", "uniform"))
	return errs
}

// phmShared is what all places have in common, as far as it is shared.
type phmShared struct {
	rule   stack
	weight map[string]stack // by position
}

// stack is a stack of n matrices on a tape, one below the other.
type stack func(t *tape.Tape) *tape.Node

// shared makes the rule and the weights of the model; nil if there are none.
func (c *phm) shared(b *hubBuilder, of *bottleneck) (*phmShared, error) {
	if !c.on || !c.sharedRule && !c.sharedW {
		return nil, nil
	}
	s := &phmShared{}
	b.common = b.tensors(b.path("shared_parameters") + "." + b.name + ".")
	if c.sharedRule {
		draw := tuner.Normal(0, c.ruleRange)
		if c.ruleInit == "uniform" {
			draw = tuner.Uniform(1)
		}
		s.rule = c.rule(b.common, draw)
	}
	if c.sharedW {
		if of.factor.by != nil {
			return nil, errors.New("adapter: shared_W_phm is true, want one reduction_factor for all layers")
		}
		f, err := of.factor.of(0)
		if err != nil {
			return nil, err
		}
		w := width(b.hidden, f)
		if err := c.divides(b.hidden, w); err != nil {
			return nil, err
		}
		s.weight = map[string]stack{"down": c.weight(b.common, "W_down", b.hidden, w), "up": c.weight(b.common, "W_up", w, b.hidden)}
	}
	return s, nil
}

// divides reports sides that are no multiples of phm_dim.
func (c *phm) divides(n, w int) error {
	if n%c.dim != 0 || w%c.dim != 0 {
		return fmt.Errorf("adapter: phm_dim %d does not divide hidden_size %d and the bottleneck of %d", c.dim, n, w)
	}
	return nil
}

// weight makes the tensors of the W of a map from in to out columns.
func (c *phm) weight(t *hubTensors, name string, in, out int) stack {
	n := c.dim
	if !c.factored {
		w := t.param(name, glorot(in/n, out/n), n, in/n, out/n)
		return func(t *tape.Tape) *tape.Node { return t.Param(w) }
	}
	left, right := t.param(name+"_left", glorot(in/n, c.rank), n, in/n, c.rank), t.param(name+"_right", glorot(c.rank, out/n), n, c.rank, out/n)
	return func(t *tape.Tape) *tape.Node { return products(t, n, t.Param(left), t.Param(right)) }
}

// rule makes the tensors of a rule.
func (c *phm) rule(t *hubTensors, draw tuner.Draw) stack {
	n := c.dim
	make1 := func(name string, shape ...int) stack {
		if !c.learn {
			d := t.buffer(name, draw, shape...)
			rows := len(d.Data) / shape[len(shape)-1]
			return func(t *tape.Tape) *tape.Node { return t.Const(kernel.NewMat(d.Data, rows, shape[len(shape)-1])) }
		}
		p := t.param(name, draw, shape...)
		return func(t *tape.Tape) *tape.Node { return t.Param(p) }
	}
	if !c.factoredRule {
		return make1("phm_rule", n, n, n)
	}
	left, right := make1("phm_rule_left", n, n, 1), make1("phm_rule_right", n, 1, n)
	return func(t *tape.Tape) *tape.Node { return products(t, n, left(t), right(t)) }
}

// products multiplies two stacks of n matrices one by one.
func products(t *tape.Tape, n int, a, b *tape.Node) *tape.Node {
	list := make([]*tape.Node, n)
	for i := range n {
		list[i] = t.MatMul(nth(t, a, i, n), nth(t, b, i, n))
	}
	return t.Stack(list...)
}

// nth is matrix i of a stack of n.
func nth(t *tape.Tape, a *tape.Node, i, n int) *tape.Node {
	h := a.Rows / n
	return t.Part(a, i*h, (i+1)*h, 0, a.Cols)
}

// dense makes the tensors of one map.
func (c *phm) dense(t *hubTensors, name, position string, in, out int, shared *phmShared) dense {
	n := c.dim
	var rule, weight stack
	if shared != nil {
		rule, weight = shared.rule, shared.weight[position]
		t.reads(t.b.common)
	}
	if rule == nil {
		draw := tuner.Normal(0, 0.01)
		if c.ruleInit == "uniform" {
			draw = tuner.Uniform(0.01)
		}
		rule = c.rule(t.below(name), draw)
	}
	if weight == nil {
		weight = c.weight(t, name+".W", in, out)
	}
	add := func(t *tape.Tape, y *tape.Node) *tape.Node { return y }
	if c.bias {
		b := t.param(name+".b", tuner.Zeros, out)
		add = func(t *tape.Tape, y *tape.Node) *tape.Node { return t.AddRow(y, 1, t.Param(b)) }
	}
	return func(t *tape.Tape, x *tape.Node) *tape.Node {
		r, w := rule(t), weight(t)
		sum := t.Kron(nth(t, r, 0, n), nth(t, w, 0, n))
		for i := 1; i < n; i++ {
			sum = t.Add(sum, 1, t.Kron(nth(t, r, i, n), nth(t, w, i, n)))
		}
		return add(t, t.MatMul(x, sum))
	}
}

// glorot is N(0, 2/(in + out)), which the library draws whatever hypercomplex_nonlinearity says.
func glorot(in, out int) tuner.Draw { return tuner.Normal(0, math.Sqrt(2/float64(in+out))) }
