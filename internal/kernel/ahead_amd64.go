//go:build !purego

package kernel

import "sync"

// While a micro-kernel multiplies one block of weights, it brings the next one from memory into the second cache, a line every few steps: else who packs that
// block would wait for memory. What is prefetched changes no result.

// region is rows of bytes in memory, row apart. Its zero value is none. It keeps nothing alive: to prefetch from an address where nothing is any more does no harm.
type region struct {
	data             uintptr
	rows, row, bytes int
}

// weights are a matrix in memory, right operand of a forward or a backward product, of which so many numbers are one step.
type weights struct {
	numbers
	forward bool
	per     int
}

// stored are the numbers as they lie in memory; none of those that are halves of a byte.
func (w *Frozen) stored() numbers {
	n := w.numbers()
	if w.DType == I8 {
		n.data = at(w.q.bytes, 0)
	}
	return n
}

// where are columns n0 … n1, steps k0 … k1 of the operand.
func (w *weights) where(n0, n1, k0, k1 int) region {
	k0, k1 = k0*w.per, k1*w.per
	if w.forward {
		return w.region(n0, n1, k0, k1)
	}
	return w.region(k0, k1, n0, n1)
}

// region is rows i0 … i1, columns j0 … j1 of the matrix, as far as there are such.
func (n *numbers) region(i0, i1, j0, j1 int) region {
	i1, j1 = min(i1, n.rows), min(j1, n.cols)
	if n.data == nil || i0 >= i1 || j0 >= j1 {
		return region{}
	}
	return region{data: uintptr(n.at(i0, j0)), rows: i1 - i0, row: n.dtype.bytes(n.step), bytes: n.dtype.bytes(j1 - j0)}
}

// order is which weights were multiplied after which: models pass through theirs in the same order again and again. What two threads pack first of a
// product is kept under the weights before it.
var order struct {
	sync.Mutex
	last  passage
	first map[passage][2]region
}

// passage is weights that a forward or a backward product multiplies.
type passage struct {
	data    uintptr
	forward bool
}

// manyPassages are more than the weights of a model. Models that are gone are forgotten when there are so many.
const manyPassages = 1 << 13

// follow notes what two threads pack first of w and says what they packed first of the weights that came after these the last time.
func (w *weights) follow(a, b region) [2]region {
	if w.data == nil {
		return [2]region{}
	}
	this := passage{uintptr(w.data), w.forward}
	order.Lock()
	defer order.Unlock()
	if order.first == nil || len(order.first) > manyPassages {
		order.first = map[passage][2]region{}
	}
	order.first[order.last] = [2]region{a, b}
	order.last = this
	return order.first[this]
}

// cacheLine is its bytes.
const cacheLine = 64

// lines is how many lines of memory the region touches at most, if its rows are equally far from a line's start.
func (r *region) lines() int {
	offset := int(r.data % cacheLine)
	return r.rows * ceil(offset+r.bytes, cacheLine)
}

// ahead is what a micro-kernel prefetches: at is the address of the next line, in a row from start to end. A line is brought in when left steps
// have passed, the next ones every so many; none if those are 0.
type ahead struct {
	at, start, end uintptr
	row, rows      int
	left, every    int
}

// mostApart are the steps between lines at most. What comes much earlier than it is needed may be gone by then.
const mostApart = 4

// begin spreads the lines of r over steps, or over the last of them.
func (a *ahead) begin(r region, steps int) {
	*a = ahead{}
	if r.rows == 0 || steps == 0 {
		return
	}
	lines := r.lines()
	a.every = max(1, min(steps/lines, mostApart))
	a.left = max(0, steps-lines*a.every) + 1
	a.start = r.data &^ (cacheLine - 1)
	a.at, a.end = a.start, r.data+uintptr(r.bytes)
	a.rows, a.row = r.rows, r.row
}
