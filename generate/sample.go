package generate

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// Chooser draws the tokens of one sequence. Not safe for concurrent use.
type Chooser struct {
	o   Options
	rng *rand.Rand
}

// NewChooser begins the sequence of an index; of the first prompt, or the only one, it is 0.
func NewChooser(o Options, index int) *Chooser {
	return &Chooser{o, rand.New(rand.NewPCG(o.Seed, uint64(o.first+index)))}
}

// Choose picks the next token from the logits [V], which it changes. The last made tokens of the history are the new ones.
func (c *Chooser) Choose(logits []float32, history []int32, made int) int32 {
	c.o.process(logits, history, made)
	if c.o.Temperature == 0 {
		return int32(argmax(logits))
	}
	return c.o.draw(logits, c.rng)
}

// Ends says that nothing comes after the token id, the last of so many that are new.
func (o Options) Ends(id int32, made int) bool {
	return made >= o.MaxNewTokens || slices.Contains(o.EOS, id)
}

// process changes logits, or log-probabilities, by all that the options say about single tokens.
func (o Options) process(logits []float32, history []int32, made int) {
	o.discourage(logits, history)
	o.forbid(logits, history, made)
	if id := o.ForcedBOS; id != nil && made == 0 {
		force(logits, *id)
	}
	if id := o.ForcedEOS; id != nil && made == o.MaxNewTokens-1 {
		force(logits, *id)
	}
}

var never = float32(math.Inf(-1))

// forbid bans ends of what is not to be said, and the end of a text that is too short.
func (o Options) forbid(logits []float32, history []int32, made int) {
	ban := func(id int32) {
		if int(id) >= 0 && int(id) < len(logits) {
			logits[id] = never
		}
	}
	for _, w := range o.BadWords {
		n := len(w) - 1
		if len(history) >= n && slices.Equal(history[len(history)-n:], w[:n]) {
			ban(w[n])
		}
	}
	if made < o.MinNewTokens {
		for _, id := range o.EOS {
			ban(id)
		}
	}
}

// force leaves one token. An id beyond the vocabulary forces none.
func force(logits []float32, id int32) {
	if id < 0 || int(id) >= len(logits) {
		return
	}
	for i := range logits {
		logits[i] = never
	}
	logits[id] = 0
}

// discourage applies the repetition penalty and the ban of repeated n-grams.
func (o Options) discourage(logits []float32, history []int32) {
	if p := float32(o.RepetitionPenalty); p != 0 && p != 1 {
		seen := map[int32]bool{}
		for _, id := range history {
			if seen[id] || int(id) >= len(logits) {
				continue
			}
			seen[id] = true
			if logits[id] < 0 {
				logits[id] *= p
			} else {
				logits[id] /= p
			}
		}
	}
	if n := o.NoRepeatNgram; n > 0 && len(history) >= n-1 {
		tail := history[len(history)-(n-1):]
		for i := 0; i+n <= len(history); i++ {
			if slices.Equal(history[i:i+n-1], tail) {
				logits[history[i+n-1]] = never
			}
		}
	}
}

// candidate is a token with its probability.
type candidate struct {
	id int32
	p  float64
}

// draw samples after temperature, top-k, top-p and min-p, in this order, as transformers does.
func (o Options) draw(logits []float32, rng *rand.Rand) int32 {
	r := rank(logits, o.Temperature)
	if len(r.rest) == 0 { // every token was forbidden
		return int32(argmax(logits))
	}
	if o.TopK > 0 && o.TopK < len(r.rest) {
		r.keep(func(i int, _ candidate) bool { return i < o.TopK })
	}
	if o.TopP > 0 && o.TopP < 1 {
		left := o.TopP * r.total
		r.keep(func(_ int, c candidate) bool {
			short := left > 0
			left -= c.p
			return short
		})
	}
	if o.MinP > 0 {
		r.keep(func(i int, c candidate) bool { return i == 0 || c.p >= o.MinP*r.list[0].p })
	}
	u := rng.Float64() * r.total
	for i := 0; ; i++ {
		c, ok := r.at(i)
		if !ok {
			return r.list[i-1].id
		}
		if u -= c.p; u < 0 {
			return c.id
		}
	}
}

// ranked are candidates from the most probable on. Only those that were asked for are in order: a draw seldom needs more than a few of a
// vocabulary.
type ranked struct {
	list  []candidate
	rest  ranking
	total float64 // of their probabilities
}

// rank gives tokens their probabilities, relative to that of the best.
func rank(logits []float32, temperature float64) *ranked {
	best := float64(logits[argmax(logits)])
	r := &ranked{rest: make(ranking, 0, len(logits))}
	for id, l := range logits {
		if p := math.Exp((float64(l) - best) / temperature); p > 0 {
			r.rest = append(r.rest, candidate{int32(id), p})
			r.total += p
		}
	}
	heap.Init(&r.rest)
	return r
}

// at is number i, false if there are not so many.
func (r *ranked) at(i int) (c candidate, ok bool) {
	for len(r.list) <= i && len(r.rest) > 0 {
		r.list = append(r.list, heap.Pop(&r.rest).(candidate))
	}
	if i >= len(r.list) {
		return c, false
	}
	return r.list[i], true
}

// keep drops all from the first on that is not wanted.
func (r *ranked) keep(want func(i int, c candidate) bool) {
	n := 0
	for c, ok := r.at(n); ok && want(n, c); c, ok = r.at(n) {
		n++
	}
	r.list, r.rest, r.total = r.list[:n], nil, 0
	for _, c := range r.list {
		r.total += c.p
	}
}

// ranking is a heap of candidates, the most probable first. Ties keep the order of ids, so that the same seed draws the same tokens
// everywhere.
type ranking []candidate

func (r ranking) Len() int           { return len(r) }
func (r ranking) Less(i, j int) bool { return r[i].p > r[j].p || r[i].p == r[j].p && r[i].id < r[j].id }
func (r ranking) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranking) Push(x any)        { *r = append(*r, x.(candidate)) }
func (r *ranking) Pop() any {
	c := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return c
}

// argmax is the first index of the largest number; NaNs never win.
func argmax(x []float32) int {
	if i := slices.Index(x, kernel.Max(x)); i >= 0 {
		return i
	}
	best := 0 // x holds NaN
	for i, v := range x {
		if v > x[best] || x[best] != x[best] {
			best = i
		}
	}
	return best
}
