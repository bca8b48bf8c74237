package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
)

// Pages is memory for keys and values, cut into pieces of a fixed number of rows that sequences share where they begin alike.
// Not safe for concurrent use.
type Pages struct {
	layers, columns, rows int
	most                  int // pages; 0 = as many as are asked for
	used                  int
	idle                  [][]float32
}

// Page is a run of rows of one sequence, or of several that have these rows in common: of each layer the keys and the values.
// Only rows that nobody has yet are written, and only while it has one holder.
type Page struct {
	data    []float32 // [layers, 2, rows, K·D]
	holders int
}

// NewPages is memory for at most so many bytes of keys and values, 0 = without limit, for layers whose keys have that many numbers
// a row.
func NewPages(layers, columns, rows int, bytes int64) *Pages {
	p := &Pages{layers: layers, columns: columns, rows: rows}
	if bytes > 0 {
		p.most = max(1, int(bytes/p.PageBytes()))
	}
	return p
}

// PageBytes is the size of a page.
func (p *Pages) PageBytes() int64 { return 4 * int64(p.size()) }

func (p *Pages) size() int { return 2 * p.layers * p.rows * p.columns }

// PageRows is the number of rows of a page.
func (p *Pages) PageRows() int { return p.rows }

// Most is how many pages there may be, 0 = as many as are asked for, and Used how many sequences and others hold.
func (p *Pages) Most() int { return p.most }

// Used is how many pages sequences and others hold.
func (p *Pages) Used() int { return p.used }

// For is the number of pages that so many rows take.
func (p *Pages) For(rows int) int { return (rows + p.rows - 1) / p.rows }

// get is a page of one holder, nil if there is no room.
func (p *Pages) get() *Page {
	if p.most > 0 && p.used >= p.most {
		return nil
	}
	p.used++
	if n := len(p.idle); n > 0 {
		data := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return &Page{data: data, holders: 1}
	}
	return &Page{data: make([]float32, p.size()), holders: 1}
}

// Hold makes the caller one more holder of a page.
func (p *Pages) Hold(x *Page) { x.holders++ }

// Release ends what Hold began. Without holders a page's memory serves others.
func (p *Pages) Release(x *Page) {
	if x.holders--; x.holders > 0 {
		return
	}
	p.used--
	p.idle = append(p.idle, x.data)
	x.data = nil
}

// Shared says that others than the caller hold a page.
func (x *Page) Shared() bool { return x.holders > 1 }

// Trim drops the memory that no page uses, for the garbage collector.
func (p *Pages) Trim() { p.idle = nil }

// part are the keys (0) or values (1) of a layer in a page, [rows, K·D].
func (p *Pages) part(x *Page, layer, which int) kernel.Mat {
	n := p.rows * p.columns
	at := (2*layer + which) * n
	return kernel.NewMat(x.data[at:at+n], p.rows, p.columns)
}

// paged are the rows of a sequence in pages. It implements rows.
type paged struct {
	pool  *Pages
	pages []*Page
	n     []int // rows, by layer
}

func (s *paged) count(layer int) int { return s.n[layer] }

// reserve makes room for more rows of every layer and says whether there was.
func (s *paged) reserve(more int) bool {
	longest := 0
	for _, n := range s.n {
		longest = max(longest, n)
	}
	if !s.own(longest) {
		return false
	}
	for len(s.pages) < s.pool.For(longest+more) {
		x := s.pool.get()
		if x == nil {
			return false
		}
		s.pages = append(s.pages, x)
	}
	return true
}

// own makes the page that row number at would be written to the sequence's own, if it has others.
func (s *paged) own(at int) bool {
	i := at / s.pool.rows
	if i >= len(s.pages) || !s.pages[i].Shared() {
		return true
	}
	x := s.pool.get()
	if x == nil {
		return false
	}
	copy(x.data, s.pages[i].data)
	s.pool.Release(s.pages[i])
	s.pages[i] = x
	return true
}

func (s *paged) append(layer int, k, v kernel.Mat) {
	at := s.n[layer]
	if !s.own(at) {
		panic("op: Cache: no room for a row: Cache.Reserve says so")
	}
	for t := range k.Rows {
		i, j := (at+t)/s.pool.rows, (at+t)%s.pool.rows
		if i == len(s.pages) {
			x := s.pool.get()
			if x == nil {
				panic(fmt.Sprintf("op: Cache: no room for row %d of a sequence: Cache.Reserve says so", at+t))
			}
			s.pages = append(s.pages, x)
		}
		copy(s.pool.part(s.pages[i], layer, 0).Row(j), k.Row(t))
		copy(s.pool.part(s.pages[i], layer, 1).Row(j), v.Row(t))
	}
	s.n[layer] += k.Rows
}

func (s *paged) whole(int) (keys, values kernel.Mat, ok bool) { return keys, values, false }

func (s *paged) clone() rows {
	t := &paged{pool: s.pool, pages: append([]*Page(nil), s.pages...), n: append([]int(nil), s.n...)}
	for _, x := range t.pages {
		t.pool.Hold(x)
	}
	return t
}

func (s *paged) truncate(layer, n int) {
	s.n[layer] = min(s.n[layer], n)
	longest := 0
	for _, n := range s.n {
		longest = max(longest, n)
	}
	keep := s.pool.For(longest)
	for len(s.pages) > keep {
		s.pool.Release(s.pages[len(s.pages)-1])
		s.pages = s.pages[:len(s.pages)-1]
	}
}

func (s *paged) free() {
	for _, x := range s.pages {
		s.pool.Release(x)
	}
	s.pages = nil
	clear(s.n)
}

// each calls do with the runs of rows lo … hi that lie in one page: its keys (0) or values (1) of a layer, and where in lo … hi they are.
func (s *paged) each(layer, which, lo, hi int, do func(m kernel.Mat, from, to int)) {
	for at := lo; at < hi; {
		i, j := at/s.pool.rows, at%s.pool.rows
		n := min(s.pool.rows-j, hi-at)
		do(s.pool.part(s.pages[i], layer, which).RowRange(j, j+n), at-lo, at-lo+n)
		at += n
	}
}
