package op

import (
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// Cache keeps the keys and values of the rows that a model has seen, for several sequences, so that a new row attends
// to them without computing them again. Not safe for concurrent use.
type Cache struct {
	layers  int
	columns int    // K·D, of a key row
	pages   *Pages // nil: each sequence has memory of its own that grows
	seqs    []sequence
	closed  []int // numbers that Open gives again
}

type sequence struct {
	length  int   // without what came before as keys and values
	virtual int   // of these, rows that a method put before the sequence's own
	moved   int   // by how much the positions of the sequence's own rows moved up
	before  []int // by layer: keys and values that a method put before all rows
	rows
	memory kernel.Mat // see Pass.Memory; nobody writes to it, so copies share it
}

// rows are the keys and values of a sequence, by layer.
type rows interface {
	count(layer int) int
	// append adds rows [n, K·D].
	append(layer int, k, v kernel.Mat)
	// whole is all there is [count, K·D], if it lies together.
	whole(layer int) (keys, values kernel.Mat, ok bool)
	clone() rows
	// truncate forgets the rows from n on.
	truncate(layer, n int)
	free()
}

// NewCache is a cache of no sequences yet for that many layers whose keys have that many numbers a row.
func NewCache(layers, columns int) *Cache { return &Cache{layers: layers, columns: columns} }

// NewPagedCache is a cache whose sequences lie in pages, which may be shared.
func NewPagedCache(pages *Pages) *Cache {
	return &Cache{layers: pages.layers, columns: pages.columns, pages: pages}
}

// Open adds an empty sequence and returns its number.
func (c *Cache) Open() int {
	s := sequence{before: make([]int, c.layers), rows: c.newRows()}
	if n := len(c.closed); n > 0 {
		i := c.closed[n-1]
		c.closed, c.seqs[i] = c.closed[:n-1], s
		return i
	}
	c.seqs = append(c.seqs, s)
	return len(c.seqs) - 1
}

func (c *Cache) newRows() rows {
	if c.pages != nil {
		return &paged{pool: c.pages, n: make([]int, c.layers)}
	}
	return &grown{columns: c.columns, keys: make([][]float32, c.layers), values: make([][]float32, c.layers)}
}

// Close ends a sequence and gives its memory back; Open may give its number again. It is not for caches that Select is used on.
func (c *Cache) Close(seq int) {
	c.seqs[seq].free()
	c.seqs[seq] = sequence{}
	c.closed = append(c.closed, seq)
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
			s.before, s.rows = slices.Clone(s.before), s.clone()
		}
		taken[q] = true
		next[i] = s
	}
	for q := range c.seqs {
		if !taken[q] {
			c.seqs[q].free()
		}
	}
	c.seqs = next
}

// Truncate forgets the rows of a sequence from length on, virtual ones not counted; an empty sequence has none.
func (c *Cache) Truncate(seq, length int) {
	s := &c.seqs[seq]
	if length > 0 {
		length += s.virtual
	}
	s.length = min(s.length, length)
	for l := range s.before {
		if s.length == 0 {
			s.before[l] = 0
		}
		s.truncate(l, s.before[l]+s.length)
	}
}

// Reserve makes room for more rows of a sequence in pages, virtual ones and those of prefixes among them, and says whether there is.
func (c *Cache) Reserve(seq, more int) bool { return c.seqs[seq].rows.(*paged).reserve(more) }

// Start is how a sequence in pages began.
type Start struct {
	Virtual int // rows of the sequence that a method put before its own
	Moved   int // by how much the positions of its own rows moved up
	Before  int // keys and values that a method put before all rows
}

// Own is how many of the first rows in pages are the text's.
func (s Start) Own(rows int) int { return rows - s.Virtual - s.Before }

// Started is how a sequence began; false where layers differ in that, so that its pages are no other's.
func (c *Cache) Started(seq int) (Start, bool) {
	s := &c.seqs[seq]
	for _, n := range s.before {
		if n != s.before[0] {
			return Start{}, false
		}
	}
	return Start{s.virtual, s.moved, s.before[0]}, true
}

// Pages are a sequence's. Rows that the sequence has are never written again.
func (c *Cache) Pages(seq int) []*Page { return c.seqs[seq].rows.(*paged).pages }

// Replace puts a full page with the same rows in the place of a sequence's.
func (c *Cache) Replace(seq, i int, x *Page) {
	list := c.Pages(seq)
	c.pages.Hold(x)
	c.pages.Release(list[i])
	list[i] = x
}

// Share begins an empty sequence with the full pages of one that began so.
func (c *Cache) Share(seq int, start Start, pages []*Page) {
	s := &c.seqs[seq]
	r := s.rows.(*paged)
	for _, x := range pages {
		c.pages.Hold(x)
	}
	r.pages = append(r.pages, pages...)
	n := len(pages) * c.pages.rows
	for l := range r.n {
		r.n[l], s.before[l] = n, start.Before
	}
	s.length, s.virtual, s.moved = n-start.Before, start.Virtual, start.Moved
}

// empty says that a layer of a sequence has no rows yet.
func (c *Cache) empty(layer, seq int) bool { return c.seqs[seq].count(layer) == 0 }

// prepend begins a layer of an empty sequence with keys and values [n, K·D] that are no rows of it.
func (c *Cache) prepend(layer, seq int, k, v kernel.Mat) {
	c.seqs[seq].before[layer] = k.Rows
	c.extend(layer, seq, k, v)
}

// extend appends rows of keys and values [n, K·D] to a layer of a sequence and returns all of them.
func (c *Cache) extend(layer, seq int, k, v kernel.Mat) rows {
	s := &c.seqs[seq]
	s.append(layer, k, v)
	if layer == c.layers-1 {
		s.length = s.count(layer) - s.before[layer]
	}
	return s.rows
}

// grown are rows in memory of their own. It implements rows.
type grown struct {
	columns      int
	keys, values [][]float32 // by layer
}

func (s *grown) count(layer int) int { return len(s.keys[layer]) / s.columns }

func (s *grown) append(layer int, k, v kernel.Mat) {
	for t := range k.Rows {
		s.keys[layer] = append(s.keys[layer], k.Row(t)...)
		s.values[layer] = append(s.values[layer], v.Row(t)...)
	}
}

func (s *grown) whole(layer int) (keys, values kernel.Mat, ok bool) {
	n := s.count(layer)
	return kernel.NewMat(s.keys[layer], n, s.columns), kernel.NewMat(s.values[layer], n, s.columns), true
}

func (s *grown) clone() rows {
	t := &grown{columns: s.columns, keys: make([][]float32, len(s.keys)), values: make([][]float32, len(s.values))}
	for l := range s.keys {
		t.keys[l] = slices.Clone(s.keys[l])
		t.values[l] = slices.Clone(s.values[l])
	}
	return t
}

func (s *grown) truncate(layer, n int) {
	n = min(len(s.keys[layer]), n*s.columns)
	s.keys[layer], s.values[layer] = s.keys[layer][:n], s.values[layer][:n]
}

func (s *grown) free() {}
