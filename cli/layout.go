package cli

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/ag"
)

const (
	// activationBytes is what one forward pass for training may keep where the recipe says nothing: rows beyond what fills a product do
	// not make it faster.
	activationBytes = 1_200_000_000
	// processBytes is what the program itself takes.
	processBytes = 64 << 20
	fewestTokens = 512 // of a micro-batch where the recipe leaves it open and memory allows
	mostTokens   = 4096
)

// cost is what a pass for training keeps, in bytes a token: in float32 the values that one operator hands to the next and the backward
// pass looks at, and in one block their gradients and what is made again; attended are the results of attention alone.
type cost struct{ kept, recomputed, attended int64 }

func (p *plan) cost() cost {
	c := p.base.model.Config
	block := int64(2*c.HiddenSize + 2*(c.NumAttentionHeads+c.NumKeyValueHeads)*c.HeadDim + 2*c.IntermediateSize) // two halves of a gate
	if l := p.base.model.Layers()[0]; l.AttentionNorms.After != nil {
		block += 2 * int64(c.HiddenSize) // the norms are the stream
	}
	work := int64(8*c.HiddenSize + 3*c.IntermediateSize)
	layers := int64(c.NumHiddenLayers)
	return cost{kept: 4 * (layers*block + work), recomputed: 4 * (layers*int64(c.HiddenSize) + block + work),
		attended: 4 * layers * int64(c.NumAttentionHeads*(c.HeadDim+1))}
}

// of is the cost of a token.
func (c cost) of(recompute bool) int64 {
	if recompute {
		return c.recomputed
	}
	return c.kept
}

// layOut settles how the rows of a step pass through the model: how many at once, and whether blocks are computed again in the backward
// pass (train.gradient_checkpointing), with their attention or without, so that train.memory suffices.
func (p *plan) layOut() error {
	t := &p.recipe.Train
	c, longest := p.cost(), int64(p.train.Stats().Longest)
	allowed, limit, err := p.allowance()
	if err != nil {
		return err
	}
	able := p.base.model.Recomputes()
	if t.Checkpointing == "true" && !able {
		return usagef("train.gradient_checkpointing is true: the layers of a %s share a table of distances or a source, so that they cannot be computed again one by one", p.base.model.ModelType())
	}
	rows := func(recompute bool) int64 {
		if t.MicroTokens > 0 {
			return max(int64(t.MicroTokens), longest)
		}
		n := allowed / c.of(recompute) / 128 * 128
		return max(min(max(n, p.fewest()), mostTokens), longest)
	}
	p.recompute = able && (t.Checkpointing == "true" || t.Checkpointing == "auto" && rows(false)*c.kept > limit)
	n := rows(p.recompute)
	if need := n * c.of(p.recompute); t.Memory != "auto" && need > limit {
		return usagef("train.memory is %s: a pass over %d tokens takes about %s beside the %s of parameters and program; shorten data.sequence_len%s",
			t.Memory, n, bytesText(need), bytesText(p.fixedBytes()), map[bool]string{true: " or set train.gradient_checkpointing = true"}[able && !p.recompute])
	}
	room := limit
	if t.Checkpointing == "true" { // who asks for it wants little memory
		room = allowed
	}
	p.attended = p.recompute && n*(c.recomputed+c.attended) <= room
	if t.MicroTokens == 0 {
		t.MicroTokens = int(max(min(n, mostTokens), 1))
	}
	return nil
}

// shares says that what texts of a micro-batch begin with is computed once: where that changes nothing but the order of sums. Dropout
// and noise differ from text to text.
func (p *plan) shares() bool {
	t := p.recipe.Train
	if !t.SharePrefixes || t.NEFTuneAlpha > 0 || p.task.Head != model.NextToken || !p.base.model.Shares() {
		return false
	}
	c, ok := p.config.(*lora.Config)
	return p.config == nil || ok && c.Dropout == 0
}

// fewest is the least number of rows of a pass that the program chooses itself.
func (p *plan) fewest() int64 {
	if p.recipe.Train.Memory == "auto" {
		return fewestTokens
	}
	return 128
}

// allowance is what activations should stay below, and what they must.
func (p *plan) allowance() (allowed, limit int64, err error) {
	if m := p.recipe.Train.Memory; m != "auto" {
		n, err := parseSize("train.memory", m)
		if err != nil {
			return 0, 0, err
		}
		if n -= p.fixedBytes(); n <= 0 {
			return 0, 0, usagef("train.memory is %s, want more than the %s that parameters and program take", m, bytesText(p.fixedBytes()))
		}
		return n, n, nil
	}
	limit = math.MaxInt64
	if total := meminfo.Total(); total > 0 {
		limit = max(total*6/10-p.fixedBytes(), 0)
	}
	return min(activationBytes, limit), limit, nil
}

// fixedBytes is what a run takes whatever its rows are: trained numbers with their gradients, what the optimizer remembers, logits, the
// program.
func (p *plan) fixedBytes() int64 {
	n := int64(processBytes)
	if h := p.task.Head; h == model.NextToken || h == model.TargetToken || h == model.MaskedToken {
		n += min(op.ChunkBytes(p.base.config.VocabSize), 4*p.fewest()*int64(p.base.config.VocabSize))
	}
	for _, q := range p.params {
		n += 4 * int64(len(q.Value))
	}
	return n + p.trainedBytes()
}

