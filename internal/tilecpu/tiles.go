package tilecpu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	numTiles = 8
	maxRows  = 16
	maxColsb = 64
)

// Tile is a register: rows of 16 double words, each a float32 or two bf16, the lower first.
type Tile [maxRows][maxColsb / 4]uint32

// shape is how many rows of how many bytes of a tile are configured; 0 for one that is not.
type shape struct{ rows, colsb int }

// tiles are the tile registers of one thread.
type tiles struct {
	configured bool
	shapes     [numTiles]shape
	data       [numTiles]Tile
}

// memory is the program's.
type memory interface {
	// readRows fills dst with rows of width bytes that begin at first, stride bytes apart; writeRows does the reverse.
	readRows(dst []byte, first, stride uint64, rows, width int) error
	writeRows(src []byte, first, stride uint64, rows, width int) error
}

// errShape is all that a processor says when tiles are not configured or do not fit: #UD.
var errShape = errors.New("tiles that are not configured for it")

// do carries out one instruction.
func (t *tiles) do(in *instruction, m memory, register func(n int) uint64) error {
	first, stride := in.mem.address(register)
	switch in.op {
	case ldtilecfg:
		return t.configure(m, first+stride)
	case tilerelease:
		*t = tiles{}
		return nil
	case sttilecfg:
		return errors.New("not emulated")
	case tdpbf16ps:
		return t.product(in.c, in.a, in.b)
	}
	s := t.shapes[in.c]
	if s == (shape{}) {
		return fmt.Errorf("tmm%d: %w", in.c, errShape)
	}
	switch in.op {
	case tilezero:
		t.data[in.c] = Tile{}
		return nil
	case tilestored:
		return t.store(in.c, m, first, stride)
	}
	return t.load(in.c, m, first, stride)
}

// configure reads the 64 bytes of a configuration: palette, row to start with, 14 of zeros, colsb of 16 tiles, rows of 16 tiles.
func (t *tiles) configure(m memory, at uint64) error {
	var c [64]byte
	if t.configured {
		return errors.New("tiles are still configured: TILERELEASE was left out")
	}
	if err := m.readRows(c[:], at, 0, 1, len(c)); err != nil {
		return err
	}
	if c[0] != 1 || c[1] != 0 {
		return fmt.Errorf("palette %d, first row %d, want 1 and 0", c[0], c[1])
	}
	for i, b := range c {
		if unused := i > 1 && i < 16 || i >= 32 && i < 48 || i >= 56; unused && b != 0 {
			return fmt.Errorf("byte %d of the configuration is %d, want 0", i, b)
		}
	}
	fresh := tiles{configured: true}
	for i := range fresh.shapes {
		s := shape{rows: int(c[48+i]), colsb: int(binary.LittleEndian.Uint16(c[16+2*i:]))}
		if s.rows > maxRows || s.colsb > maxColsb || (s.rows == 0) != (s.colsb == 0) {
			return fmt.Errorf("tmm%d of %d rows of %d bytes", i, s.rows, s.colsb)
		}
		fresh.shapes[i] = s
	}
	*t = fresh
	return nil
}

// load reads a tile; what lies beyond its shape becomes zero.
func (t *tiles) load(n int, m memory, first, stride uint64) error {
	var raw [maxRows * maxColsb]byte
	s := t.shapes[n]
	if err := m.readRows(raw[:s.rows*s.colsb], first, stride, s.rows, s.colsb); err != nil {
		return err
	}
	t.data[n] = Tile{}
	for i := range s.rows {
		for j := range s.colsb / 4 {
			t.data[n][i][j] = binary.LittleEndian.Uint32(raw[i*s.colsb+4*j:])
		}
	}
	return nil
}

func (t *tiles) store(n int, m memory, first, stride uint64) error {
	var raw [maxRows * maxColsb]byte
	s := t.shapes[n]
	for i := range s.rows {
		for j := range s.colsb / 4 {
			binary.LittleEndian.PutUint32(raw[i*s.colsb+4*j:], t.data[n][i][j])
		}
	}
	return m.writeRows(raw[:s.rows*s.colsb], first, stride, s.rows, s.colsb)
}

// product is TDPBF16PS: c += a·b, three different tiles of [rows, cols], [rows, pairs] and [pairs, cols].
func (t *tiles) product(c, a, b int) error {
	sc, sa, sb := t.shapes[c], t.shapes[a], t.shapes[b]
	fit := sa.rows == sc.rows && sb.colsb == sc.colsb && sa.colsb == 4*sb.rows && sc.colsb%4 == 0
	if sc == (shape{}) || sb == (shape{}) || !fit || c == a || c == b || a == b {
		return fmt.Errorf("tmm%d %v += tmm%d %v · tmm%d %v: %w", c, sc, a, sa, b, sb, errShape)
	}
	multiply(&t.data[c], &t.data[a], &t.data[b], sc.rows, sb.rows)
	return nil
}
