package op

import "github.com/graft-ml/graft/internal/kernel"

// Cache keeps the keys and values of the rows that a model has seen, for several sequences, so that a new row attends
// to them without computing them again. Not safe for concurrent use.
type Cache struct {
	layers  int
	columns int // K·D, of a key row
	seqs    []sequence
}

type sequence struct {
	length  int         // without what came before as keys and values
	virtual int         // of these, rows that a method put before the sequence's own
	moved   int         // by how much the positions of the sequence's own rows moved up
	before  []int       // by layer: keys and values that a method put before all rows
	keys    [][]float32 // by layer, [before + length, K·D]
	values  [][]float32
	memory  kernel.Mat // see Pass.Memory; nobody writes to it, so copies share it
}

// NewCache is a cache of no sequences yet for that many layers whose keys have that many numbers a row.
func NewCache(layers, columns int) *Cache { return &Cache{layers: layers, columns: columns} }

// Open adds an empty sequence and returns its number.
func (c *Cache) Open() int {
	c.seqs = append(c.seqs, sequence{before: make([]int, c.layers), keys: make([][]float32, c.layers), values: make([][]float32, c.layers)})
	return len(c.seqs) - 1
}

// Len is the number of rows of a sequence that all layers have, without virtual ones.
func (c *Cache) Len(seq int) int { return max(0, c.seqs[seq].length-c.seqs[seq].virtual) }

// Moved is by how much the positions of a sequence's own rows moved up.
func (c *Cache) Moved(seq int) int { return c.seqs[seq].moved }

// Begin notes how many virtual rows an empty sequence begins with, and by how much the positions of its own move up.
func (c *Cache) Begin(seq, virtual, moved int) {
	c.seqs[seq].virtual, c.seqs[seq].moved = virtual, moved
}

// Remember gives a sequence the keys and values of its source, as Pass.Memory lays them out.
func (c *Cache) Remember(seq int, memory kernel.Mat) { c.seqs[seq].memory = memory }

// Memory is what Remember gave; it has no rows without.
func (c *Cache) Memory(seq int) kernel.Mat { return c.seqs[seq].memory }

// Sequences is the number of sequences.
func (c *Cache) Sequences() int { return len(c.seqs) }

// Select makes sequence i a copy of what sequence parents[i] is; others end. A parent's first child takes its memory over.
func (c *Cache) Select(parents []int) {
	next := make([]sequence, len(parents))
	taken := map[int]bool{}
	for i, q := range parents {
		s := c.seqs[q]
		if taken[q] {
			s = s.clone()
		}
		taken[q] = true
		next[i] = s
	}
	c.seqs = next
}

func (s sequence) clone() sequence {
	t := sequence{length: s.length, virtual: s.virtual, moved: s.moved, before: append([]int(nil), s.before...), memory: s.memory,
		keys: make([][]float32, len(s.keys)), values: make([][]float32, len(s.values))}
	for l := range s.keys {
		t.keys[l] = append([]float32(nil), s.keys[l]...)
		t.values[l] = append([]float32(nil), s.values[l]...)
	}
	return t
}

// Truncate forgets the rows of a sequence from length on, virtual ones not counted; an empty sequence has none.
func (c *Cache) Truncate(seq, length int) {
	s := &c.seqs[seq]
	if length > 0 {
		length += s.virtual
	}
	s.length = min(s.length, length)
	for l := range s.keys {
		if s.length == 0 {
			s.before[l] = 0
		}
		n := (s.before[l] + s.length) * c.columns
		s.keys[l], s.values[l] = s.keys[l][:min(len(s.keys[l]), n)], s.values[l][:min(len(s.values[l]), n)]
	}
}

// empty says that a layer of a sequence has no rows yet.
func (c *Cache) empty(layer, seq int) bool { return len(c.seqs[seq].keys[layer]) == 0 }

// prepend begins a layer of an empty sequence with keys and values [n, K·D] that are no rows of it.
func (c *Cache) prepend(layer, seq int, k, v kernel.Mat) {
	c.seqs[seq].before[layer] = k.Rows
	c.extend(layer, seq, k, v)
}

// extend appends rows of keys and values [n, K·D] to a layer of a sequence and returns all of them.
func (c *Cache) extend(layer, seq int, k, v kernel.Mat) (keys, values kernel.Mat) {
	s := &c.seqs[seq]
	for t := range k.Rows {
		s.keys[layer] = append(s.keys[layer], k.Row(t)...)
		s.values[layer] = append(s.values[layer], v.Row(t)...)
	}
	n := len(s.keys[layer]) / c.columns
	if layer == c.layers-1 {
		s.length = n - s.before[layer]
	}
	return kernel.NewMat(s.keys[layer], n, c.columns), kernel.NewMat(s.values[layer], n, c.columns)
}