// trainedBytes are those of the gradients and of what the optimizer remembers.
func (p *plan) trainedBytes() (n int64) {
	for _, q := range p.params {
		n += 4 * int64(len(q.Grad))
	}
	return n + train.StateBytes(p.settings(), p.params)
}

// keepWithin gives back what preparing left behind and makes the garbage collector keep to train.memory.
func (p *plan) keepWithin() {
	keepLittle()
	if n, err := parseSize("train.memory", p.recipe.Train.Memory); err == nil {
		debug.SetMemoryLimit(n)
	}
}

// keepLittle gives back garbage and has the collector keep pace.
func keepLittle() {
	debug.FreeOSMemory()
	pace()
}

// garbage is how much may lie around before it is collected: that of several steps, whose buffers are used again.
const garbage = 16 << 20

// pace has the garbage collector look when there is about so much garbage; by itself it looks when there is a share of what is in use,
// which is much beside a large arena. It returns how much may come before it looks.
func pace() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetGCPercent(int(min(max(100*garbage/m.HeapAlloc, 1), 20)))
	runtime.ReadMemStats(&m)
	return max(int64(m.NextGC)-int64(m.HeapAlloc), 0)
}

// paced is report that also keeps the garbage collector's pace, as the arena grows in the first steps.
func paced(report func(train.Event)) func(train.Event) {
	steps := 0
	return func(e train.Event) {
		if e.Kind == train.Stepped {
			if steps++; steps&(steps-1) == 0 { // 1, 2, 4, 8 …
				pace()
			}
		}
		report(e)
	}
}

// trialWork is how many multiply-adds the trials of a forecast may cost: a few seconds.
const trialWork = 6e11

// trialSteps are enough for what is laid out otherwise in small batches.
const trialSteps = 4

// memory predicts the largest anonymous memory of a run: it passes through the largest micro-batch of an epoch, and through those of the
// first steps as far as that is affordable, forward and backward, and sees what is held then. Where not even one is affordable it takes two with fewer rows, and goes on in a straight line.
func (p *plan) memory() (int64, error) {
	p.keepWithin()
	weights := p.passedWeights() / float64(max(1, p.train.Stats().Tokens))
	rows := int(trialWork / max(1, 4*weights)) // forward and backward
	largest := p.stream.Largest()
	seen := largest.NumRows()
	arena := op.NewArena()
	if rows < seen {
		return p.extrapolated(arena, max(rows, 32), seen)
	}
	if err := p.try(arena, largest); err != nil {
		return 0, err
	}
	begin := p.stream.Position()
	defer p.stream.Seek(begin)
	for n := 0; n < trialSteps && seen < rows; n++ {
		step, err := p.stream.Next()
		if err != nil {
			return 0, err
		}
		for _, b := range step.Batches {
			if err := p.try(arena, b); err != nil {
				return 0, err
			}
			seen += b.NumRows()
		}
	}
	held := meminfo.Read().Anonymous + pace()
	runtime.KeepAlive(arena)
	return held + train.StateBytes(p.settings(), p.params), nil
}

// extrapolated is memory by two passes, of about so many rows and of half as many.
func (p *plan) extrapolated(arena *op.Arena, rows, largest int) (int64, error) {
	half := op.NewArena()
	small, err := p.some(half, rows/2)
	if err != nil {
		return 0, err
	}
	large, err := p.some(arena, rows)
	if err != nil {
		return 0, err
	}
	held := meminfo.Read().Anonymous - half.HeldBytes() + pace() + train.StateBytes(p.settings(), p.params)
	runtime.KeepAlive(arena)
	if large <= small {
		return held, nil
	}
	// Gaps between buffers, which are held, too, do not grow with the rows as what is used does.
	more := float64(arena.PeakBytes()-half.PeakBytes()) / float64(large-small)
	return held + int64(more*float64(largest-large)), nil
}

// some passes through about so many rows of the training data, and tells how many they were. Of a longer text it takes what fits.
func (p *plan) some(arena *op.Arena, rows int) (int, error) {
	if p.task.Head == model.NextToken && len(p.train) > 0 && len(p.train[0].IDs) > rows {
		b := data.Set{p.train[0].Head(rows)}.Batch([]int32{0})
		return b.NumRows(), p.try(arena, b)
	}
	var picked []int32
	for i, n := 0, 0; i < len(p.train) && (n == 0 || n+p.train[i].Rows() <= rows); i++ {
		picked, n = append(picked, int32(i)), n+p.train[i].Rows()
	}
	b := p.train.Batch(picked)
	return b.NumRows(), p.try(arena, b)
}

// try does forward and backward pass of a batch. It leaves no gradients.
func (p *plan) try(arena *op.Arena, b *data.Batch) error {
	pass := &op.Pass{Segments: b.Segments, Positions: b.Positions, Mode: p.base.mode, Arena: arena, Grad: true, Train: true, Recompute: p.recompute, KeepAttention: p.attended}
	o := p.job().Objective
	loss, _, err := o.Loss(pass, b, 1/o.Weight(b), train.LossOptions{})
	if err == nil {
		err = ag.Backward(loss)
	}
	arena.Reset()
	for _, q := range p.params {
		clear(q.Grad)
	}
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}
