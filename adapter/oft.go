package adapter

import (
	"errors"
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// OFT rotates the inputs of a projection, block by block [qiu2023]:
//
//	y = base(x·diag(R₁, …, R_r))     R = (I − Q)·(I + Q)⁻¹, Q = −Qᵀ [b, b], r·b = in
//
// The file has the upper triangles of the Q. use_cayley_neumann takes the first terms of the inverse's series [qiu2025]:
// R ≈ I + 2Q + 2Q² + … + Q^k. Q starts at zero.
//
// References: [qiu2023] Controlling Text-to-Image Diffusion by Orthogonal Finetuning, arXiv 2306.07280; [qiu2025] Orthogonal
// Finetuning Made Scalable, arXiv 2506.19847.
var OFT = (&tuner.Kind{Type: "OFT", Name: "oft",
	New: func() tuner.Options { return &oft{block: 32, eps: 6e-5, neumann: true, terms: 5, init: true} },
	Defaults: peft.Object{"bias": "none", "block_share": false, "coft": false, "eps": 6e-05, "exclude_modules": nil, "fan_in_fan_out": false,
		"init_weights": true, "layers_pattern": nil, "layers_to_transform": nil, "module_dropout": 0.0, "modules_to_save": nil,
		"num_cayley_neumann_terms": 5, "oft_block_size": 32, "r": 0, "target_modules": nil, "use_cayley_neumann": true}}).Method()

type oft struct {
	r, block, terms            int
	eps, dropout               float64
	coft, share, neumann, init bool
}

func (o *oft) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Max: maxSize}, {Key: "oft_block_size", To: &o.block, Max: maxSize}, {Key: "eps", To: &o.eps},
		{Key: "module_dropout", To: &o.dropout, Max: 0.999}, {Key: "coft", To: &o.coft}, {Key: "block_share", To: &o.share},
		{Key: "use_cayley_neumann", To: &o.neumann}, {Key: "num_cayley_neumann_terms", To: &o.terms, Min: 1, Max: 100}, {Key: "init_weights", To: &o.init}}
}

// maxSize keeps hostile sizes from overflowing products.
const maxSize = 1 << 20

func (o *oft) Check() error {
	if (o.r == 0) == (o.block == 0) {
		return fmt.Errorf("oft: r is %d and oft_block_size is %d, want exactly one of them above 0", o.r, o.block)
	}
	return nil
}

// CheckTraining reports dropout.
func (o *oft) CheckTraining() error {
	if o.dropout != 0 {
		return errors.New("oft: module_dropout is not 0: it is not built for training")
	}
	return nil
}

// sizes are the number of blocks and their size; what does not divide the inputs gives way to the nearest that does.
func (o *oft) sizes(in int) (r, block int) {
	if o.r == 0 {
		block = nearestDivisor(in, o.block)
		return in / block, block
	}
	r = nearestDivisor(in, o.r)
	return r, in / r
}

// nearestDivisor of n to k, the smaller of two.
func nearestDivisor(n, k int) int {
	if k >= n {
		return n
	}
	lo, hi := k, k
	for n%lo != 0 {
		lo--
	}
	for n%hi != 0 {
		hi++
	}
	if k-lo <= hi-k {
		return lo
	}
	return hi
}

func (o *oft) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r, b := o.sizes(s.In)
	if b < 2 {
		return nil, fmt.Errorf("its %d inputs make blocks of 1, want blocks of 2 or more", s.In)
	}
	if o.share {
		r = 1
	}
	start := tuner.Zeros
	if !o.init {
		start = tuner.Normal(0, 0.1)
	}
	w := s.Param("oft_R.weight", start, r, b*(b-1)/2)
	from, sign := skew(r, b)
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		q := c.Signed(o.triangles(c, w), r*b, b, from, sign)
		return base(c.BlockMul(x, o.rotation(c, q, r, b)))
	}}, nil
}

// rotation makes R of Q.
func (o *oft) rotation(c *tuner.Call, q *tape.Node, r, b int) *tape.Node {
	if !o.neumann {
		return cayley(c, q, r, b)
	}
	sum, power := c.Eye(r, b), q
	for k := 1; k < o.terms; k++ {
		if k > 1 {
			power = c.StackMul(power, q)
		}
		factor := float32(2)
		if k == o.terms-1 && k > 1 { // the last one counts once, as in PEFT
			factor = 1
		}
		sum = c.Add(sum, factor, power)
	}
	return sum
}

// cayley is (I − Q)·(I + Q)⁻¹ of a stack.
func cayley(c *tuner.Call, q *tape.Node, blocks, n int) *tape.Node {
	one := c.Eye(blocks, n)
	return c.StackMul(c.Add(one, -1, q), c.Inverse(c.Add(one, 1, q)))
}

// skew lists where the elements of a stack of skew-symmetric matrices come from.
func skew(blocks, n int) (from []int, sign []float32) {
	from, sign = make([]int, blocks*n*n), make([]float32, blocks*n*n)
	k := 0
	for b := range blocks {
		at := func(i, j int) int { return (b*n+i)*n + j }
		for i := range n {
			from[at(i, i)] = -1
			for j := i + 1; j < n; j++ {
				from[at(i, j)], sign[at(i, j)] = k, 1
				from[at(j, i)], sign[at(j, i)] = k, -1
				k++
			}
		}
	}
	return from, sign
}

// triangles are the parameters, with coft drawn back to where ‖Q‖ ≤ eps/√r. As in PEFT the gradient takes no notice of that,
// and training goes on from there.
func (o *oft) triangles(c *tuner.Call, w *nn.Param) *tape.Node {
	if !o.coft {
		return c.Param(w)
	}
	m := op.Of(w).View()
	radius := o.eps / math.Sqrt(float64(m.Rows))
	project := func(y kernel.Mat) {
		for i := range m.Rows {
			copy(y.Row(i), m.Row(i))
			if n := math.Sqrt(2 * kernel.SumSquares(m.Row(i))); n > radius { // each element is in Q twice
				kernel.Scale(y.Row(i), float32(radius/n))
			}
		}
	}
	if c.Training() {
		project(m)
	}
	p := c.Param(w)
	return c.Op(m.Rows, m.Cols, project, func(dy kernel.Mat) { tape.AddTo(p.Grad(), dy) }, p)
}
