package metric

import (
	"math"
	"slices"
)

// The search for moves follows Tercom as sacrebleu rewrote it, limits and all: the least number of edits with moves is
// too hard to find, so the score is what this search finds.
const (
	maxMoveSize   = 10   // words that move at once
	maxMoveDist   = 50   // how far apart a run of words may stand in both texts
	maxCandidates = 1000 // moves tried for one pair of texts
	beamWidth     = 25   // how far from the diagonal an alignment may stray
	unreachable   = 1 << 30
)

// translationEdits counts the edits and moves that turn hypothesis into reference.
func translationEdits(hypothesis, reference []string) int {
	if len(reference) == 0 {
		return len(hypothesis)
	}
	ids := map[string]int32{}
	d := &editDistance{reference: number(ids, reference)}
	words := number(ids, hypothesis)
	moves, tried := 0, 0
	for {
		gain, moved := d.bestMove(words, &tried)
		if tried >= maxCandidates || gain <= 0 {
			return moves + d.distance(words)
		}
		words = moved
		moves++
	}
}

// number gives each word a number.
func number(ids map[string]int32, words []string) []int32 {
	out := make([]int32, len(words))
	for i, w := range words {
		id, known := ids[w]
		if !known {
			id = int32(len(ids))
			ids[w] = id
		}
		out[i] = id
	}
	return out
}

// move takes length words from start to target.
type move struct{ gain, length, start, target int }

// better orders moves as Tercom does: gain, then length, then the earlier, then the earlier target.
func (m move) better(o move) bool {
	if m.gain != o.gain {
		return m.gain > o.gain
	}
	if m.length != o.length {
		return m.length > o.length
	}
	if m.start != o.start {
		return m.start < o.start
	}
	return m.target < o.target
}

// bestMove is the move that lowers the edit distance most, and the words after it. tried counts the
// moves looked at, over all calls.
func (d *editDistance) bestMove(words []int32, tried *int) (gain int, moved []int32) {
	s := search{editDistance: d, words: words, before: d.distance(words), alignment: d.align(words),
		scratch: make([]int32, len(words))}
	for start := range words {
		for at := max(0, start-maxMoveDist); at < len(d.reference) && at <= start+maxMoveDist; at++ {
			longest := d.run(words, start, at)
			for length := 1; length <= longest; length++ {
				if s.settled(start, at, length) {
					continue
				}
				if *tried += s.try(start, at, length); *tried >= maxCandidates {
					return 0, nil
				}
			}
		}
	}
	if s.best.length > 0 {
		moved = make([]int32, len(words))
		perform(moved, words, s.best.start, s.best.length, s.best.target)
	}
	return s.best.gain, moved
}

// search is for the best move of some words.
type search struct {
	*editDistance
	alignment
	words   []int32
	scratch []int32
	before  int  // edits without a move
	best    move // length 0: none yet
}

// try moves a run of words, which stands at start and belongs to at in the reference, to before each place that the
// reference's words there are aligned with, and returns how many places that were.
func (s *search) try(start, at, length int) (tried int) {
	last := -1
	for j := at - 1; j < at+length && j < len(s.reference); j++ {
		target := 0
		if j >= 0 {
			target = s.place[j] + 1
		}
		if target == last {
			continue
		}
		last = target
		perform(s.scratch, s.words, start, length, target)
		m := move{s.before - s.distance(s.scratch), length, start, target}
		tried++
		if s.best.length == 0 || m.better(s.best) {
			s.best = m
		}
	}
	return tried
}

// run is how many words agree from start in the hypothesis and at in the reference on.
func (d *editDistance) run(words []int32, start, at int) int {
	n := 0
	for n < maxMoveSize && start+n < len(words) && at+n < len(d.reference) && words[start+n] == d.reference[at+n] {
		n++
	}
	return n
}

