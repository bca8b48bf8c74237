package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"math"
	"math/bits"
	"slices"

	"github.com/graft-ml/graft/internal/op"
)

// Example is one sequence to train on.
type Example struct {
	IDs  []int32 // all tokens, special ones included
	Loss []Span  // which of them are targets: in order, disjoint
	Place
	Ordinal int // of its row in the source, from 0; windows of one text share it

	// Source is what an encoder reads of which IDs tell something: these are then a decoder's start token and the target. Nil otherwise.
	Source []int32

	// Of encoders' tasks; nil otherwise.
	Types  []int32   // [len(IDs)]: token types
	Tags   []int32   // [len(IDs)]: the label of the token itself, or NoTarget
	Words  []int32   // [len(IDs)]: equal for neighbours within a word; −1 = special. Masking hides such tokens and makes Tags of them
	Labels []float32 // of the whole: one class, or a value for each label
	Answer *[2]int32 // first and last token of the answer; {0, 0} = there is none
	Origin *Origin   // if Settings.KeepOrigin
	Unused bool      // in training: a window without the answer of a question that has one
}

// Span is the tokens Start to End, which are targets of some weight.
type Span struct {
	Start, End int32
	Weight     float32 // above 0
}

// Weights is the weight of each token as a target [len(IDs)]; 0 = masked. The first token is never a target, because
// nothing comes before it to foretell it.
func (e *Example) Weights() []float32 {
	w := make([]float32, len(e.IDs))
	for _, s := range e.Loss {
		for i := max(s.Start, 1); i < s.End; i++ {
			w[i] = s.Weight
		}
	}
	return w
}

// Targets counts the tokens that carry a loss, or may once Masking has chosen; a label of the whole, or an answer, counts as one.
func (e *Example) Targets() int {
	n := 0
	if e.Labels != nil || e.Answer != nil {
		n = 1
	}
	for _, tag := range e.Tags {
		if tag != NoTarget {
			n++
		}
	}
	if e.Tags == nil {
		for _, w := range e.Words {
			if w >= 0 {
				n++
			}
		}
	}
	for _, s := range e.Loss {
		n += int(max(s.End-max(s.Start, 1), 0))
	}
	return n
}

// Rows is how many rows the example takes in a batch, those of its source included. A decoder of a source need not read the last
// token of its target, after which nothing is told.
func (e *Example) Rows() int { return len(e.Source) + len(e.read()) }

// read are the tokens that have a row, those of the source not counted.
func (e *Example) read() []int32 {
	if e.Source != nil && len(e.IDs) > 1 {
		return e.IDs[:len(e.IDs)-1]
	}
	return e.IDs
}

// Prompt is what stands before the first target: what a model is given to see what it makes of it.
func (e *Example) Prompt() []int32 {
	if len(e.Loss) == 0 {
		return e.IDs
	}
	return e.IDs[:max(e.Loss[0].Start, 1)]
}

// spans is the run-length form of weights.
func spans(weights []float32) []Span {
	var out []Span
	for i := 0; i < len(weights); {
		j := i
		for j < len(weights) && weights[j] == weights[i] {
			j++
		}
		if weights[i] > 0 {
			out = append(out, Span{int32(i), int32(j), weights[i]})
		}
		i = j
	}
	return out
}

// Head is the first n tokens as an example of their own.
func (e *Example) Head(n int) Example { return e.slice(nil, 0, n) }

// slice is the tokens from to to with their spans, after the tokens before.
func (e *Example) slice(before []int32, from, to int) Example {
	out := *e
	out.IDs, out.Loss = append(append(make([]int32, 0, len(before)+to-from), before...), e.IDs[from:to]...), nil
	if e.Words != nil {
		out.Words = append(slices.Repeat([]int32{-1}, len(before)), e.Words[from:to]...)
	}
	shift := int32(len(before) - from)
	for _, s := range e.Loss {
		if lo, hi := max(s.Start, int32(from)), min(s.End, int32(to)); lo < hi {
			out.Loss = append(out.Loss, Span{lo + shift, hi + shift, s.Weight})
		}
	}
	return out
}

// Set is examples in their order. Sets share examples; nothing writes to them.
type Set []Example

// Training is the set without what only evaluation uses.
func (s Set) Training() Set {
	return slices.DeleteFunc(slices.Clone(s), func(e Example) bool { return e.Unused })
}

// Stats are the figures of a set.
type Stats struct {
	Examples  int
	Tokens    int64
	Targets   int64
	Shortest  int
	Longest   int
	LongestAt Place
	Histogram []Bucket // of lengths, from the shortest bucket in use to the longest
}

// Bucket counts the examples that are longer than UpTo/2 and not longer than UpTo.
type Bucket struct{ UpTo, Examples int }

// Stats counts.
func (s Set) Stats() Stats {
	st := Stats{Examples: len(s)}
	var histogram [32]int
	for i := range s {
		e := &s[i]
		n := e.Rows()
		st.Tokens += int64(n)
		st.Targets += int64(e.Targets())
		if n > st.Longest {
			st.Longest, st.LongestAt = n, e.Place
		}
		if i == 0 || n < st.Shortest {
			st.Shortest = n
		}
		histogram[log2(n)]++
	}
	if len(s) == 0 {
		return st
	}
	for b := log2(st.Shortest); b <= log2(st.Longest); b++ {
		st.Histogram = append(st.Histogram, Bucket{1 << b, histogram[b]})
	}
	return st
}

