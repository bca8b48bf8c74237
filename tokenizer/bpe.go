package tokenizer

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// bpe starts with the characters of a word and joins the pair of lowest rank, leftmost first, until none is left.
type bpe struct {
	vocab  *vocabulary
	merges table // left<<32 | right -> rank<<32 | joined

	ascii    [utf8.RuneSelf]int32 // ids of single characters
	letters  [256]int32           // ids of the letters of byte-level vocabularies
	fallback [256]int32           // ids of <0x00> … <0xFF>

	prefix, suffix string
	unk            int32
	fuseUnk        bool
	byteFallback   bool
	ignoreMerges   bool
	rawBytes       bool // every byte has its letter: byte-level pieces can be read as they are
	markCuts       bool // no merge crosses a "▁" that starts a word: texts can be cut there
}

func newBPE(j *modelJSON, obj fields) (model, *vocabulary, error) {
	v, err := readVocabulary(obj["vocab"])
	if err != nil {
		return nil, nil, err
	}
	m := &bpe{vocab: v, unk: noToken, fuseUnk: j.FuseUnk, byteFallback: j.ByteFallback, ignoreMerges: j.IgnoreMerges}
	if j.ContinuingSubwordPrefix != nil {
		m.prefix = *j.ContinuingSubwordPrefix
	}
	if j.EndOfWordSuffix != nil {
		m.suffix = *j.EndOfWordSuffix
	}
	if j.UnkToken != nil {
		if id, ok := v.ids[*j.UnkToken]; ok {
			m.unk = id
		}
	}
	m.rawBytes = m.prefix == "" && m.suffix == ""
	for i := range m.ascii {
		m.ascii[i] = v.id(string(rune(i)))
	}
	for i := range 256 {
		m.letters[i] = v.id(string(byteLetters[i]))
		m.fallback[i] = v.id(fmt.Sprintf("<0x%02X>", i))
		m.rawBytes = m.rawBytes && m.letters[i] != noToken
	}
	return m, v, m.readMerges(obj["merges"])
}

// readMerges fills the table of merges; they are "a b" strings or ["a", "b"] pairs.
func (m *bpe) readMerges(raw []byte) error {
	_, hasMark := m.vocab.ids[spaceMark]
	m.markCuts = hasMark && m.prefix == "" && m.suffix == "" && !m.ignoreMerges
	m.merges = newTable(len(raw) / 8)
	rank := 0
	var joined []byte
	return readMerges(raw, func(left, right []byte) error {
		a, ok := m.vocab.ids[string(left)]
		b, also := m.vocab.ids[string(right)]
		joined = append(joined[:0], left...)
		if m.prefix != "" {
			right = right[min(len(m.prefix), len(right)):]
		}
		joined = append(joined, right...)
		c, exists := m.vocab.ids[string(joined)]
		if !ok || !also || !exists {
			return fmt.Errorf("merges[%d]: %q and %q make %q, want three tokens of the vocabulary", rank, left, right, joined)
		}
		m.merges.set(uint64(a)<<32|uint64(b), uint64(rank)<<32|uint64(c))
		if m.markCuts && strings.HasPrefix(string(right), spaceMark) && !strings.HasSuffix(string(left), spaceMark) {
			m.markCuts = false
		}
		rank++
		return nil
	})
}

const spaceMark = "▁"

func (m *bpe) takesBytes() bool { return m.rawBytes }

func (m *bpe) tokenize(w *worker, s string, dst []token) []token {
	if !m.markCuts || w.bytes {
		return w.cached(m, s, dst)
	}
	for start := 0; start < len(s); {
		end := nextMark(s, start)
		from := len(dst)
		dst = w.cached(m, s[start:end], dst)
		for i := from; i < len(dst); i++ {
			dst[i].start += int32(start)
			dst[i].end += int32(start)
		}
		start = end
	}
	return dst
}

// nextMark is where the next "▁" after some other character stands, or the end.
func nextMark(s string, start int) int {
	i := start
	for strings.HasPrefix(s[i:], spaceMark) {
		i += len(spaceMark)
	}
	if n := strings.Index(s[i:], spaceMark); n >= 0 {
		return i + n
	}
	return len(s)
}

// symbol is a part of a word while it is being merged.
type symbol struct {
	id         int32
	start, end int32
	prev, next int32 // neighbours, -1 at the ends; next is also the chain of the linear form
	best       uint64
}

// word tokenizes one word.
func (m *bpe) word(w *worker, s string, dst []token) []token {
	if m.ignoreMerges {
		key := s
		if w.bytes {
			key = letterString(s)
		}
		if id, ok := m.vocab.ids[key]; ok {
			return append(dst, token{id, 0, int32(len(s))})
		}
	}
	sy := m.symbols(w, s)
	if len(sy) <= shortWord {
		sy = m.mergeShort(sy)
		for _, x := range sy {
			dst = append(dst, token{x.id, x.start, x.end})
		}
		return dst
	}
	m.mergeLong(w, sy)
	for i := int32(0); i >= 0; i = sy[i].next {
		dst = append(dst, token{sy[i].id, sy[i].start, sy[i].end})
	}
	return dst
}

func letterString(s string) string {
	out := make([]byte, 0, 2*len(s))
	for i := range len(s) {
		out = utf8.AppendRune(out, byteLetters[s[i]])
	}
	return string(out)
}

