package op

import (
	"fmt"
	"iter"
	"sort"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Overlay is what an adapter, or several of them, have in the places of a model. It never changes, and may serve several passes
// at once.
type Overlay interface {
	// At is what is in a place, nil for nothing. A place is a pointer that names a seam: a slot, a vector, an attention.
	At(place any) any
}

// Group are the rows of a pass that one overlay applies to.
type Group struct {
	Overlay       // nil: the model alone
	Pass    *Pass // the rows as a pass of their own, which is not routed
	rows    []int // in order; nil = all rows of whatever the pass computes
	whole   bool  // the rows are all
	first   int   // rows follow each other from here on; negative = they do not
}

// Route makes the rows of each segment pass through the overlay that Segment.Adapter names, counted from 1; 0 is the model
// alone. Such a pass is for results, not for gradients.
func (p *Pass) Route(overlays []Overlay) error {
	if p.Grad {
		return fmt.Errorf("op: a pass of several adapters gives no gradients, want Grad false")
	}
	for i, s := range p.Segments {
		if s.Adapter < 0 || s.Adapter > len(overlays) {
			return fmt.Errorf("op: segment %d names adapter %d, want 0 to %d", i, s.Adapter, len(overlays))
		}
	}
	p.overlays = overlays
	p.regroup()
	return nil
}

// Routed says that rows may pass through overlays.
func (p *Pass) Routed() bool { return p.groups != nil }

// Unrouted is the pass without its overlays.
func (p *Pass) Unrouted() *Pass {
	if p.overlays == nil && p.groups == nil {
		return p
	}
	q := *p
	q.overlays, q.groups = nil, nil
	return &q
}

// RoutedAs makes the pass go by another's overlays, after its segments have been set.
func (p *Pass) RoutedAs(q *Pass) *Pass {
	p.overlays = q.overlays
	p.regroup()
	return p
}

// regroup lists the rows of each overlay, after segments have changed. Those of the model alone come first.
func (p *Pass) regroup() {
	p.groups = nil
	if p.overlays == nil {
		return
	}
	rows := make([][]int, len(p.overlays)+1)
	for _, s := range p.Segments {
		for t := s.Start; t < s.End; t++ {
			rows[s.Adapter] = append(rows[s.Adapter], t)
		}
	}
	plain := p.Unrouted()
	for i, list := range rows {
		if len(list) == 0 {
			continue
		}
		g := Group{rows: list, first: -1, whole: len(list) == p.Rows()}
		if i > 0 {
			g.Overlay = p.overlays[i-1]
		}
		if list[len(list)-1]-list[0] == len(list)-1 {
			g.first = list[0]
		}
		g.Pass = plain.Choose(list)
		p.groups = append(p.groups, g)
	}
}

// Groups yields the groups of a routed pass, the rows of the model alone among them.
func (p *Pass) Groups() iter.Seq[*Group] {
	return func(yield func(*Group) bool) {
		for i := range p.groups {
			if !yield(&p.groups[i]) {
				return
			}
		}
	}
}

// At yields the groups that have something in a place, with what that is.
func (p *Pass) At(place any) iter.Seq2[*Group, any] {
	return func(yield func(*Group, any) bool) {
		for i := range p.groups {
			g := &p.groups[i]
			if g.Overlay == nil {
				continue
			}
			if x := g.Overlay.At(place); x != nil && !yield(g, x) {
				return
			}
		}
	}
}

// Of says whether a segment of the pass is the group's.
func (g *Group) Of(s Segment) bool {
	i := sort.SearchInts(g.rows, s.Start)
	return g.rows == nil || i < len(g.rows) && g.rows[i] == s.Start
}

// NumRows is how many rows of so many are the group's.
func (g *Group) NumRows(all int) int {
	if g.rows == nil {
		return all
	}
	return len(g.rows)
}

// Rows are the group's rows of a matrix: a part of it, or a copy, which Return gives back. m must have the pass's rows.
func (g *Group) Rows(a *Arena, m kernel.Mat) kernel.Mat {
	switch {
	case g.rows == nil:
		return m
	case g.first >= 0:
		return m.RowRange(g.first, g.first+len(g.rows))
	}
	part := kernel.NewMat(a.Get(len(g.rows)*m.Cols), len(g.rows), m.Cols)
	pickRows(part, m, g.rows)
	return part
}

// Put writes the group's rows back to the matrix that they came from.
func (g *Group) Put(m, part kernel.Mat) {
	if g.rows == nil || g.first >= 0 {
		return
	}
	putRows(m, part, g.rows)
}

// Return gives the copy that Rows made back.
func (g *Group) Return(a *Arena, part kernel.Mat) {
	if g.rows != nil && g.first < 0 {
		a.Put(part.Data)
	}
}

// IDs are the group's of a list that has one for each row.
func (g *Group) IDs(ids []int32) []int32 {
	switch {
	case g.rows == nil:
		return ids
	case g.first >= 0:
		return ids[g.first : g.first+len(g.rows)]
	}
	part := make([]int32, len(g.rows))
	for i, t := range g.rows {
		part[i] = ids[t]
	}
	return part
}

// Alone is the group's rows as a pass through its overlay, which applies to every row of it, also to those that are of no segment.
func (g *Group) Alone() *Pass {
	q := *g.Pass
	q.groups = []Group{{Overlay: g.Overlay, Pass: g.Pass, whole: true, first: -1}}
	return &q
}

// ByGroup computes the rows of each group on their own and puts them together again: for what mixes rows with others that are of
// no segment.
//
//	x [T, C]   f: [rows of the group, C] -> [rows of the group, D]   y [T, D]
func ByGroup(p *Pass, x mat.Tensor, f func(p *Pass, x mat.Tensor) mat.Tensor) mat.Tensor {
	var y mat.Tensor
	for g := range p.Groups() {
		part := f(g.Alone(), g.take(p, x))
		if g.rows == nil || g.whole {
			return part
		}
		if y == nil {
			_, cols := shape(part)
			y = p.Arena.NewTensor(p.Rows(), cols)
		}
		y = Place(p, y, part, g.rows)
	}
	return y
}

// Reroute replaces the rows of groups in y [T, D] by what f makes for them, [rows of the group, D]; take gives their rows of a value.
// f gives nil for a group that keeps its rows.
func Reroute(p *Pass, y mat.Tensor, f func(g *Group, take func(x mat.Tensor) mat.Tensor) mat.Tensor) mat.Tensor {
	for g := range p.Groups() {
		if g.Overlay == nil {
			continue
		}
		part := f(g, func(x mat.Tensor) mat.Tensor { return g.take(p, x) })
		switch {
		case part == nil:
		case g.rows == nil || g.whole:
			y = part
		default:
			y = Place(p, y, part, g.rows)
		}
	}
	return y
}

// take are the group's rows of a value.
func (g *Group) take(p *Pass, x mat.Tensor) mat.Tensor {
	if g.rows == nil || g.whole {
		return x
	}
	return Take(p, x, g.rows)
}

// Pick is the pass as rows of it see it, in any order: what belongs to a head that reads only these. Without overlays it is the
// pass itself.
func (p *Pass) Pick(rows []int) *Pass {
	if p.groups == nil {
		return p
	}
	return p.Choose(rows)
}

// Choose is the pass as some of its rows see it. Rows of a segment that follow each other make a segment.
func (p *Pass) Choose(rows []int) *Pass {
	sub := *p
	sub.Segments, sub.Positions, sub.Types = nil, make([]int32, len(rows)), nil
	last := -1
	for i, t := range rows {
		sub.Positions[i] = p.Positions[t]
		if p.Types != nil {
			sub.Types = append(sub.Types, p.Types[t])
		}
		at := sort.Search(len(p.Segments), func(k int) bool { return p.Segments[k].End > t })
		if at != last {
			s := p.Segments[at]
			s.Start, s.End, s.After = i, i, 0
			sub.Segments = append(sub.Segments, s)
			last = at
		}
		sub.Segments[len(sub.Segments)-1].End = i + 1
	}
	sub.regroup()
	return &sub
}

// Place puts rows in the place of others; no row may be named twice.
//
//	x [T, C]   part [len(rows), C]   y [T, C]
func Place(p *Pass, x, part mat.Tensor, rows []int) mat.Tensor {
	_, xc := shape(x)
	if pr, pc := shape(part); pc != xc || pr != len(rows) {
		panic(fmt.Sprintf("op: Place: %d rows [%d, %d] into %d columns", len(rows), pr, pc, xc))
	}
	return node(&place{p: p, x: x, part: part, rows: rows})
}

type place struct {
	p       *Pass
	x, part mat.Tensor
	rows    []int
	y       *Tensor
}

func (f *place) Operands() []mat.Tensor { return []mat.Tensor{f.x, f.part} }

func (f *place) Forward() (mat.Tensor, error) {
	x, part := Of(f.x), Of(f.part).View()
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	copy(f.y.data, x.data)
	putRows(f.y.View(), part, f.rows)
	return f.y, nil
}

// Backward: the rows that were put there have their own gradient, and x has none at them.
func (f *place) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	if f.part.RequiresGrad() {
		d := f.p.Arena.NewTensor(len(f.rows), dy.cols)
		pickRows(d.View(), dy.View(), f.rows)
		f.part.AccGrad(d)
	}
	f.y.release()
	if !f.x.RequiresGrad() {
		dy.release()
		return nil
	}
	for _, t := range f.rows {
		clear(dy.View().Row(t))
	}
	f.x.AccGrad(dy) // dy changes owner
	return nil
}
