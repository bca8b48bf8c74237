package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap is SentencePiece's compiled table of replacements: a double-array trie of the texts to replace, whose values
// point into a pool of NUL-terminated texts to put there.
//
//	u32 size of the trie in bytes | trie: u32 units | pool
type charsmap struct {
	units []uint32
	pool  string
}

func newCharsmap(b []byte) (normalizer, error) {
	if len(b) == 0 {
		return charsmap{}, nil
	}
	if len(b) < 4 {
		return nil, errors.New("precompiled_charsmap: shorter than its header")
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) || n%4 != 0 {
		return nil, fmt.Errorf("precompiled_charsmap: trie of %d bytes, want at most %d and a multiple of 4", n, len(b)-4)
	}
	m := charsmap{units: make([]uint32, n/4), pool: string(b[4+n:])}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	return m, nil
}

// lookup is the replacement of the shortest prefix of s that has one.
func (m charsmap) lookup(s string) (string, bool) {
	if len(m.units) == 0 {
		return "", false
	}
	pos := trieOffset(m.units[0])
	for i := range len(s) {
		pos ^= uint32(s[i])
		if int(pos) >= len(m.units) {
			return "", false
		}
		unit := m.units[pos]
		if unit&(1<<31|0xff) != uint32(s[i]) {
			return "", false
		}
		pos ^= trieOffset(unit)
		if unit>>8&1 == 1 && int(pos) < len(m.units) {
			at := int(m.units[pos] & (1<<31 - 1))
			if at >= len(m.pool) {
				return "", false
			}
			rest := m.pool[at:]
			if end := strings.IndexByte(rest, 0); end >= 0 {
				rest = rest[:end]
			}
			return rest, true
		}
	}
	return "", false
}

func trieOffset(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }

// normalize replaces short grapheme clusters as a whole, other text character by character.
func (m charsmap) normalize(t *text) {
	dest := make([]change, 0, len(t.s))
	modified := false
	rest, state := t.s, -1
	for rest != "" {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if len(cluster) < 6 {
			if to, ok := m.lookup(cluster); ok {
				dest, modified = appendReplacement(dest, cluster, to), true
				continue
			}
		}
		for i, r := range cluster {
			one := cluster[i : i+utf8.RuneLen(r)]
			if to, ok := m.lookup(one); ok {
				dest, modified = appendReplacement(dest, one, to), true
				continue
			}
			dest = append(dest, change{r, 0})
		}
	}
	if modified {
		t.transform(dest, 0)
	}
}

// appendReplacement lines to up with from: extra characters are new, missing ones are swallowed by the last.
func appendReplacement(dest []change, from, to string) []change {
	diff := utf8.RuneCountInString(to) - utf8.RuneCountInString(from)
	for _, r := range to {
		dest = append(dest, change{r, 0})
	}
	switch {
	case diff > 0:
		for i := range diff {
			dest[len(dest)-1-i].delta = 1
		}
	case diff < 0 && len(dest) > 0:
		dest[len(dest)-1].delta += diff
	}
	return dest
}
