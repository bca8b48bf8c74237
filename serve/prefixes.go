package serve

import (
	"container/list"
	"encoding/binary"

	"github.com/graft-ml/graft/internal/op"
)

// prefixes are the beginnings of texts whose keys and values are still in pages: for each key of a lease a tree, whose nodes are full
// pages and whose edges are their tokens. A text that begins like one before it shares these pages. Not safe for concurrent use.
type prefixes struct {
	pool  *op.Pages
	roots map[string]*root
	// used lists the nodes, the one used last first. A node is used whenever one below it is, and stands before it: so the last has none
	// below it.
	used list.List
}

// root is the beginning of all texts of a key.
type root struct {
	start op.Start // what a method puts before the text
	node
}

type node struct {
	page   *op.Page
	edge   string // the tokens, 4 bytes each
	below  map[string]*node
	parent *node
	at     *list.Element
}

func newPrefixes(pool *op.Pages) *prefixes {
	return &prefixes{pool: pool, roots: map[string]*root{}}
}

// edge are the tokens of page i of a text, and where they end in it; false if the text has not so many.
func (p *prefixes) edge(start op.Start, tokens []int32, i int) (edge string, end int, ok bool) {
	n := p.pool.PageRows()
	from, to := max(0, start.Own(i*n)), max(0, start.Own((i+1)*n))
	if to > len(tokens) {
		return "", 0, false
	}
	b := make([]byte, 0, 4*(to-from))
	for _, id := range tokens[from:to] {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return string(b), to, true
}

// match finds the pages of the longest known beginning of a text.
func (p *prefixes) match(key string, tokens []int32) (start op.Start, pages []*op.Page) {
	r := p.roots[key]
	if r == nil {
		return start, nil
	}
	n, own := &r.node, 0
	for i := 0; ; i++ {
		edge, end, ok := p.edge(r.start, tokens, i)
		next := n.below[edge]
		if !ok || next == nil {
			break
		}
		n, own = next, end
		pages = append(pages, n.page)
	}
	p.touch(n)
	if own == 0 { // pages of virtual rows alone: the model would think that the text has not begun
		return start, nil
	}
	return r.start, pages
}

// add makes the first pages of a text known, which are full. Those that are known already take the place of the text's own: so whoever has
// a page of a tree has all above it.
func (p *prefixes) add(key string, start op.Start, tokens []int32, cache *op.Cache, seq, full int) {
	r := p.roots[key]
	if r == nil {
		r = &root{start: start, node: node{below: map[string]*node{}}}
		p.roots[key] = r
	}
	n := &r.node
	for i, page := range cache.Pages(seq)[:full] {
		edge, _, ok := p.edge(start, tokens, i)
		if !ok {
			break
		}
		next := n.below[edge]
		if next == nil {
			next = &node{page: page, edge: edge, below: map[string]*node{}, parent: n}
			next.at = p.used.PushFront(next)
			p.pool.Hold(page)
			n.below[edge] = next
		}
		if next.page != page {
			cache.Replace(seq, i, next.page)
		}
		n = next
	}
	p.touch(n)
}

// touch notes that a node is used, and with it those above.
func (p *prefixes) touch(n *node) {
	for ; n != nil && n.at != nil; n = n.parent {
		p.used.MoveToFront(n.at)
	}
}

// evict gives back the page that has not been used for longest, of those that no sequence has; false if there is none.
func (p *prefixes) evict() bool {
	for e := p.used.Back(); e != nil; e = e.Prev() {
		n := e.Value.(*node)
		if len(n.below) > 0 || n.page.Shared() {
			continue
		}
		p.remove(n)
		return true
	}
	return false
}

func (p *prefixes) remove(n *node) {
	p.used.Remove(n.at)
	p.pool.Release(n.page)
	delete(n.parent.below, n.edge)
	if n.parent.at != nil || len(n.parent.below) > 0 {
		return
	}
	for key, r := range p.roots { // the order decides nothing: one of them is the parent
		if &r.node == n.parent {
			delete(p.roots, key)
		}
	}
}

// clear gives all pages back.
func (p *prefixes) clear() {
	for e := p.used.Front(); e != nil; e = e.Next() {
		p.pool.Release(e.Value.(*node).page)
	}
	p.used.Init()
	clear(p.roots)
}

// pages is how many the trees hold.
func (p *prefixes) pages() int { return p.used.Len() }
