package tokenizer

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// unigram chooses the cut of a text whose pieces have the highest sum of log probabilities (Viterbi).
type unigram struct {
	vocab        *vocabulary
	trie         *trie
	scores       []float64
	unk          int32
	unkScore     float64
	byteFallback bool
	fallback     [256]int32
}

// unkPenalty is how far an unknown character lies below the least likely piece.
const unkPenalty = 10

func newUnigram(j *modelJSON, obj fields) (model, *vocabulary, error) {
	v, scores, err := readScores(obj["vocab"])
	if err != nil {
		return nil, nil, err
	}
	m := &unigram{vocab: v, scores: scores, unk: noToken, byteFallback: j.ByteFallback}
	if j.UnkID != nil {
		if *j.UnkID < 0 || *j.UnkID >= len(v.tokens) {
			return nil, nil, fmt.Errorf("unk_id: %d, want below the vocabulary's size %d", *j.UnkID, len(v.tokens))
		}
		m.unk = int32(*j.UnkID)
	}
	lowest := math.Inf(1)
	bytes := 0
	for id, s := range v.tokens {
		lowest = min(lowest, scores[id])
		bytes += len(s)
	}
	m.unkScore = lowest - unkPenalty
	m.trie = newTrie(bytes / 2)
	for id, s := range v.tokens {
		if s != "" && v.ids[s] == int32(id) {
			m.trie.add(s, int32(id))
		}
	}
	for i := range 256 {
		m.fallback[i] = v.id(fmt.Sprintf("<0x%02X>", i))
	}
	return m, v, nil
}

func (*unigram) takesBytes() bool { return false }

func (m *unigram) tokenize(w *worker, s string, dst []token) []token {
	return w.cached(m, s, dst)
}

// ending is the best way to reach a place of the text.
type ending struct {
	score float64
	start int32 // where its last piece starts, -1 if the place cannot be reached
	id    int32
}

func (m *unigram) word(w *worker, s string, dst []token) []token {
	best := append(w.endings[:0], make([]ending, len(s)+1)...)
	w.endings = best
	for i := range best {
		best[i].start = -1
	}
	for i, r := range s {
		n := utf8.RuneLen(r)
		here := best[i].score
		single := false
		node := uint64(0)
		for k := i; k < len(s); k++ {
			next, ok := m.trie.step(node, s[k])
			if !ok {
				break
			}
			node = next
			id := m.trie.value[node]
			if id == noToken {
				continue
			}
			best[k+1].improve(here+m.scores[id], i, id)
			single = single || k+1-i == n
		}
		if !single {
			best[i+n].improve(here+m.unkScore, i, m.unk)
		}
	}
	return m.pieces(s, best, dst)
}

func (e *ending) improve(score float64, start int, id int32) {
	if e.start < 0 || score > e.score {
		*e = ending{score, int32(start), id}
	}
}

// pieces walks back from the end; unknown characters side by side are one piece.
func (m *unigram) pieces(s string, best []ending, dst []token) []token {
	from := len(dst)
	for end := len(s); end > 0; {
		e := best[end]
		start := int(e.start)
		if e.id == m.unk {
			for start > 0 && best[start].id == m.unk {
				start = int(best[start].start)
			}
		}
		dst = append(dst, token{e.id, int32(start), int32(end)})
		end = start
	}
	for i, j := from, len(dst)-1; i < j; i, j = i+1, j-1 {
		dst[i], dst[j] = dst[j], dst[i]
	}
	return m.resolve(s, dst, from)
}

// resolve gives unknown pieces their bytes, where the vocabulary has them; without an unknown token they are dropped.
func (m *unigram) resolve(s string, dst []token, from int) []token {
	clean := true
	for _, t := range dst[from:] {
		clean = clean && t.id != m.unk
	}
	if clean {
		return dst
	}
	pieces := append([]token(nil), dst[from:]...)
	dst = dst[:from]
	for _, t := range pieces {
		switch {
		case t.id != m.unk:
			dst = append(dst, t)
		case m.vocab.id(s[t.start:t.end]) != noToken:
			dst = append(dst, token{m.vocab.id(s[t.start:t.end]), t.start, t.end})
		case m.byteFallback && m.hasBytes(s[t.start:t.end]):
			for i := t.start; i < t.end; i++ {
				dst = append(dst, token{m.fallback[s[i]], t.start, t.end})
			}
		case m.unk != noToken:
			dst = append(dst, t)
		}
	}
	return dst
}

func (m *unigram) hasBytes(s string) bool {
	for i := range len(s) {
		if m.fallback[s[i]] == noToken {
			return false
		}
	}
	return true
}
