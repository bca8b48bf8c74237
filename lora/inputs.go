package lora

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"gonum.org/v1/gonum/mat"
)

// EVA are the settings of init_lora_weights "eva" (eva_config).
type EVA struct {
	// Rho bounds the rank of a module by rho·r; ranks go where the inputs vary most, as many as r for each module together. 1 leaves all
	// at r.
	Rho float64 `json:"rho"`
	// Adjust keeps the scale of modules whose rank changes (adjust_scaling_factors).
	Adjust bool `json:"adjust_scaling_factors"`
}

// CorDA are the settings of init_lora_weights "corda" (corda_config).
type CorDA struct {
	// Method is "ipm", the largest directions, which the task needs, or "kpm", the smallest, which leave what the model knows alone.
	Method string `json:"corda_method"`
}

// moments are the first and second moments of what passes into a slot.
type moments struct {
	n    int
	sum  []float64 // [in]
	gram []float64 // [in, in] Σ x·xᵀ
}

// observer notes what passes into a projection.
type observer struct {
	op.Projection
	of *moments
}

// Forward implements op.Projection.
func (o *observer) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	o.of.add(x.Mat)
	return o.Projection.Forward(p, y, x)
}

func (m *moments) add(x kernel.Mat) {
	g := kernel.NewMat(make([]float32, x.Cols*x.Cols), x.Cols, x.Cols)
	kernel.MatMul(g, x, x, kernel.MatMulOpts{TransA: true})
	for i, v := range g.Data {
		m.gram[i] += float64(v)
	}
	for t := range x.Rows {
		for j, v := range x.Row(t) {
			m.sum[j] += float64(v)
		}
	}
	m.n += x.Rows
}

// second is the mean of x·xᵀ.
func (m *moments) second() *mat.SymDense {
	in := len(m.sum)
	s := mat.NewSymDense(in, nil)
	for i := range in {
		for j := i; j < in; j++ {
			s.SetSym(i, j, m.gram[i*in+j]/float64(m.n))
		}
	}
	return s
}

// covariance is that of x.
func (m *moments) covariance() kernel.Mat {
	in := len(m.sum)
	c := kernel.NewMat(make([]float32, in*in), in, in)
	n := float64(m.n)
	for i := range in {
		for j := range in {
			c.Row(i)[j] = float32((m.gram[i*in+j] - m.sum[i]*m.sum[j]/n) / max(1, n-1))
		}
	}
	return c
}

// observed is how many numbers of moments there may be at a time; slots beyond are observed in further rounds over the same samples.
const observed = 1 << 26

// look observes what passes into the slots and hands each one's moments to use.
func (c *Config) look(m layer.Model, slots []*layer.Slot, use func(s *layer.Slot, m *moments) error) error {
	if c.Sample == nil {
		return fmt.Errorf("lora: init_lora_weights %q is computed from what passes through the model, but there are no samples to pass (Config.Sample)", c.Init)
	}
	for len(slots) > 0 {
		n, size := 0, 0
		for n < len(slots) {
			in, _ := slots[n].Dims()
			if size += in * in; n > 0 && size > observed {
				break
			}
			n++
		}
		if err := c.round(m, slots[:n], use); err != nil {
			return err
		}
		slots = slots[n:]
	}
	return nil
}

// round observes some slots at a time.
func (c *Config) round(m layer.Model, slots []*layer.Slot, use func(s *layer.Slot, m *moments) error) error {
	list := make([]*moments, len(slots))
	was := make([]op.Projection, len(slots))
	for i, s := range slots {
		in, _ := s.Dims()
		list[i], was[i] = &moments{sum: make([]float64, in), gram: make([]float64, in*in)}, s.Projection
		s.Projection = &observer{was[i], list[i]}
	}
	err := c.Sample(m)
	for i, s := range slots {
		s.Projection = was[i]
	}
	if err != nil {
		return fmt.Errorf("lora: init_lora_weights %q: %w", c.Init, err)
	}
	for i, s := range slots {
		if list[i].n < 2 {
			return fmt.Errorf("lora: init_lora_weights %q: %d rows of the samples pass through %q, want more", c.Init, list[i].n, s.Name)
		}
		if slices.ContainsFunc(list[i].gram, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
			return fmt.Errorf("lora: init_lora_weights %q: what passes into %q is not finite", c.Init, s.Name)
		}
		if err := use(s, list[i]); err != nil {
			return fmt.Errorf("%w (%s)", err, s.Name)
		}
	}
	return nil
}

