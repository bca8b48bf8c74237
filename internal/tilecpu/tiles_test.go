package tilecpu

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// TestDecode decodes what internal/kernel's macros write, and what an assembler writes for other forms.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		code string
		want instruction
	}{
		{"c4e2784900", instruction{op: ldtilecfg, mem: operand{base: 0, index: none}, size: 5}},
		{"c4e278494740", instruction{op: ldtilecfg, mem: operand{base: 7, index: none, disp: 64}, size: 6}},
		{"c4e27849c0", instruction{op: tilerelease, size: 5}},
		{"c4e27b49d8", instruction{op: tilezero, c: 3, size: 5}},
		{"c4e27b4ba40800040000", instruction{op: tileloadd, c: 4, mem: operand{base: 0, index: 1, disp: 1024}, size: 10}},
		{"c4a27b4bbc0e00fcffff", instruction{op: tileloadd, c: 7, mem: operand{base: 6, index: 9, disp: -1024}, size: 10}},
		{"c4c2794b0c20", instruction{op: tileloaddt1, c: 1, mem: operand{base: 8, index: none}, size: 6}},
		{"c4c27a4b841200000000", instruction{op: tilestored, c: 0, mem: operand{base: 10, index: 2}, size: 10}},
		{"c4e2425cdd", instruction{op: tdpbf16ps, c: 3, a: 5, b: 7, size: 5}},
	} {
		code := fromHex(t, c.code)
		in, ok := decode(append(code, 0x90))
		if ok {
			switch in.op { // what the table leaves out means nothing
			case tilerelease, tilezero, tdpbf16ps:
				in.mem = operand{}
			}
		}
		if !ok || in != c.want {
			t.Errorf("decode(%s) = %+v, %v, want %+v", c.code, in, ok, c.want)
		}
		for n := range len(code) {
			if _, ok := decode(code[:n]); ok {
				t.Errorf("decode(%s) of the first %d bytes is ok", c.code, n)
			}
		}
	}
	for _, other := range []string{"c4e2f84900" /* W */, "c4e27c4900" /* L */, "c4e2704900" /* vvvv */, "c4e1784900" /* map */, "c5f8770000", "0f0b000000", "c4e27849c1", "c4e27b4b07" /* no SIB */} {
		if in, ok := decode(fromHex(t, other)); ok {
			t.Errorf("decode(%s) = %v, want none", other, in.op)
		}
	}
}

func fromHex(t *testing.T, s string) (b []byte) {
	t.Helper()
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0xC4, 0xE2, 0x7B, 0x4B, 0xA4, 8, 0, 4, 0, 0})
	f.Fuzz(func(t *testing.T, code []byte) {
		if in, ok := decode(code); ok && (in.size > len(code) || in.size > maxCode) {
			t.Errorf("decode(%x) takes %d bytes of %d", code, in.size, len(code))
		}
	})
}

// slab is memory that begins at address 0.
type slab []byte

func (m slab) row(i int, first, stride uint64, width int) ([]byte, error) {
	at := first + uint64(i)*stride
	if at > uint64(len(m)) || at+uint64(width) > uint64(len(m)) {
		return nil, fmt.Errorf("row %d at %#x", i, at)
	}
	return m[at : at+uint64(width)], nil
}

func (m slab) readRows(dst []byte, first, stride uint64, rows, width int) error {
	for i := range rows {
		row, err := m.row(i, first, stride, width)
		if err != nil {
			return err
		}
		copy(dst[i*width:], row)
	}
	return nil
}

func (m slab) writeRows(src []byte, first, stride uint64, rows, width int) error {
	for i := range rows {
		row, err := m.row(i, first, stride, width)
		if err != nil {
			return err
		}
		copy(row, src[i*width:])
	}
	return nil
}

// machine is a thread's tiles, its memory, and its registers, which hold their numbers times 64.
type machine struct {
	tiles
	slab
}

func (m *machine) step(in instruction) error {
	return m.do(&in, m.slab, func(n int) uint64 { return uint64(64 * n) })
}

// config is a configuration of tiles of the shape.
func config(rows, colsb int) []byte {
	c := make([]byte, 64)
	c[0] = 1
	for i := range numTiles {
		binary.LittleEndian.PutUint16(c[16+2*i:], uint16(colsb))
		c[48+i] = byte(rows)
	}
	return c
}

// TestTilesAreMoved loads and stores a tile of a shape smaller than a register.
func TestTilesAreMoved(t *testing.T) {
	const rows, colsb = 3, 12
	m := &machine{slab: make(slab, 4096)}
	for i := range m.slab {
		m.slab[i] = byte(i * 7)
	}
	copy(m.slab, config(rows, colsb))
	from, to := operand{base: 1, index: 1}, operand{base: 2, index: 1, scale: 1, disp: 1024} // rows 64 and 128 bytes apart
	for _, in := range []instruction{{op: ldtilecfg, mem: operand{index: none}}, {op: tileloadd, c: 5, mem: from}, {op: tilestored, c: 5, mem: to}} {
		if err := m.step(in); err != nil {
			t.Fatalf("%v: %v", in.op, err)
		}
	}
	for i := range rows {
		for j := range colsb + 1 {
			got, want := m.slab[1024+128+128*i+j], m.slab[64+64*i+j]
			if (got == want) != (j < colsb) {
				t.Errorf("byte %d of row %d is %d, loaded from %d", j, i, got, want)
			}
		}
	}
}

// TestMisuseIsRefused: every row ends in an error that says what it is about.
func TestMisuseIsRefused(t *testing.T) {
	configure, release := instruction{op: ldtilecfg, mem: operand{index: none}}, instruction{op: tilerelease}
	zero, product := instruction{op: tilezero, c: 1}, instruction{op: tdpbf16ps, c: 0, a: 1, b: 2}
	far := instruction{op: tileloadd, c: 1, mem: operand{index: 1, disp: 4096 - 64*15}}
	bad := config(16, 64)
	bad[60] = 1
	for _, c := range []struct {
		name   string
		config []byte
		steps  []instruction
		want   string
	}{
		{"not configured", config(16, 64), []instruction{zero}, "not configured"},
		{"released", config(16, 64), []instruction{configure, zero, release, zero}, "not configured"},
		{"not released", config(16, 64), []instruction{configure, configure}, "still configured"},
		{"palette", make([]byte, 64), []instruction{configure}, "palette"},
		{"reserved bytes", bad, []instruction{configure}, "byte 60"},
		{"rows", config(17, 64), []instruction{configure}, "17 rows"},
		{"no columns", config(4, 0), []instruction{configure}, "4 rows of 0"},
		{"shapes", config(8, 64), []instruction{configure, product}, "not configured for it"},
		{"a tile twice", config(16, 64), []instruction{configure, {op: tdpbf16ps, c: 1, a: 1, b: 2}}, "not configured for it"},
		{"memory", config(16, 64), []instruction{configure, far}, "row 15"},
	} {
		m := &machine{slab: make(slab, 4096)}
		copy(m.slab, c.config)
		for i, in := range c.steps {
			err := m.step(in)
			if last := i == len(c.steps)-1; (err != nil) != last {
				t.Errorf("%s: step %d: %v", c.name, i, err)
			} else if last && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	}
}
