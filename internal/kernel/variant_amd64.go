//go:build !purego

package kernel

//go:generate go run ./_asm

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
	return all
}
