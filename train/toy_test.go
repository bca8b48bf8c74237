package train

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// bigram is the smallest model that has all a run needs: the logits of the token after t are B·A[t].
//
//	A [vocab, r]    B [vocab, r]
//
// With p.Train its hidden values are scaled by noise drawn from p.Seed, which stands for dropout.
type bigram struct {
	a, b  *nn.Param
	vocab int
	rank  int
	noise float64
	// poison, if it returns true, makes a loss or a gradient NaN.
	poisonLoss, poisonGrad func() bool
}

func newBigram(vocab, rank int) *bigram {
	rng := rand.New(rand.NewPCG(3, 5))
	random := func() []float32 {
		v := make([]float32, vocab*rank)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	return &bigram{a: op.NewParam(random(), vocab, rank), b: op.NewParam(random(), vocab, rank), vocab: vocab, rank: rank, noise: 0.3}
}

func (m *bigram) params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		_ = yield("layer.lora_A.weight", m.a) && yield("layer.lora_B.weight", m.b)
	}
}

// Weight implements Objective.
func (m *bigram) Weight(b *data.Batch) float64 {
	w := 0.0
	for t, target := range b.Targets {
		if target == data.NoTarget {
			continue
		}
		w += weightOf(b, t)
	}
	return w
}

func weightOf(b *data.Batch, t int) float64 {
	if b.Weights == nil {
		return 1
	}
	return float64(b.Weights[t])
}

// Loss implements Objective.
func (m *bigram) Loss(p *op.Pass, b *data.Batch, scale float64, o LossOptions) (mat.Tensor, Sums, error) {
	f := &bigramLoss{model: m, pass: p, batch: b, scale: scale}
	node := ag.NewOperator(f).Run()
	if m.poisonLoss != nil && p.Train && m.poisonLoss() {
		f.sums.Loss = math.NaN()
	}
	return node, f.sums, nil
}

type bigramLoss struct {
	model  *bigram
	pass   *op.Pass
	batch  *data.Batch
	scale  float64
	sums   Sums
	rows   []int
	factor []float64
	delta  [][]float64 // ∂(Σ weight·loss)/∂logits of rows
}

func (f *bigramLoss) Operands() []mat.Tensor { return []mat.Tensor{f.model.a, f.model.b} }

// Forward computes Σ scale·weight·(log Σ exp logits - logits[target]).
func (f *bigramLoss) Forward() (mat.Tensor, error) {
	m, rng := f.model, rand.New(rand.NewPCG(f.pass.Seed, 0))
	a, b := op.Data(m.a), op.Data(m.b)
	for t, target := range f.batch.Targets {
		if target == data.NoTarget {
			continue
		}
		factor := 1.0
		if f.pass.Train {
			factor += m.noise * (rng.Float64() - 0.5)
		}
		logits, sum, best := make([]float64, m.vocab), 0.0, 0
		for v := range logits {
			for k := range m.rank {
				logits[v] += factor * float64(a[int(f.batch.Tokens[t])*m.rank+k]) * float64(b[v*m.rank+k])
			}
			sum += math.Exp(logits[v])
			if logits[v] > logits[best] {
				best = v
			}
		}
		w := weightOf(f.batch, t)
		f.sums.Loss += w * (math.Log(sum) - logits[target])
		f.sums.Weight += w
		f.sums.Targets++
		if best == int(target) {
			f.sums.Correct++
		}
		for v := range logits {
			logits[v] = w * math.Exp(logits[v]) / sum
		}
		logits[target] -= w
		f.rows, f.factor, f.delta = append(f.rows, t), append(f.factor, factor), append(f.delta, logits)
	}
	return mat.Scalar(float32(f.scale * f.sums.Loss)), nil
}

// Backward adds scale·delta through logits = factor·B·A[token].
func (f *bigramLoss) Backward(mat.Tensor) error {
	m := f.model
	a, b, da, db := op.Data(m.a), op.Data(m.b), op.GradOf(m.a), op.GradOf(m.b)
	for i, t := range f.rows {
		token := int(f.batch.Tokens[t])
		for v, d := range f.delta[i] {
			for k := range m.rank {
				s := f.scale * f.factor[i] * d
				da[token*m.rank+k] += float32(s * float64(b[v*m.rank+k]))
				db[v*m.rank+k] += float32(s * float64(a[token*m.rank+k]))
			}
		}
	}
	if m.poisonGrad != nil && m.poisonGrad() {
		da[1] = float32(math.Inf(1))
	}
	return nil
}

// sequences is a source of toy sentences: each epoch visits all in an order drawn from the epoch's number, batch
// sequences to a step, cut into micro-batches of micro.
type sequences struct {
	rows         [][]int32
	batch, micro int
	at           Position
}

