package tokenizer

import "math/bits"

// table maps keys to values by open addressing; it is several times faster than a map in the inner loops here. It is
// filled once and then only read, so it is safe for concurrent use.
type table struct {
	keys []uint64 // key+1, 0 is a free place
	vals []uint64
	n    int
}

const missing = ^uint64(0)

func newTable(n int) table {
	size := 1 << bits.Len(uint(2*n+2))
	return table{keys: make([]uint64, size), vals: make([]uint64, size)}
}

func (t *table) place(key uint64) int {
	mask := uint64(len(t.keys) - 1)
	i := key * 0x9e3779b97f4a7c15
	i ^= i >> 32
	for i &= mask; t.keys[i] != 0 && t.keys[i] != key+1; {
		i = (i + 1) & mask
	}
	return int(i)
}

// get is the value of key, or missing.
func (t *table) get(key uint64) uint64 {
	i := t.place(key)
	if t.keys[i] == 0 {
		return missing
	}
	return t.vals[i]
}

func (t *table) set(key, val uint64) {
	if 2*t.n >= len(t.keys) {
		old := *t
		*t = newTable(2 * t.n)
		for i, k := range old.keys {
			if k != 0 {
				t.set(k-1, old.vals[i])
			}
		}
	}
	i := t.place(key)
	if t.keys[i] == 0 {
		t.n++
	}
	t.keys[i], t.vals[i] = key+1, val
}

// trie finds all strings of a set that are prefixes of a text.
type trie struct {
	edges table   // node<<8 | byte -> node
	value []int32 // per node, noToken if no string ends there
	first [256]uint32
}

func newTrie(n int) *trie { return &trie{edges: newTable(n), value: []int32{noToken}} }

func (t *trie) add(s string, value int32) {
	node := uint64(0)
	for i := range len(s) {
		key := node<<8 | uint64(s[i])
		next := t.edges.get(key)
		if next == missing {
			next = uint64(len(t.value))
			t.value = append(t.value, noToken)
			t.edges.set(key, next)
			if i == 0 {
				t.first[s[0]] = uint32(next)
			}
		}
		node = next
	}
	t.value[node] = value
}

// step is the node after b, ok is false if there is none.
func (t *trie) step(node uint64, b byte) (uint64, bool) {
	if node == 0 {
		n := t.first[b]
		return uint64(n), n != 0
	}
	next := t.edges.get(node<<8 | uint64(b))
	return next, next != missing
}

// longest is the value and the length of the longest string that s starts with; n is 0 if there is none.
func (t *trie) longest(s string) (value int32, n int) {
	node, value := uint64(0), int32(noToken)
	for i := range len(s) {
		next, ok := t.step(node, s[i])
		if !ok {
			break
		}
		node = next
		if v := t.value[node]; v != noToken {
			value, n = v, i+1
		}
	}
	return value, n
}
