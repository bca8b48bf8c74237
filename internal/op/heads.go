package op

import "github.com/graft-ml/graft/internal/kernel"

// Heads says how the columns of a packed query-key-value row are divided: H query heads, then K key heads, then K value
// heads, each of D numbers; or, Grouped, K times the H/K query heads that share a key head, that key head and its value
// head, as GPT-NeoX, BLOOM (K = H) and Falcon store them.
type Heads struct {
	Query, KeyValue, Dim int
	Grouped              bool
}

// Columns is the width of a packed row.
func (h Heads) Columns() int { return (h.Query + 2*h.KeyValue) * h.Dim }

// group is how many query heads share a key head.
func (h Heads) group() int { return h.Query / h.KeyValue }

// step is the distance between key heads, and between value heads.
func (h Heads) step() int {
	if h.Grouped {
		return (h.group() + 2) * h.Dim
	}
	return h.Dim
}

// queryAt is the first column of query head i.
func (h Heads) queryAt(i int) int {
	if h.Grouped {
		return i/h.group()*h.step() + i%h.group()*h.Dim
	}
	return i * h.Dim
}

// keyAt is the first column of key head j.
func (h Heads) keyAt(j int) int {
	if h.Grouped {
		return j*h.step() + h.group()*h.Dim
	}
	return (h.Query + j) * h.Dim
}

// valueAt is the first column of value head j.
func (h Heads) valueAt(j int) int {
	if h.Grouped {
		return h.keyAt(j) + h.Dim
	}
	return h.keyAt(j) + h.KeyValue*h.Dim
}

// compact copies heads that are step apart in x to where they lie side by side in y [n, K·D].
func (h Heads) compact(y, x kernel.Mat) {
	for t := range x.Rows {
		for j := range h.KeyValue {
			copy(y.Row(t)[j*h.Dim:(j+1)*h.Dim], x.Row(t)[j*h.step():])
		}
	}
}

// turning are the first columns of the heads that rotary positions turn: all queries and keys.
func (h Heads) turning() []int {
	var list []int
	for i := range h.Query {
		list = append(list, h.queryAt(i))
	}
	for j := range h.KeyValue {
		list = append(list, h.keyAt(j))
	}
	return list
}