// symbols lists the first symbols of a word: characters, bytes for those that are not in the vocabulary, or unknown.
func (m *bpe) symbols(w *worker, s string) []symbol {
	sy := w.symbols[:0]
	add := func(id int32, a, b int) { sy = append(sy, symbol{id: id, start: int32(a), end: int32(b)}) }
	if w.bytes {
		for i := range len(s) {
			add(m.letters[s[i]], i, i+1)
		}
		w.symbols = sy
		return sy
	}
	unkFrom, unkTo := -1, -1 // an unknown stretch that is not added yet
	flush := func() {
		if unkFrom >= 0 {
			add(m.unk, unkFrom, unkTo)
			unkFrom = -1
		}
	}
	for i, r := range s {
		n := utf8.RuneLen(r)
		id := m.character(s[i:i+n], i == 0, i+n == len(s))
		if id != noToken {
			flush()
			add(id, i, i+n)
			continue
		}
		if m.byteFallback && m.hasBytes(s[i:i+n]) {
			for k := i; k < i+n; k++ {
				add(m.fallback[s[k]], k, k+1)
			}
			continue
		}
		if m.unk == noToken {
			continue
		}
		if !m.fuseUnk {
			flush()
		}
		if unkFrom < 0 {
			unkFrom = i
		}
		unkTo = i + n
	}
	flush()
	w.symbols = sy
	return sy
}

// character is the id of a single character of a word, or noToken.
func (m *bpe) character(c string, first, last bool) int32 {
	if m.prefix == "" && m.suffix == "" {
		if c[0] < utf8.RuneSelf {
			return m.ascii[c[0]]
		}
		return m.vocab.id(c)
	}
	if !first {
		c = m.prefix + c
	}
	if last {
		c += m.suffix
	}
	return m.vocab.id(c)
}

func (m *bpe) hasBytes(c string) bool {
	for i := range len(c) {
		if m.fallback[c[i]] == noToken {
			return false
		}
	}
	return true
}

func (m *bpe) pair(a, b int32) uint64 { return m.merges.get(uint64(a)<<32 | uint64(b)) }

// shortWord is the length up to which looking through all pairs beats a heap.
const shortWord = 48

// mergeShort keeps for each symbol the merge with its right neighbour and takes the lowest until there is none.
func (m *bpe) mergeShort(sy []symbol) []symbol {
	for i := range sy {
		sy[i].best = missing
		if i+1 < len(sy) {
			sy[i].best = m.pair(sy[i].id, sy[i+1].id)
		}
	}
	for {
		at, best := -1, uint64(missing)
		for i := range sy {
			if sy[i].best>>32 < best>>32 {
				at, best = i, sy[i].best
			}
		}
		if at < 0 {
			return sy
		}
		sy[at].id, sy[at].end = int32(best&math.MaxUint32), sy[at+1].end
		sy = append(sy[:at+1], sy[at+2:]...)
		sy[at].best = missing
		if at+1 < len(sy) {
			sy[at].best = m.pair(sy[at].id, sy[at+1].id)
		}
		if at > 0 {
			sy[at-1].best = m.pair(sy[at-1].id, sy[at].id)
		}
	}
}

// mergeLong does the same for long words with a heap of rank<<32 | position; entries that no longer hold are skipped.
// The tokens are left as a chain of next from symbol 0.
func (m *bpe) mergeLong(w *worker, sy []symbol) {
	heap := w.heap[:0]
	for i := range sy {
		sy[i].prev, sy[i].next = int32(i-1), int32(i+1)
	}
	sy[len(sy)-1].next = -1
	look := func(i int32) {
		sy[i].best = missing
		if j := sy[i].next; j >= 0 {
			if best := m.pair(sy[i].id, sy[j].id); best != missing {
				sy[i].best = best
				heap = heap.push(best&^math.MaxUint32 | uint64(i))
			}
		}
	}
	for i := range sy {
		look(int32(i))
	}
	for len(heap) > 0 {
		var top uint64
		top, heap = heap.pop()
		i := int32(top & math.MaxUint32)
		if sy[i].id == noToken || sy[i].best == missing || sy[i].best>>32 != top>>32 {
			continue
		}
		j := sy[i].next
		sy[i].id, sy[i].end, sy[i].next = int32(sy[i].best&math.MaxUint32), sy[j].end, sy[j].next
		sy[j].id = noToken
		if k := sy[j].next; k >= 0 {
			sy[k].prev = i
		}
		look(i)
		if h := sy[i].prev; h >= 0 {
			look(h)
		}
	}
	w.heap = heap
}

// minHeap is a binary heap.
type minHeap []uint64

func (h minHeap) push(x uint64) minHeap {
	h = append(h, x)
	for i := len(h) - 1; i > 0; {
		p := (i - 1) / 2
		if h[p] <= h[i] {
			break
		}
		h[p], h[i] = h[i], h[p]
		i = p
	}
	return h
}

func (h minHeap) pop() (uint64, minHeap) {
	top, n := h[0], len(h)-1
	h[0] = h[n]
	h = h[:n]
	for i := 0; ; {
		c := 2*i + 1
		if c >= n {
			return top, h
		}
		if c+1 < n && h[c+1] < h[c] {
			c++
		}
		if h[i] <= h[c] {
			return top, h
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
