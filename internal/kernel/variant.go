package kernel

import (
	"fmt"
	"sync/atomic"
)

// A variant is one way to compute on one kind of processor.
type variant struct {
	name  string
	vec   vecLevel // of products in float32
	bf16  bool     // has VDPBF16PS
	vnni  bool     // has VPDPBUSD
	tiles bool     // has bf16 tiles
}

// vecLevel is which vector registers and numbers the loops of a product use.
type vecLevel uint8

const (
	vecGo    vecLevel = iota // plain Go
	vec256                   // AVX2, FMA and F16C
	vec512                   // AVX-512 F, DQ, BW, VL
	vecPairs                 // the same and AVX512-BF16: two bf16 in place of each float32. A product's, never a variant's
)

var plainGo = variant{name: "go"}

// active is the variant in use; nil until first asked for. It changes only in tests.
var active atomic.Pointer[variant]

// current is the variant in use: the last, fastest one that the machine has.
func current() *variant {
	if v := active.Load(); v != nil {
		return v
	}
	all := available()
	active.CompareAndSwap(nil, &all[len(all)-1])
	return active.Load()
}

// available are the machine's variants, plain Go first, the fastest last.
func available() []variant { return append([]variant{plainGo}, machineVariants()...) }

// Features names the variant in use: go, avx2+fma, avx512, avx512+bf16 or avx512+amx.
func Features() string { return current().name }

// Variants are the names of the variants that this machine has, plain Go first, the fastest last.
func Variants() []string {
	var names []string
	for _, v := range available() {
		names = append(names, v.name)
	}
	return names
}

// Use makes every later call of the package compute with the named variant of Variants, and returns a function that
// goes back. It is meant for tests and benchmarks; nothing may be computing meanwhile.
func Use(name string) (restore func(), err error) {
	old := current()
	for _, v := range available() {
		if v.name == name {
			active.Store(&v)
			return func() { active.Store(old) }, nil
		}
	}
	return nil, fmt.Errorf("kernel: variant %q, want one of %v", name, Variants())
}
