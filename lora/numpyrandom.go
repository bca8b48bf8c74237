package lora

import "math/bits"

// pcg is NumPy's default generator: PCG64 seeded through a SeedSequence [oneill2014]. The places of UniLoRA are not in its files but
// drawn by it.
//
// References: [oneill2014] PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation.
type pcg struct {
	hi, lo       uint64 // state
	incHi, incLo uint64
	half         uint32 // the second half of the last number
	kept         bool   // half has not been given yet
}

// newPCG is numpy.random.default_rng(seed).
func newPCG(seed uint32) *pcg {
	w := seedWords(seed)
	p := &pcg{incHi: w[2]<<1 | w[3]>>63, incLo: w[3]<<1 | 1}
	p.step()
	var carry uint64
	p.lo, carry = bits.Add64(p.lo, w[1], 0)
	p.hi, _ = bits.Add64(p.hi, w[0], carry)
	p.step()
	return p
}

// seedWords is SeedSequence(seed).generate_state(4, uint64).
func seedWords(seed uint32) (w [4]uint64) {
	hash := uint32(0x43b0d7e5)
	mix := func(v uint32) uint32 {
		v ^= hash
		hash *= 0x931e8875
		v *= hash
		return v ^ v>>16
	}
	pool := [4]uint32{mix(seed), mix(0), mix(0), mix(0)}
	for from := range pool {
		for to := range pool {
			if from != to {
				v := 0xca01f9dd*pool[to] - 0x4973f715*mix(pool[from])
				pool[to] = v ^ v>>16
			}
		}
	}
	hash = 0x8b51f9dd
	for i := range 8 {
		v := pool[i%4] ^ hash
		hash *= 0x58f38ded
		v *= hash
		w[i/2] |= uint64(v^v>>16) << (32 * (i % 2))
	}
	return w
}

// step is state·multiplier + increment, in 128 bits.
func (p *pcg) step() {
	const mulHi, mulLo = 0x2360ed051fc65da4, 0x4385df649fccf645
	hi, lo := bits.Mul64(p.lo, mulLo)
	hi += p.hi*mulLo + p.lo*mulHi
	var carry uint64
	p.lo, carry = bits.Add64(lo, p.incLo, 0)
	p.hi, _ = bits.Add64(hi, p.incHi, carry)
}

// next is the next number of 64 bits.
func (p *pcg) next() uint64 {
	p.step()
	return bits.RotateLeft64(p.hi^p.lo, -int(p.hi>>58))
}

// next32 gives the halves of numbers, the lower first.
func (p *pcg) next32() uint32 {
	if p.kept {
		p.kept = false
		return p.half
	}
	v := p.next()
	p.half, p.kept = uint32(v>>32), true
	return uint32(v)
}

// below is a number from 0 to n, both included [lemire2019].
func (p *pcg) below(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	if n == 1<<32-1 {
		return p.next32()
	}
	size := uint64(n) + 1
	m := uint64(p.next32()) * size
	if uint32(m) < uint32(size) {
		for least := (1<<32 - 1 - n) % uint32(size); uint32(m) < least; {
			m = uint64(p.next32()) * size
		}
	}
	return uint32(m >> 32)
}

// masked is a number from 0 to n, both included: of the lowest bits that hold n, the first that is not larger.
func (p *pcg) masked(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	mask := uint32(1)<<bits.Len32(n) - 1
	for {
		if v := p.next32() & mask; v <= n {
			return v
		}
	}
}

// shuffle is Generator.shuffle.
func (p *pcg) shuffle(x []int) { swap(x, 1, p.masked) }

// swap exchanges elements from the end down to first with ones before them.
func swap(x []int, first int, draw func(n uint32) uint32) {
	for i := len(x) - 1; i >= first; i-- {
		j := draw(uint32(i))
		x[i], x[j] = x[j], x[i]
	}
}

// choose is Generator.choice(n, count, replace=False).
func (p *pcg) choose(n, count int) []int {
	if n > 10000 && count > n/50 { // the tail of a shuffled range
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		swap(all, max(n-count, 1), p.below)
		return all[n-count:]
	}
	list := make([]int, 0, count) // Floyd's way
	taken := map[int]bool{}
	for j := n - count; j < n; j++ {
		v := int(p.below(uint32(j)))
		if taken[v] {
			v = j
		}
		taken[v] = true
		list = append(list, v)
	}
	swap(list, 1, p.below)
	return list
}
