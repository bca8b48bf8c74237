//go:build !purego

package kernel

//go:generate go run -C _asm . ..

// machineVariants are the variants beyond plain Go that the processor and the operating system both offer.
func machineVariants() []variant {
	f := cpu()
	var all []variant
	if f.avx2 {
		all = append(all, variant{name: "avx2+fma", vec: vec256})
	}
	if f.avx512 {
		all = append(all, variant{name: "avx512", vec: vec512})
	}
	if f.avx512bf16 {
		all = append(all, variant{name: "avx512+bf16", vec: vec512, bf16: true, vnni: f.vnni})
	}
	if f.amx {
		all = append(all, variant{name: "avx512+amx", vec: vec512, bf16: true, vnni: f.vnni, tiles: true})
	}
	return all
}
