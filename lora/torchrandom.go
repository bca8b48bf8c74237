package lora

// mersenne is the Mersenne twister MT19937, torch's generator on the CPU: the places of FourierFT and WaveFT are not in their
// files but drawn by it.
type mersenne struct {
	state [624]uint32
	at    int
}

func newMersenne(seed uint32) *mersenne {
	m := &mersenne{at: 624}
	m.state[0] = seed
	for i := 1; i < len(m.state); i++ {
		m.state[i] = 1812433253*(m.state[i-1]^m.state[i-1]>>30) + uint32(i)
	}
	return m
}

// next is the next number of 32 bits.
func (m *mersenne) next() uint32 {
	const n, half = 624, 397
	if m.at == n {
		for i := range n {
			y := m.state[i]&(1<<31) | m.state[(i+1)%n]&(1<<31-1)
			m.state[i] = m.state[(i+half)%n] ^ y>>1 ^ y&1*0x9908b0df
		}
		m.at = 0
	}
	y := m.state[m.at]
	m.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// permutation is the first count numbers of torch.randperm(n) for a seed. Only what was moved is remembered.
func permutation(n, count int, seed uint32) []int {
	m := newMersenne(seed)
	moved := map[int]int{}
	get := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	list := make([]int, count)
	for i := range list {
		j := i
		if i < n-1 { // the last one has no choice
			j += int(m.next() % uint32(n-i))
		}
		list[i], moved[j] = get(j), get(i)
		delete(moved, i)
	}
	return list
}