// Looks says that the initialiser is computed from what passes through the model, so that Sample is needed.
func (c *Config) Looks() bool {
	init, _, err := c.initialiser()
	return err == nil && init.looks != nil && !c.FromFile
}

// prepare computes from samples what the initialiser needs, and settles the ranks.
func (c *Config) prepare(m layer.Model, plan []branch) ([]branch, error) {
	init, _, err := c.initialiser()
	if err != nil || init.looks == nil || c.FromFile {
		return plan, err
	}
	var slots []*layer.Slot
	of := map[*layer.Slot]*branch{}
	for i := range plan {
		if plan[i].slot.Kind != layer.Embedding {
			slots = append(slots, plan[i].slot)
			of[plan[i].slot] = &plan[i]
		}
	}
	if err := c.look(m, slots, func(s *layer.Slot, m *moments) error { return init.looks(c, of[s], m) }); err != nil {
		return nil, err
	}
	if init.ranks == nil {
		return plan, nil
	}
	return init.ranks(c, plan)
}

// evaLooks finds the directions in which the inputs vary most [paischer2024]: A begins as the first r of them, B as zero.
//
// References: [paischer2024] One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation, arXiv 2410.07170.
func evaLooks(c *Config, b *branch, m *moments) error {
	in, _ := b.slot.Dims()
	n := min(in, max(b.rank, int(math.Round(c.EVA.Rho*float64(b.rank)))))
	if b.rank > in {
		return fmt.Errorf("lora: init_lora_weights \"eva\" with r %d for %d inputs, want at most as many", b.rank, in)
	}
	cov := m.covariance()
	f, err := linalg.Largest(cov, n, randOf(in))
	if err != nil {
		return err
	}
	total := 0.0
	for i := range in {
		total += float64(cov.Row(i)[i])
	}
	if total <= 0 {
		return errors.New("lora: init_lora_weights \"eva\": the inputs do not vary")
	}
	b.known = &linalg.SVD{S: slices.Clone(f.S[:n]), V: f.V.Slice(0, in, 0, n).(*mat.Dense)}
	for k := range b.known.S {
		b.known.S[k] /= total // explained variance
	}
	return nil
}

// evaRanks gives the ranks to the directions that explain most, over all modules. Modules without any are no targets.
func evaRanks(c *Config, plan []branch) ([]branch, error) {
	if c.EVA.Rho == 1 {
		return plan, nil
	}
	if c.RankPattern != nil {
		return nil, errors.New("lora: rank_pattern is set, and eva_config rho settles ranks, too; want rho 1 or no pattern")
	}
	type direction struct {
		of    int
		ratio float64
	}
	var all []direction
	budget := 0
	for i, b := range plan {
		if b.known == nil {
			continue
		}
		budget += b.rank
		for _, ratio := range b.known.S {
			all = append(all, direction{i, ratio})
		}
	}
	slices.SortStableFunc(all, func(a, b direction) int {
		switch {
		case a.ratio > b.ratio:
			return -1
		case a.ratio < b.ratio:
			return 1
		}
		return 0
	})
	ranks := make([]int, len(plan))
	for _, d := range all[:min(budget, len(all))] {
		ranks[d.of]++
	}
	return c.settle(plan, ranks), nil
}

