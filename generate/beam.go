package generate

import (
	"context"
	"math"
	"slices"
)

// Hypothesis is a way to continue a prompt.
type Hypothesis struct {
	IDs   []int32
	Score float64 // sum of log-probabilities / length^LengthPenalty
	sum   float64
}

// Beams continues one prompt by beam search and returns the NumBeams best ways, best first.
func Beams(ctx context.Context, s Session, prompt []int32, o Options) ([]Hypothesis, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if len(prompt) == 0 {
		return nil, errNoPrompt(0)
	}
	list, err := beam(ctx, s, prompt, o)
	return list[:min(len(list), max(o.NumBeams, 1))], err
}

// beams continues every prompt by beam search, one prompt after the other.
func beams(ctx context.Context, s Session, prompts [][]int32, o Options, emit Emit) ([][]int32, error) {
	out := make([][]int32, len(prompts))
	for i, p := range prompts {
		best, err := beam(ctx, s, p, o)
		if err != nil {
			return out, err
		}
		out[i] = best[0].IDs
		for _, id := range best[0].IDs {
			if !emit(i, id) {
				break
			}
		}
	}
	return out, nil
}

// beam keeps the NumBeams best unfinished ways to continue one prompt, extends each by its 2·NumBeams best tokens (more if several
// tokens end a text, so that enough remain unfinished), and collects those that end. It returns the finished ways, best first.
//
// The session's only live sequences are those of this prompt; the next call starts with an empty session because
// nothing is selected at the end.
func beam(ctx context.Context, s Session, prompt []int32, o Options) ([]Hypothesis, error) {
	live := []Hypothesis{{}}
	candidates := max(2, 1+len(o.EOS)) * o.NumBeams
	next := [][]int32{prompt}
	var done []Hypothesis
	for n := 0; n < o.MaxNewTokens; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		logits, err := extend(s, next)
		if err != nil {
			return nil, err
		}
		type step struct {
			parent int
			id     int32
			sum    float64
		}
		var steps []step
		for j, h := range live {
			row := logits.Row(j)
			logSoftmax(row)
			o.process(row, append(slices.Clone(prompt), h.IDs...), n)
			for _, id := range largest(row, candidates) {
				steps = append(steps, step{j, id, h.sum + float64(row[id])})
			}
		}
		slices.SortStableFunc(steps, func(a, b step) int {
			switch {
			case a.sum > b.sum:
				return -1
			case a.sum < b.sum:
				return 1
			}
			return 0
		})
		steps = steps[:min(len(steps), candidates)]
		var parents []int
		var kept []Hypothesis
		for rank, st := range steps {
			h := Hypothesis{IDs: append(slices.Clone(live[st.parent].IDs), st.id), sum: st.sum}
			h.Score = st.sum / math.Pow(float64(len(h.IDs)), o.LengthPenalty)
			switch {
			case slices.Contains(o.EOS, st.id) && rank < o.NumBeams:
				done = append(done, h)
			case !slices.Contains(o.EOS, st.id) && len(kept) < o.NumBeams:
				kept, parents = append(kept, h), append(parents, st.parent)
			}
		}
		live = kept
		s.Select(parents)
		sortByScore(done)
		done = done[:min(len(done), o.NumBeams)]
		if len(live) == 0 || len(done) == o.NumBeams && (o.EarlyStopping || best(live, n+1, o) <= done[len(done)-1].Score) {
			live = nil
			break
		}
		next = next[:0]
		for _, h := range live {
			next = append(next, h.IDs[len(h.IDs)-1:])
		}
	}
	s.Select(nil)
	done = append(done, live...) // ways that ran into the limit
	sortByScore(done)
	return done, nil
}

// best is the highest score that an unfinished way has now, or could have at full length without losing probability if that is
// what is asked for.
func best(live []Hypothesis, length int, o Options) float64 {
	if o.Patient && o.LengthPenalty > 0 {
		length = o.MaxNewTokens
	}
	return live[0].sum / math.Pow(float64(length), o.LengthPenalty)
}

func sortByScore(h []Hypothesis) {
	slices.SortStableFunc(h, func(a, b Hypothesis) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
}

// logSoftmax replaces logits by log-probabilities.
func logSoftmax(x []float32) {
	top := float64(x[argmax(x)])
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	shift := float32(top + math.Log(sum))
	for i := range x {
		x[i] -= shift
	}
}

// largest returns the indices of the n largest numbers, largest first, ties by index.
func largest(x []float32, n int) []int32 {
	var ids []int32
	for i := range x {
		id := int32(i)
		at, _ := slices.BinarySearchFunc(ids, id, func(a, b int32) int {
			if x[a] > x[b] || x[a] == x[b] && a < b {
				return -1
			}
			return 1
		})
		if at < n {
			ids = slices.Insert(ids, at, id)
			ids = ids[:min(len(ids), n)]
		}
	}
	return ids
}
