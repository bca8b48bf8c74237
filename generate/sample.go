package generate

import (
	"math"
	"math/rand/v2"
	"slices"
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
	best := float64(logits[argmax(logits)])
	list := make([]candidate, 0, len(logits))
	for id, l := range logits {
		if p := math.Exp((float64(l) - best) / o.Temperature); p > 0 {
			list = append(list, candidate{int32(id), p})
		}
	}
	if len(list) == 0 { // every token was forbidden
		return int32(argmax(logits))
	}
	// Ties keep the order of ids, so that the same seed draws the same tokens everywhere.
	slices.SortStableFunc(list, func(a, b candidate) int {
		switch {
		case a.p > b.p:
			return -1
		case a.p < b.p:
			return 1
		}
		return 0
	})
	if o.TopK > 0 && o.TopK < len(list) {
		list = list[:o.TopK]
	}
	if o.TopP > 0 && o.TopP < 1 {
		list = nucleus(list, o.TopP)
	}
	if o.MinP > 0 {
		n := 0
		for n < len(list) && list[n].p >= o.MinP*list[0].p {
			n++
		}
		list = list[:max(n, 1)]
	}
	u := rng.Float64() * total(list)
	for _, c := range list {
		if u -= c.p; u < 0 {
			return c.id
		}
	}
	return list[len(list)-1].id
}

// nucleus is the smallest run of the most probable candidates that holds the share p of all.
func nucleus(list []candidate, p float64) []candidate {
	left := p * total(list)
	for i, c := range list {
		if left -= c.p; left <= 0 {
			return list[:i+1]
		}
	}
	return list
}

func total(list []candidate) (sum float64) {
	for _, c := range list {
		sum += c.p
	}
	return sum
}

// argmax is the first index of the largest number; NaNs never win.
func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] || x[best] != x[best] {
			best = i
		}
	}
	return best
}
