package data

import "math"

// Masking hides tokens of an example, which the model is to find again [devlin2019] §3.1. Which ones is a function of
// (seed, epoch, place in the set) alone: each epoch hides others, and a run that goes on hides what it would have hidden.
//
// Of the tokens of the text, never of special ones, Probability is chosen, rounded, at least one. Of the chosen 80 % become
// Mask, 10 % any token, and 10 % stay; all of them are targets, at their own rows.
//
// References:
//
//	[devlin2019]  J. Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", NAACL 2019
type Masking struct {
	Mask        int32   // the token that stands for a hidden one
	Vocabulary  int     // tokens that may stand for a hidden one by mistake: those from 0 to here
	Probability float64 // 0 = 0.15
	WholeWord   bool    // hides all tokens of a word or none; a word that would hide too many is passed over
	Seed        uint64
}

// Set is s as an evaluation sees it: masked once and for all.
func (m *Masking) Set(s Set) Set {
	all := make([]int32, len(s))
	for i := range all {
		all[i] = int32(i)
	}
	return m.pick(s, all, evalEpoch)
}

// evalEpoch is no epoch of training.
const evalEpoch = math.MaxInt32

// pick masks the picked examples.
func (m *Masking) pick(s Set, picked []int32, epoch int) Set {
	out := make(Set, len(picked))
	for k, i := range picked {
		out[k] = m.hide(&s[i], counter{m.Seed, maskStream + uint64(epoch)<<32 + uint64(i)})
	}
	return out
}

// hide masks an example by the random numbers of c.
func (m *Masking) hide(e *Example, c counter) Example {
	out := *e
	out.IDs = append([]int32(nil), e.IDs...)
	out.Tags = make([]int32, len(e.IDs))
	for t := range out.Tags {
		out.Tags[t] = NoTarget
	}
	groups, tokens := m.groups(e.Words)
	shuffle(groups, c)
	p := m.Probability
	if p == 0 {
		p = 0.15
	}
	left := max(int(math.Round(p*float64(tokens))), 1)
	for i, g := range groups {
		if n := int(g[1] - g[0]); n > left && i < len(groups)-1 {
			continue
		}
		for t := g[0]; t < g[1]; t++ {
			out.Tags[t] = e.IDs[t]
			out.IDs[t] = m.instead(e.IDs[t], c, uint64(t))
		}
		if left -= int(g[1] - g[0]); left <= 0 {
			break
		}
	}
	return out
}

// instead is what stands in the place of a chosen token at t.
func (m *Masking) instead(id int32, c counter, t uint64) int32 {
	// Behind the numbers that shuffle took.
	switch x := c.at(1<<33+t) % 10; {
	case x < 8:
		return m.Mask
	case x == 8:
		return int32(c.at(1<<34+t) % uint64(m.Vocabulary))
	}
	return id
}

// groups are the ranges of tokens that are hidden together, and how many tokens they have.
func (m *Masking) groups(words []int32) (groups [][2]int32, tokens int) {
	for t, w := range words {
		if w < 0 {
			continue
		}
		tokens++
		if n := len(groups); m.WholeWord && t > 0 && words[t-1] == w {
			groups[n-1][1]++
			continue
		}
		groups = append(groups, [2]int32{int32(t), int32(t) + 1})
	}
	return groups, tokens
}

// maskedText is the shape of texts of which a model finds hidden tokens again.
var maskedText = Shape{
	Name: "masked_text", Task: "masked-lm",
	Doc:     "text, of which tokens are hidden to be found again",
	Columns: []Column{{Name: "text", Names: []string{"text", "content", "sentence"}, Required: true}},
	split:   true, concat: true,
	encode: (*Encoder).maskedText,
}

func (e *Encoder) maskedText(row *Row) (Encoded, error) {
	s, err := e.textOf(row, "text")
	if err != nil {
		return Encoded{}, err
	}
	windows, out, err := e.windows(row, s)
	if err != nil || out.Dropped != "" {
		return out, err
	}
	for i := range windows {
		w := &windows[i]
		x := Example{Place: row.Place, IDs: w.IDs, Words: w.Words}
		if x.Targets() > 0 {
			out.Examples = append(out.Examples, x)
		}
	}
	if len(out.Examples) == 0 {
		out.Dropped = "empty text"
	}
	return out, nil
}