// newSequences draws n sentences over an alphabet in which a token is mostly followed by the next one.
func newSequences(n, vocab, batch, micro int) *sequences {
	rng := rand.New(rand.NewPCG(7, 11))
	s := &sequences{batch: batch, micro: micro}
	for range n {
		row := []int32{int32(rng.IntN(vocab))}
		for range 2 + rng.IntN(6) {
			next := (row[len(row)-1] + 1) % int32(vocab)
			if rng.IntN(10) == 0 {
				next = int32(rng.IntN(vocab))
			}
			row = append(row, next)
		}
		s.rows = append(s.rows, row)
	}
	return s
}

func (s *sequences) Position() Position { return s.at }

func (s *sequences) Seek(p Position) error {
	if p.Index < 0 || p.Index >= len(s.rows) {
		return fmt.Errorf("toy: position %d, want below %d", p.Index, len(s.rows))
	}
	s.at = p
	return nil
}

func (s *sequences) Next() (Step, error) {
	order := rand.New(rand.NewPCG(uint64(s.at.Epoch), 1)).Perm(len(s.rows))
	end := min(s.at.Index+s.batch, len(s.rows))
	var step Step
	for i := s.at.Index; i < end; i += s.micro {
		var rows [][]int32
		for _, k := range order[i:min(i+s.micro, end)] {
			rows = append(rows, s.rows[k])
		}
		step.Batches = append(step.Batches, pack(rows))
	}
	if s.at.Index = end; end == len(s.rows) {
		s.at = Position{Epoch: s.at.Epoch + 1}
	}
	step.Epoch = float64(s.at.Epoch) + float64(s.at.Index)/float64(len(s.rows))
	return step, nil
}

// eval yields all sentences, four to a batch.
func (s *sequences) eval() iter.Seq2[*data.Batch, error] {
	return func(yield func(*data.Batch, error) bool) {
		for i := 0; i < len(s.rows); i += 4 {
			if !yield(pack(s.rows[i:min(i+4, len(s.rows))]), nil) {
				return
			}
		}
	}
}

// pack lays sentences end to end; the first target of each has half the weight.
func pack(rows [][]int32) *data.Batch {
	b := &data.Batch{}
	for _, row := range rows {
		start := len(b.Tokens)
		for i, token := range row {
			target, weight := int32(data.NoTarget), float32(1)
			if i+1 < len(row) {
				target = row[i+1]
			}
			if i == 0 {
				weight = 0.5
			}
			b.Tokens, b.Positions = append(b.Tokens, token), append(b.Positions, int32(i))
			b.Targets, b.Weights = append(b.Targets, target), append(b.Weights, weight)
		}
		b.Segments = append(b.Segments, data.Segment{Start: start, End: len(b.Tokens)})
	}
	return b
}

// toyJob is a run of the toy model: 23 sentences, 8 to a step, 24 steps.
func toyJob(m *bigram) Job {
	return Job{
		Config: Config{
			Steps: 24, LearningRate: 0.05, WeightDecay: 0.01, WarmupSteps: 3, MaxGradNorm: 1, Seed: 9,
			LoggingSteps: 5, EvalSteps: 4, SaveSteps: 6,
		},
		Params: NewParams(m.params()), Objective: m, Source: newSequences(23, 13, 8, 3), Eval: newSequences(9, 13, 1, 1).eval(),
	}
}

// values copies the parameters.
func (m *bigram) values() []float32 {
	return append(append([]float32(nil), op.Data(m.a)...), op.Data(m.b)...)
}

func TestToyModelGradient(t *testing.T) {
	m := newBigram(7, 3)
	b := pack(newSequences(5, 7, 1, 1).rows)
	pass := func() *op.Pass { return &op.Pass{Grad: true, Train: true, Seed: 4} }
	node, _, _ := m.Loss(pass(), b, 0.5, LossOptions{})
	if err := ag.Backward(node); err != nil {
		t.Fatal(err)
	}
	loss := func() float64 {
		_, s, _ := m.Loss(pass(), b, 0.5, LossOptions{})
		return 0.5 * s.Loss
	}
	for _, p := range []*nn.Param{m.a, m.b} {
		for i, x := range op.Data(p) {
			const h = 1e-2 // float32 parameters: smaller steps lose digits
			op.Data(p)[i] = x + h
			up := loss()
			op.Data(p)[i] = x - h
			down := loss()
			op.Data(p)[i] = x
			if got, want := float64(op.GradOf(p)[i]), (up-down)/(2*h); math.Abs(got-want) > 1e-3*(1+math.Abs(want)) {
				t.Errorf("gradient [%d] = %g, want %g", i, got, want)
			}
		}
	}
}