// log2 of n, rounded up.
func log2(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// Fingerprint is a hash of everything that training sees of the set: two sets with the same one train alike.
func (s Set) Fingerprint() string {
	h := sha256.New()
	var b []byte
	for i := range s {
		e := &s[i]
		b = binary.LittleEndian.AppendUint32(b[:0], uint32(len(e.IDs)))
		for _, id := range e.IDs {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Loss)))
		for _, l := range e.Loss {
			b = binary.LittleEndian.AppendUint32(b, uint32(l.Start))
			b = binary.LittleEndian.AppendUint32(b, uint32(l.End))
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(l.Weight))
		}
		h.Write(e.appendSupervision(b))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// appendSupervision writes what only encoders' tasks have, each under its mark, so that other sets keep their fingerprints.
func (e *Example) appendSupervision(b []byte) []byte {
	ints := func(mark byte, v []int32) {
		if v != nil {
			b = append(b, mark)
			for _, x := range v {
				b = binary.LittleEndian.AppendUint32(b, uint32(x))
			}
		}
	}
	ints('s', e.Source)
	ints('t', e.Types)
	ints('g', e.Tags)
	ints('w', e.Words)
	if e.Labels != nil {
		b = binary.LittleEndian.AppendUint32(append(b, 'l'), uint32(len(e.Labels)))
		for _, x := range e.Labels {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	if e.Answer != nil {
		ints('a', e.Answer[:])
	}
	return b
}

// Batches gives all examples once, in order, in batches of at most microTokens tokens (0 = 8192), as an evaluation needs.
func (s Set) Batches(microTokens int) iter.Seq2[*Batch, error] {
	if microTokens <= 0 {
		microTokens = 8192
	}
	return func(yield func(*Batch, error) bool) {
		for i := 0; i < len(s); {
			j, tokens := i, 0
			for j < len(s) && (j == i || tokens+s[j].Rows() <= microTokens) {
				tokens += s[j].Rows()
				j++
			}
			picked := make([]int32, 0, j-i)
			for k := i; k < j; k++ {
				picked = append(picked, int32(k))
			}
			if !yield(s.Batch(picked), nil) {
				return
			}
			i = j
		}
	}
}

// Batch lays the picked examples out end to end.
func (s Set) Batch(picked []int32) *Batch {
	rows, weighted := 0, false
	for _, i := range picked {
		rows += len(s[i].read())
		for _, l := range s[i].Loss {
			weighted = weighted || l.Weight != 1
		}
	}
	b := &Batch{
		Tokens:    make([]int32, 0, rows),
		Positions: make([]int32, 0, rows),
		Segments:  make([]Segment, 0, len(picked)),
		Targets:   make([]int32, rows),
	}
	for t := range b.Targets {
		b.Targets[t] = NoTarget
	}
	if weighted {
		b.Weights = make([]float32, rows)
	}
	for _, i := range picked {
		e, start := &s[i], len(b.Tokens)
		b.Tokens = append(b.Tokens, e.read()...)
		for t := range e.read() {
			b.Positions = append(b.Positions, int32(t))
		}
		e.tell(b)
		b.Segments = append(b.Segments, Segment{Start: start, End: len(b.Tokens)})
		for _, l := range e.Loss {
			if l.Start == 0 && l.End > 0 {
				b.first(len(b.Segments)-1, len(picked), e.IDs[0], l.Weight)
			}
			for t := max(l.Start, 1); t < l.End; t++ {
				b.Targets[start+int(t)-1] = e.IDs[t]
				if weighted {
					b.Weights[start+int(t)-1] = l.Weight
				}
			}
		}
		e.supervise(b, start)
	}
	return b
}

// tell adds the example's source to a batch.
func (e *Example) tell(b *Batch) {
	if e.Source == nil {
		return
	}
	if b.Source == nil {
		b.Source = &op.Source{}
	}
	src, start := b.Source, len(b.Source.Tokens)
	src.Tokens = append(src.Tokens, e.Source...)
	for t := range e.Source {
		src.Positions = append(src.Positions, int32(t))
	}
	src.Segments = append(src.Segments, Segment{Start: start, End: len(src.Tokens)})
}

// supervise adds to a batch, whose last segment the example is, what encoders' tasks need.
func (e *Example) supervise(b *Batch, start int) {
	if e.Types != nil {
		for len(b.Types) < start {
			b.Types = append(b.Types, 0)
		}
		b.Types = append(b.Types, e.Types...)
	} else if b.Types != nil {
		b.Types = append(b.Types, make([]int32, len(e.IDs))...)
	}
	copy(b.Targets[start:], e.Tags)
	if e.Labels != nil {
		b.Labels = append(b.Labels, e.Labels)
	}
	if e.Answer != nil {
		b.Spans = append(b.Spans, [2]int32{int32(start) + e.Answer[0], int32(start) + e.Answer[1]})
	}
}

// first notes that the first token of segment i of n carries a loss.
func (b *Batch) first(i, n int, id int32, weight float32) {
	if b.Firsts == nil {
		b.Firsts = slices.Repeat([]int32{NoTarget}, n)
	}
	b.Firsts[i] = id
	if b.Weights != nil {
		if b.FirstWeights == nil {
			b.FirstWeights = make([]float32, n)
		}
		b.FirstWeights[i] = weight
	}
}