// perform writes words, with length of them moved from start to before target, to out.
func perform(out, words []int32, start, length, target int) {
	run, n := words[start:start+length], 0
	put := func(parts ...[]int32) {
		for _, p := range parts {
			n += copy(out[n:], p)
		}
	}
	switch end := start + length; {
	case target < start:
		put(words[:target], run, words[target:start], words[end:])
	case target > end:
		put(words[:start], words[end:target], run, words[target:])
	default: // within itself: what follows comes first
		put(words[:start], words[end:min(length+target, len(words))], run, words[min(length+target, len(words)):])
	}
}

// alignment says where the words of the reference stand in the hypothesis, and what is wrong.
type alignment struct {
	place                           []int  // of word j of the reference; -1: before the first
	wrongReference, wrongHypothesis []bool // word j, i takes part in an edit
}

// settled tells whether moving the run is pointless: one of both sides is right where it is, or it is there already.
func (a alignment) settled(start, at, length int) bool {
	return !slices.Contains(a.wrongHypothesis[start:start+length], true) ||
		!slices.Contains(a.wrongReference[at:at+length], true) ||
		start <= a.place[at] && a.place[at] < start+length
}

// editDistance is between a fixed reference and changing hypotheses. It keeps the table of the last one: rows of words
// that did not change stay. Not safe for concurrent use.
type editDistance struct {
	reference []int32
	last      []int32
	cost      [][]int32 // [i][j]: edits from the first i words of last to the first j of reference
}

// distance is Levenshtein's, within the beam.
func (d *editDistance) distance(words []int32) int {
	kept := 0
	for kept < len(words) && len(words) == len(d.last) && words[kept] == d.last[kept] {
		kept++
	}
	if d.cost == nil {
		d.cost = [][]int32{make([]int32, len(d.reference)+1)}
		for j := range d.cost[0] {
			d.cost[0][j] = int32(j)
		}
	}
	for len(d.cost) <= len(words) {
		d.cost = append(d.cost, make([]int32, len(d.reference)+1))
	}
	d.last = append(d.last[:0], words...)
	for i := kept + 1; i <= len(words); i++ {
		d.row(i)
	}
	return int(d.cost[len(words)][len(d.reference)])
}

// row fills row i around the diagonal.
func (d *editDistance) row(i int) {
	row, above := d.cost[i], d.cost[i-1]
	for j := range row {
		row[j] = unreachable
	}
	low, high := d.beam(i)
	for j := low; j < high; j++ {
		best := above[j] + 1 // a word of the hypothesis too many
		if j > 0 {
			best = min(best, row[j-1]+1, above[j-1]+d.replace(i, j))
		}
		row[j] = min(best, unreachable)
	}
}

// beam is the columns of row i that are looked at.
func (d *editDistance) beam(i int) (low, high int) {
	slope := float64(len(d.reference)) / float64(len(d.last))
	width := beamWidth
	if beamWidth < slope/2 {
		width = int(math.Ceil(slope/2 + beamWidth)) // else rows would not overlap
	}
	diagonal := int(float64(i) * slope)
	low, high = max(0, diagonal-width), min(len(d.reference)+1, diagonal+width)
	if i == len(d.last) {
		high = len(d.reference) + 1
	}
	return low, high
}

// replace is what it costs to make word i of the hypothesis word j of the reference, both from 1.
func (d *editDistance) replace(i, j int) int32 { return int32(count(d.last[i-1] != d.reference[j-1])) }

// align walks the table back. Of equally good edits it prefers to replace, then to remove, then to insert.
func (d *editDistance) align(words []int32) alignment {
	d.distance(words)
	i, j := len(words), len(d.reference)
	a := alignment{make([]int, j), make([]bool, j), make([]bool, i)}
	for i > 0 || j > 0 {
		switch here := d.cost[i][j]; {
		case i > 0 && j > 0 && here == d.cost[i-1][j-1]+d.replace(i, j):
			wrong := d.replace(i, j) == 1
			i--
			j--
			a.place[j], a.wrongReference[j], a.wrongHypothesis[i] = i, wrong, wrong
		case i > 0 && here == d.cost[i-1][j]+1:
			i--
			a.wrongHypothesis[i] = true
		default:
			j--
			a.place[j], a.wrongReference[j] = i-1, true
		}
	}
	return a
}
