package train

import (
	"fmt"
	"math"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
)

// OptimizerKind is one row of the table of optimizers.
type OptimizerKind struct {
	Name string
	Doc  string
	new  func(arguments map[string]any) (rule, error)
}

// Optimizers lists the optimizers. Update formulas, argument names and defaults are torch's (Adafactor: Hugging Face's,
// with the settings that its Trainer uses), computed in float32 in the same order of operations.
var Optimizers = []OptimizerKind{
	{"adamw", "Adam with decoupled weight decay [loshchilov2019]: betas, eps, amsgrad", newAdamW},
	{"adam", "Adam [kingma2015], weight decay as an L2 term of the gradient: betas, eps, amsgrad", newAdam},
	{"sgd", "gradient descent: momentum, dampening, nesterov", newSGD},
	{"adafactor", "second moments as row and column means [shazeer2018]: eps, clip_threshold, decay_rate, beta1, scale_parameter, relative_step, warmup_init", newAdafactor},
	{"lion", "sign of an interpolated momentum [chen2023]: betas", newLion},
	{"rmsprop", "alpha, eps, momentum, centered", newRMSProp},
	{"adagrad", "lr_decay, eps, initial_accumulator_value", newAdagrad},
	{"lora_fa", "Adam on B of a LoRA alone, whose gradient is freed of A [zhang2023]: betas, eps, scaling", newLoraFA},
}

// rule is the update formula of an optimizer.
type rule interface {
	// slots are the state buffers that a parameter needs.
	slots(p *Param) []slot
	// elementwise says that update may be given any range of a parameter's elements by itself.
	elementwise() bool
	// update changes elements lo to hi of p.Value. s are the buffers of slots, k counts updates from 1.
	update(p *Param, s [][]float32, lo, hi int, k int, lr, weightDecay float64)
}

// preparer is a rule that looks at the gradients before an update, and leaver one that leaves some parameters as they are.
type (
	preparer interface{ prepare(groups []Group) }
	leaver   interface{ leaves(p *Param) bool }
)

// slot is one state buffer of a parameter.
type slot struct {
	name       string
	rows, cols int
	initial    float32
}

// Optimizer applies updates to groups of parameters. Not safe for concurrent use.
type Optimizer struct {
	groups []Group
	rule   rule
	state  [][]buffer // by group, then parameter
	steps  int
	parts  []part
}

// buffer is the state of one parameter.
type buffer struct {
	slots  []slot
	values [][]float32
}

// part is a piece of an update that a worker does alone: a range of a parameter's elements.
type part struct{ group, param, lo, hi int }

// grain is how many elements one part has. It is fixed so that the pieces do not depend on the number of workers.
const grain = 1 << 14

// NewOptimizer builds the optimizer of that name over the groups, with all state at its start.
func NewOptimizer(name string, groups []Group, arguments map[string]any) (*Optimizer, error) {
	var names []string
	for _, k := range Optimizers {
		if k.Name != name {
			names = append(names, k.Name)
			continue
		}
		b := bounds{what: name}
		for _, g := range groups {
			b.atLeast("learning_rate", g.LearningRate, 0)
			b.atLeast("weight_decay", g.WeightDecay, 0)
		}
		r, err := k.new(arguments)
		if err == nil {
			err = b.err()
		}
		if err != nil {
			return nil, err
		}
		return newOptimizer(groups, r), nil
	}
	return nil, fmt.Errorf("train: optimizer is %q, want %s", name, strings.Join(names, ", "))
}

// StateBytes is what the optimizer of a run remembers of its parameters; 0 where the settings name none.
func StateBytes(c Config, params []Param) (n int64) {
	for _, k := range Optimizers {
		r, err := k.new(c.OptimizerArguments)
		if k.Name != c.Optimizer || err != nil {
			continue
		}
		for i := range params {
			for _, s := range r.slots(&params[i]) {
				n += 4 * int64(s.rows) * int64(s.cols)
			}
		}
	}
	return n
}