// settle writes new ranks into plan and settings.
func (c *Config) settle(plan []branch, ranks []int) (kept []branch) {
	var names []string
	for i, b := range plan {
		switch {
		case b.known == nil:
		case ranks[i] == 0:
			continue
		case ranks[i] != b.rank:
			if c.EVA.Adjust {
				f := float64(ranks[i]) / float64(b.rank)
				if c.UseRSLoRA {
					f = math.Sqrt(f)
				}
				b.alpha *= f
				c.AlphaPattern = append(c.AlphaPattern, peft.NewEntry(b.slot.Name, b.alpha))
			}
			b.rank = ranks[i]
			c.RankPattern = append(c.RankPattern, peft.NewEntry(b.slot.Name, float64(b.rank)))
		}
		names = append(names, b.slot.Name)
		kept = append(kept, b)
	}
	if len(kept) < len(plan) {
		c.TargetModules = peft.Names{List: names}
	}
	return kept
}

// eva is A of the first directions; B stays zero.
func eva(d *draft) error {
	if d.known == nil { // a file has the numbers
		return kaiming(d)
	}
	for k := range d.a.Rows {
		for j := range d.a.Cols {
			d.a.Row(k)[j] = float32(d.known.V.At(j, k))
		}
	}
	return nil
}

// cordaLooks decomposes the weight as the inputs see it [yang2024]: with C the mean of x·xᵀ and W·C = U·S·Vᵀ, W = U·S·(C⁻¹·V)ᵀ.
//
// References: [yang2024] CorDA: Context-Oriented Decomposition Adaptation of Large Language Models, arXiv 2406.05223.
func cordaLooks(c *Config, b *branch, m *moments) error {
	w := weightOf(b.slot.Base)
	if most := min(w.Rows, w.Cols); b.rank > most {
		return fmt.Errorf("lora: init_lora_weights \"corda\" with r %d for a weight [%d, %d], want at most %d", b.rank, w.Rows, w.Cols, most)
	}
	second := m.second()
	mean := mat.Trace(second) / float64(w.Cols)
	var chol mat.Cholesky
	for damp := 0.01; ; damp *= 2 { // until the inverse is sound
		for i := range w.Cols {
			second.SetSym(i, i, second.At(i, i)+damp*mean)
		}
		if chol.Factorize(second) {
			break
		}
		if damp > 1e6 {
			return errors.New("lora: init_lora_weights \"corda\": the inputs are all zero")
		}
	}
	var product mat.Dense
	product.Mul(linalg.Dense(w), second)
	f, err := c.cordaFactors(&product, b.rank)
	if err != nil {
		return err
	}
	var v mat.Dense
	if err := chol.SolveTo(&v, f.V); err != nil {
		var ill mat.Condition
		if !errors.As(err, &ill) {
			return fmt.Errorf("lora: init_lora_weights \"corda\": %w", err)
		}
	}
	f.V = &v
	b.known = &f
	return nil
}

// cordaFactors are r directions: the largest, or the smallest.
func (c *Config) cordaFactors(m *mat.Dense, r int) (linalg.SVD, error) {
	if c.CorDA.Method == "ipm" {
		f, err := linalg.Largest(linalg.Mat(m), r, randOf(r))
		return directions(f, 0, r), err
	}
	f, err := linalg.Thin(m)
	return directions(f, len(f.S)-r, len(f.S)), err
}

// directions are those from lo to hi.
func directions(f linalg.SVD, lo, hi int) linalg.SVD {
	if f.U == nil {
		return f
	}
	rows, _ := f.U.Dims()
	cols, _ := f.V.Dims()
	return linalg.SVD{U: f.U.Slice(0, rows, lo, hi).(*mat.Dense), S: f.S[lo:hi], V: f.V.Slice(0, cols, lo, hi).(*mat.Dense)}
}

// corda takes the directions out of the base:
//
//	A = √(S/scale)·(C⁻¹·V)ᵀ   B = U·√(S/scale)
func corda(d *draft) error {
	if !(d.scale > 0) {
		return fmt.Errorf("lora: init_lora_weights \"corda\" with the scale %g, want lora_alpha above 0", d.scale)
	}
	d.take(*d.known)
	return nil
}
