package tilecpu

import "encoding/binary"

// operation is what a tile instruction does.
type operation uint8

const (
	ldtilecfg operation = iota
	sttilecfg
	tilerelease
	tilezero
	tileloadd
	tileloaddt1
	tilestored
	tdpbf16ps
)

var operationNames = [...]string{ldtilecfg: "LDTILECFG", sttilecfg: "STTILECFG", tilerelease: "TILERELEASE", tilezero: "TILEZERO", tileloadd: "TILELOADD",
	tileloaddt1: "TILELOADDT1", tilestored: "TILESTORED", tdpbf16ps: "TDPBF16PS"}

func (o operation) String() string { return operationNames[o] }

// encoding is what tells one tile instruction from another, all of them VEX.128.0F38.W0.
type encoding struct {
	opcode, prefix byte // prefix: 0 none, 1 66, 2 F3, 3 F2
	inMemory       bool // the ModRM byte names memory
}

var operations = map[encoding]operation{
	{0x49, 0, true}:  ldtilecfg,
	{0x49, 1, true}:  sttilecfg,
	{0x49, 0, false}: tilerelease,
	{0x49, 3, false}: tilezero,
	{0x4B, 3, true}:  tileloadd,
	{0x4B, 1, true}:  tileloaddt1,
	{0x4B, 2, true}:  tilestored,
	{0x5C, 2, false}: tdpbf16ps,
}

// instruction is one that was decoded.
type instruction struct {
	op      operation
	c, a, b int // tiles: c is written (stored, for TILESTORED), a and b are the factors of a product
	mem     operand
	size    int // bytes of code
}

// operand is base + index·2^scale + disp; registers are numbers, none is none.
type operand struct {
	base, index int
	scale       uint
	disp        int32
}

const none = -1

// maxCode is the length of the longest tile instruction.
const maxCode = 10

// decode reads the tile instruction that code begins with; ok is false if it is none.
func decode(code []byte) (in instruction, ok bool) {
	const vex3, map0F38 = 0xC4, 2
	if len(code) < 5 || code[0] != vex3 || code[1]&31 != map0F38 || code[2]&0x84 != 0 { // W and L are 0
		return in, false
	}
	modrm := code[4]
	in.op, ok = operations[encoding{code[3], code[2] & 3, modrm < 0xC0}]
	second := int(^code[2] >> 3 & 15)
	if !ok || code[1]&0x80 == 0 || second != 0 && in.op != tdpbf16ps || second > 7 {
		return in, false
	}
	in.c, in.size = int(modrm>>3&7), 5
	switch {
	case in.op == tdpbf16ps:
		in.a, in.b = int(modrm&7), second
	case in.op == tilerelease || in.op == tilezero:
		ok = modrm&7 == 0 && (in.op == tilezero || in.c == 0)
	default:
		ok = in.operand(code)
	}
	return in, ok
}

// operand decodes the operand in memory of code: ModRM, SIB and displacement. Addresses relative to the instruction are
// not known.
func (in *instruction) operand(code []byte) bool {
	mod, rm, rest := code[4]>>6, int(code[4]&7), code[5:]
	x, b := int(^code[1]>>6&1)<<3, int(^code[1]>>5&1)<<3
	in.mem = operand{base: rm | b, index: none}
	if rm == 4 {
		if len(rest) == 0 {
			return false
		}
		sib := rest[0]
		rest, in.size = rest[1:], in.size+1
		rm = int(sib & 7)
		in.mem = operand{base: rm | b, index: int(sib>>3&7) | x, scale: uint(sib >> 6)}
		if in.mem.index == 4 {
			in.mem.index = none
		}
	} else if in.op != ldtilecfg && in.op != sttilecfg || mod == 0 && rm == 5 {
		return false // rows of tiles need a SIB byte
	}
	if mod == 0 && rm == 5 {
		in.mem.base, mod = none, 2
	}
	switch {
	case mod == 1 && len(rest) >= 1:
		in.mem.disp = int32(int8(rest[0]))
		in.size++
	case mod == 2 && len(rest) >= 4:
		in.mem.disp = int32(binary.LittleEndian.Uint32(rest))
		in.size += 4
	case mod != 0:
		return false
	}
	return true
}

// address splits the operand into where it begins and, for the rows of a tile, how far apart they are.
func (o operand) address(register func(n int) uint64) (first, stride uint64) {
	first = uint64(int64(o.disp))
	if o.base != none {
		first += register(o.base)
	}
	if o.index != none {
		stride = register(o.index) << o.scale
	}
	return first, stride
}