func newOptimizer(groups []Group, r rule) *Optimizer {
	o := &Optimizer{groups: groups, rule: r, state: make([][]buffer, len(groups))}
	for i := range groups {
		for j := range groups[i].Params {
			p := &groups[i].Params[j]
			b := buffer{slots: r.slots(p)}
			for _, s := range b.slots {
				v := make([]float32, s.rows*s.cols)
				for k := range v {
					v[k] = s.initial
				}
				b.values = append(b.values, v)
			}
			o.state[i] = append(o.state[i], b)
			if l, ok := r.(leaver); ok && l.leaves(p) {
				continue
			}
			piece := grain
			if !r.elementwise() {
				piece = len(p.Value)
			}
			for lo := 0; lo < len(p.Value); lo += piece {
				o.parts = append(o.parts, part{i, j, lo, min(lo+piece, len(p.Value))})
			}
		}
	}
	return o
}

// Step applies one update to every parameter from its gradient, at factor times each group's learning rate.
// The result does not depend on GOMAXPROCS: elements do not see each other, or one worker does a whole parameter.
func (o *Optimizer) Step(factor float64) {
	o.steps++
	if p, ok := o.rule.(preparer); ok {
		p.prepare(o.groups)
	}
	kernel.Parallel(len(o.parts), func(i int) {
		t := o.parts[i]
		g := &o.groups[t.group]
		o.rule.update(&g.Params[t.param], o.state[t.group][t.param].values, t.lo, t.hi, o.steps, g.LearningRate*factor, g.WeightDecay)
	})
}

// Groups are the groups that the optimizer updates.
func (o *Optimizer) Groups() []Group { return o.groups }

// NumSteps counts the updates so far.
func (o *Optimizer) NumSteps() int { return o.steps }

// StateTensor is one buffer of an optimizer's state: SLOT/PARAMETER, for example "exp_avg/base_model…lora_A.weight".
type StateTensor struct {
	Name       string
	Rows, Cols int
	Values     []float32 // aliases the state
}

// State lists the buffers of the optimizer, in the order of groups, parameters and slots. Together with the number of
// updates (SetSteps) they are all that it remembers.
func (o *Optimizer) State() []StateTensor {
	var list []StateTensor
	for i, g := range o.groups {
		for j, p := range g.Params {
			for k, s := range o.state[i][j].slots {
				list = append(list, StateTensor{s.name + "/" + p.Name, s.rows, s.cols, o.state[i][j].values[k]})
			}
		}
	}
	return list
}

// StateBytes is how much memory the optimizer's state takes.
func (o *Optimizer) StateBytes() (n int64) {
	for _, t := range o.State() {
		n += 4 * int64(len(t.Values))
	}
	return n
}

// SetSteps tells the optimizer how many updates its state has behind it.
func (o *Optimizer) SetSteps(n int) { o.steps = n }

// ZeroGrad sets every gradient to zero.
func (o *Optimizer) ZeroGrad() {
	for _, g := range o.groups {
		for _, p := range g.Params {
			clear(p.Grad)
		}
	}
}

// GradNorm is the Euclidean norm of all gradients together, summed in float64 in a fixed order.
func (o *Optimizer) GradNorm() float64 {
	// Elementwise rules have fixed pieces; the others one piece per parameter: both are independent of the workers.
	sums := make([]float64, len(o.parts))
	kernel.Parallel(len(o.parts), func(i int) {
		t := o.parts[i]
		s := 0.0
		for _, v := range o.groups[t.group].Params[t.param].Grad[t.lo:t.hi] {
			s += float64(v) * float64(v)
		}
		sums[i] = s
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return math.Sqrt(total)
}

// Clip scales all gradients by min(1, maxNorm/(norm+1e-6)), torch's rule, where norm is GradNorm.
func (o *Optimizer) Clip(norm, maxNorm float64) {
	factor := float32(min(1, maxNorm/(norm+1e-6)))
	if factor == 1 {
		return
	}
	kernel.Parallel(len(o.parts), func(i int) {
		t := o.parts[i]
		for j, g := 0, o.groups[t.group].Params[t.param].Grad[t.lo:t.hi]; j < len(g); j++ {
			g[j] *= factor
		}
	})
}
