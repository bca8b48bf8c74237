//go:build !purego

package kernel

import "sync"

func cpuid(leaf, sub uint32) (a, b, c, d uint32)
func xgetbv() uint32

// features says what the processor and the operating system both offer.
type features struct {
	avx2, avx512, vnni, avx512bf16, amx bool
}

// cpu is filled on first use. Every step asks only what the step before it has shown to exist, so it is safe on any
// amd64 machine: XGETBV needs OSXSAVE, leaf 7 needs a highest leaf of 7, leaf 7.1 needs leaf 7's answer, tiles need the
// operating system's permission.
var cpu = sync.OnceValue(func() (f features) {
	top, _, _, _ := cpuid(0, 0)
	_, _, c1, _ := cpuid(1, 0)
	const osxsave, avx, fma, f16c = 1 << 27, 1 << 28, 1 << 12, 1 << 29
	if top < 7 || c1&osxsave == 0 {
		return
	}
	xcr0 := xgetbv()
	sub, b7, c7, d7 := cpuid(7, 0)
	const avx2 = 1 << 5
	f.avx2 = xcr0&6 == 6 && c1&avx != 0 && c1&fma != 0 && c1&f16c != 0 && b7&avx2 != 0
	const f512, dq512, bw512, vl512 = 1 << 16, 1 << 17, 1 << 30, 1 << 31
	const all512 = f512 | dq512 | bw512 | vl512
	f.avx512 = f.avx2 && xcr0&0xe6 == 0xe6 && b7&all512 == all512
	const vnni = 1 << 11
	f.vnni = f.avx512 && c7&vnni != 0
	if f.avx512 && sub >= 1 {
		a, _, _, _ := cpuid(7, 1)
		f.avx512bf16 = a&(1<<5) != 0
	}
	const bf16, tile = 1 << 22, 1 << 24
	if f.avx512bf16 && d7&(bf16|tile) == bf16|tile && xcr0>>17&3 == 3 {
		f.amx = permitTiles()
	}
	return
})
