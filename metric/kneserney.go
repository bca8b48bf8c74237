package metric

import (
	"fmt"
	"math"
)

// References
//
//	[kneser1995] R. Kneser, H. Ney, Improved backing-off for m-gram language modeling
//	[chen1999] S. Chen, J. Goodman, An empirical study of smoothing techniques for language modeling
//	[heafield2013] K. Heafield et al., Scalable modified Kneser-Ney language model estimation

// KneserNey is an n-gram language model with interpolated modified Kneser-Ney smoothing [chen1999]: the baseline that
// a fine-tuned model has to beat. With h the n−1 tokens before w, and h′ all of them but the first,
//
//	p(w|h) = (c(hw) − D(c(hw))) / c(h·) + γ(h)·p(w|h′)
//	γ(h)   = (D₁·N₁(h·) + D₂·N₂(h·) + D₃·N₃₊(h·)) / c(h·)
//
// c counts how often an n-gram occurs; below the highest order, in how many different contexts it does [kneser1995].
// Below single tokens stands the uniform distribution over the vocabulary. Where h was never seen, p(w|h) is p(w|h′).
// What stands before a sequence is n−1 marks that are no tokens.
//
// A model is made with NewKneserNey, filled with Add and used after Finish. Prob and Loss are then safe for concurrent
// use.
type KneserNey struct {
	order, vocab int
	nodes        []node           // [0] is the empty context
	children     map[uint64]int32 // (node, token) to node
	discounts    [][3]float64     // by the length of an n-gram less 1: of counts 1, 2, and 3 or more
	finished     bool
}

// node is an n-gram, and a context of longer ones.
type node struct {
	parent int32
	length int32
	count  int32    // as an n-gram: c(hw); 0 if it is a context only
	total  int64    // as a context: c(h·)
	types  [3]int32 // as a context: N₁, N₂, N₃₊
}

// start is the mark before a sequence.
const start = -1

// NewKneserNey is an empty model.
//
//	order  tokens of an n-gram, at least 1; 5 is usual
//	vocab  tokens are 0 to vocab−1
func NewKneserNey(order, vocab int) (*KneserNey, error) {
	if order < 1 || order > 16 {
		return nil, fmt.Errorf("metric: n-gram model: order is %d, want 1 to 16", order)
	}
	if vocab < 1 || vocab > math.MaxInt32 {
		return nil, fmt.Errorf("metric: n-gram model: vocab_size is %d, want 1 to %d", vocab, math.MaxInt32)
	}
	return &KneserNey{order: order, vocab: vocab, nodes: make([]node, 1), children: map[uint64]int32{}}, nil
}

// Add counts the n-grams of a sequence that end on target tokens.
//
//	ids [T]      tokens
//	weights [T]  above 0 at targets; nil makes targets of all tokens but the first, as a causal model has them
func (m *KneserNey) Add(ids []int32, weights []float32) error {
	if m.finished {
		return fmt.Errorf("metric: n-gram model: Add after Finish")
	}
	if err := m.check(ids, weights); err != nil {
		return err
	}
	gram := make([]int32, m.order)
	for i := range ids {
		if weight(weights, i) > 0 {
			window(gram, ids, i+1)
			if err := m.count(gram); err != nil {
				return err
			}
		}
	}
	return nil
}

// count adds an n-gram of full length. If it is new, so is this context of the n-gram without its first token, which
// counts it, and so on.
func (m *KneserNey) count(gram []int32) error {
	for ; len(gram) > 0; gram = gram[1:] {
		at := int32(0)
		for _, id := range gram {
			at = m.child(at, id)
		}
		n := &m.nodes[at]
		if n.count++; n.count < 0 || len(m.nodes) > math.MaxInt32-m.order {
			return fmt.Errorf("metric: n-gram model: more than %d n-grams", math.MaxInt32)
		}
		if n.count > 1 {
			return nil
		}
	}
	return nil
}

// child finds or makes the node of an n-gram that is one token longer.
func (m *KneserNey) child(at, id int32) int32 {
	key := key(at, id)
	next, known := m.children[key]
	if !known {
		next = int32(len(m.nodes))
		m.nodes = append(m.nodes, node{parent: at, length: m.nodes[at].length + 1})
		m.children[key] = next
	}
	return next
}

func key(at, id int32) uint64 { return uint64(uint32(at))<<32 | uint64(uint32(id)) }

