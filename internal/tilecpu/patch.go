package tilecpu

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"fmt"
)

// detector is a function of internal/kernel that asks the processor what there is. It is assembly without a frame, so where
// it returns its arguments and results lie behind the return address.
type detector struct {
	name  string
	asks  []byte               // the instruction
	words int                  // of 32 bits: arguments and results
	add   func(words []uint32) // adds tiles to the results
}

const kernelPackage = "github.com/graft-ml/graft/internal/kernel."

var detectors = []detector{
	{name: "cpuid", asks: []byte{0x0F, 0xA2}, words: 6, add: func(w []uint32) { // leaf, subleaf, eax, ebx, ecx, edx
		const bf16, tile = 1 << 22, 1 << 24
		if w[0] == 7 && w[1] == 0 {
			w[5] |= bf16 | tile
		}
	}},
	{name: "xgetbv", asks: []byte{0x0F, 0x01, 0xD0}, words: 1, add: func(w []uint32) {
		const config, data = 1 << 17, 1 << 18
		w[0] |= config | data
	}},
}

// program is what tracing needs to know of a Go binary.
type program struct {
	symbols *gosym.Table
	returns map[uint64]*detector // by the address of the RET
}

// open reads a Go binary's table of functions.
func open(path string) (*program, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tilecpu: %s: %w", path, err)
	}
	defer f.Close()
	lines, text := f.Section(".gopclntab"), f.Section(".text")
	if lines == nil || text == nil || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("tilecpu: %s: not a Go program at a fixed address", path)
	}
	table, err := lines.Data()
	if err != nil {
		return nil, fmt.Errorf("tilecpu: %s: %w", path, err)
	}
	code, err := text.Data()
	if err != nil {
		return nil, fmt.Errorf("tilecpu: %s: %w", path, err)
	}
	symbols, err := gosym.NewTable(nil, gosym.NewLineTable(table, text.Addr))
	if err != nil {
		return nil, fmt.Errorf("tilecpu: %s: %w", path, err)
	}
	p := &program{symbols, map[uint64]*detector{}}
	for i := range detectors {
		if at := p.find(&detectors[i], code, text.Addr); at != 0 {
			p.returns[at] = &detectors[i]
		}
	}
	if len(p.returns) != len(detectors) {
		return nil, fmt.Errorf("tilecpu: %s: has %d of the %d functions of internal/kernel that ask for tiles", path, len(p.returns), len(detectors))
	}
	return p, nil
}

// find returns the address where the detector returns, or 0. A wrapper of the compiler's may have the same name.
func (p *program) find(d *detector, code []byte, base uint64) uint64 {
	const ret = 0xC3
	for _, f := range p.symbols.Funcs {
		if f.Name != kernelPackage+d.name {
			continue
		}
		body := code[f.Entry-base : f.End-base]
		at := bytes.Index(body, d.asks)
		if at < 0 {
			continue
		}
		if r := bytes.LastIndexByte(body, ret); r > at {
			return f.Entry + uint64(r)
		}
	}
	return 0
}

// line names the place of an instruction.
func (p *program) line(pc uint64) string {
	file, line, f := p.symbols.PCToLine(pc)
	if f == nil {
		return fmt.Sprintf("%#x", pc)
	}
	return fmt.Sprintf("%s:%d (%s)", file, line, f.Name)
}