// Finish sums up the contexts and estimates the discounts. The model can then be used, and not be added to.
func (m *KneserNey) Finish() {
	seen := make([][4]int64, m.order) // by length: n-grams of count 1, 2, 3, 4
	for i := 1; i < len(m.nodes); i++ {
		n := &m.nodes[i]
		if n.count == 0 {
			continue
		}
		context := &m.nodes[n.parent]
		context.total += int64(n.count)
		context.types[min(n.count, 3)-1]++
		if n.count <= 4 {
			seen[n.length-1][n.count-1]++
		}
	}
	m.discounts = make([][3]float64, m.order)
	for l := range seen {
		m.discounts[l] = discounts(seen[l])
	}
	m.finished = true
}

// discounts are those of [chen1999] eq. 26, from the numbers of n-grams of count 1 to 4. Where a corpus is too small
// for them they are ½, 1 and 1½, as KenLM's fallback [heafield2013].
func discounts(n [4]int64) [3]float64 {
	fallback := [3]float64{0.5, 1, 1.5}
	var d [3]float64
	y := float64(n[0]) / float64(n[0]+2*n[1])
	for k := range d {
		if n[k] == 0 {
			return fallback
		}
		c := float64(k + 1)
		d[k] = c - (c+1)*y*float64(n[k+1])/float64(n[k])
		if d[k] < 0 || d[k] > c {
			return fallback
		}
	}
	return d
}

// Prob is the probability of a token after the tokens of a sequence. Probabilities of all tokens sum to 1.
//
//	context [T]  all tokens of the sequence so far, from its first; only the last n−1 matter
func (m *KneserNey) Prob(context []int32, token int32) (float64, error) {
	if !m.finished {
		return 0, fmt.Errorf("metric: n-gram model: Prob before Finish")
	}
	if err := m.check([]int32{token}, nil); err != nil {
		return 0, err
	}
	before := make([]int32, m.order-1)
	window(before, context, len(context))
	return m.prob(before, token), nil
}

// prob interpolates from the shortest context to the longest that was seen.
func (m *KneserNey) prob(before []int32, token int32) float64 {
	p := 1 / float64(m.vocab)
	for l := 0; l <= len(before); l++ {
		at, known := m.find(before[len(before)-l:])
		if !known || m.nodes[at].total == 0 {
			return p // nor was any longer one
		}
		context, d := &m.nodes[at], &m.discounts[l]
		total, lower := float64(context.total), 0.0
		for k, types := range context.types {
			lower += d[k] * float64(types)
		}
		p *= lower / total
		if next, known := m.children[key(at, token)]; known && m.nodes[next].count > 0 {
			c := m.nodes[next].count
			p += (float64(c) - d[min(c, 3)-1]) / total
		}
	}
	return p
}

// find is the node of a context.
func (m *KneserNey) find(context []int32) (at int32, known bool) {
	for _, id := range context {
		if at, known = m.children[key(at, id)]; !known {
			return 0, false
		}
	}
	return at, true
}

// Loss is the loss over the target tokens of a sequence, each by its weight.
//
//	ids [T]      tokens
//	weights [T]  0 where a token is no target; nil gives 1 to all tokens but the first
func (m *KneserNey) Loss(ids []int32, weights []float32) (Loss, error) {
	var l Loss
	if !m.finished {
		return l, fmt.Errorf("metric: n-gram model: Loss before Finish")
	}
	if err := m.check(ids, weights); err != nil {
		return l, err
	}
	before := make([]int32, m.order-1)
	for i, id := range ids {
		if w := weight(weights, i); w > 0 {
			window(before, ids, i)
			l.AddWeighted(-math.Log(m.prob(before, id)), w)
		}
	}
	return l, nil
}

// check tokens and weights.
func (m *KneserNey) check(ids []int32, weights []float32) error {
	if weights != nil && len(weights) != len(ids) {
		return fmt.Errorf("metric: n-gram model: %d weights, want %d as tokens", len(weights), len(ids))
	}
	for i, id := range ids {
		if id < 0 || int(id) >= m.vocab {
			return fmt.Errorf("metric: n-gram model: token %d is %d, want 0 to %d", i, id, m.vocab-1)
		}
	}
	return nil
}

// weight of token i.
func weight(weights []float32, i int) float64 {
	if weights == nil {
		return float64(count(i > 0))
	}
	return float64(weights[i])
}

// window fills out with the tokens that end before position end, with marks where there are none.
func window(out, ids []int32, end int) {
	for i := range out {
		out[i] = start
		if at := end - len(out) + i; at >= 0 {
			out[i] = ids[at]
		}
	}
}
