package data

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
)

// Orders are the ways to walk through a set, epoch by epoch. Each is a function of (seed, epoch) alone, so that a run can
// go on anywhere without walking there.
var Orders = []struct {
	Name, Doc string
	order     func(n int, seed uint64, epoch int) []int32
}{
	{"shuffled", "another random order in each epoch", shuffled},
	{"sequential", "the order of the data", sequential},
	{"sha256", `sorted by the bytes of SHA-256("SEED:EPOCH:INDEX"), a rule that other programs can follow`, bySHA256},
}

func sequential(n int, _ uint64, _ int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i)
	}
	return p
}

func shuffled(n int, seed uint64, epoch int) []int32 {
	p := sequential(n, seed, epoch)
	shuffle(p, counter{seed, uint64(epoch)})
	return p
}

func bySHA256(n int, seed uint64, epoch int) []int32 {
	sums := make([][sha256.Size]byte, n)
	head := fmt.Appendf(nil, "%d:%d:", seed, epoch)
	for i := range sums {
		sums[i] = sha256.Sum256(strconv.AppendInt(head[:len(head):len(head)], int64(i), 10))
	}
	p := sequential(n, seed, epoch)
	slices.SortFunc(p, func(a, b int32) int { return bytes.Compare(sums[a][:], sums[b][:]) })
	return p
}

// counter is a random function of (seed, stream, i). It is spelled out here, because the order of a run must not change
// with the version of a library.
type counter struct{ seed, stream uint64 }

// at is the i-th number.
func (c counter) at(i uint64) uint64 { return scramble(scramble(scramble(c.seed)^c.stream) ^ i) }

// scramble is the finaliser of SplitMix64 on its own sequence [steele2014].
//
// References:
//
//	[steele2014]  G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// shuffle is Fisher and Yates's.
func shuffle[T any](p []T, c counter) {
	for i := len(p) - 1; i > 0; i-- {
		// The high word of a product is below i+1, and uneven by less than i/2⁶⁴.
		j, _ := bits.Mul64(c.at(uint64(i)), uint64(i+1))
		p[i], p[j] = p[j], p[i]
	}
}

// Split takes fraction of the rows out for evaluation, rounded, at least one if there are two. Which ones is a matter of
// the seed and of their places in the source alone: it does not change with sequence_len, and hardly when rows are
// appended. All windows of one row go to the same side. Split each source before Mix, which repeats rows.
func (s Set) Split(fraction float64, seed uint64) (train, eval Set) {
	var rows []int
	for i := range s {
		if i == 0 || s[i].Ordinal != s[i-1].Ordinal {
			rows = append(rows, s[i].Ordinal)
		}
	}
	if !(fraction > 0) || len(rows) < 2 {
		return s, nil
	}
	c := counter{seed, splitStream}
	slices.SortFunc(rows, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.at(uint64(a)), c.at(uint64(b))), cmp.Compare(a, b))
	})
	k := min(max(int(math.Round(fraction*float64(len(rows)))), 1), len(rows)-1)
	out := make(map[int]bool, k)
	for _, r := range rows[:k] {
		out[r] = true
	}
	for i := range s {
		if out[s[i].Ordinal] {
			eval = append(eval, s[i])
		} else {
			train = append(train, s[i])
		}
	}
	return train, eval
}

// Every takes each n-th row out for evaluation, counted in the source from 1: the n-th, the 2n-th and so on. Rows of articles
// are counted by paragraphs, so that no context is on both sides.
func (s Set) Every(n int) (train, eval Set) {
	for i := range s {
		at := s[i].Ordinal
		if s[i].Part > 0 {
			at = s[i].Part - 1
		}
		if at%n == n-1 {
			eval = append(eval, s[i])
		} else {
			train = append(train, s[i])
		}
	}
	return train, eval
}

// Streams of random numbers that are not epochs.
const (
	splitStream = 1<<63 + iota
	mixStream
	binStream
	maskStream
)

// Weighted is a set and how often each of its examples is visited in an epoch: 1 once, 3 thrice, 0.25 every fourth one.
type Weighted struct {
	Set    Set
	Weight float64
}

// Mix spreads several sets evenly over one: after any part of the result, each has given about that part of itself.
func Mix(seed uint64, sets ...Weighted) (Set, error) {
	type item struct {
		at      float64
		set, ex int
	}
	var items []item
	for k, w := range sets {
		if !(w.Weight >= 0) || w.Weight > 1e6 {
			return nil, fmt.Errorf("data: source %d: weight is %g, want 0 to 1000000", k+1, w.Weight)
		}
		picked := w.pick(counter{seed, mixStream + uint64(k)<<32})
		for j, i := range picked {
			items = append(items, item{(float64(j) + 0.5) / float64(len(picked)), k, i})
		}
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(a.at, b.at) })
	out := make(Set, len(items))
	for i, x := range items {
		out[i] = sets[x.set].Set[x.ex]
	}
	return out, nil
}

// pick lists the examples of an epoch: all of them as often as the whole part of the weight says, then the rest chosen
// by the seed, in the order of the data.
func (w Weighted) pick(c counter) []int {
	var picked []int
	whole, rest := math.Modf(w.Weight)
	for range int(whole) {
		for i := range w.Set {
			picked = append(picked, i)
		}
	}
	k := int(math.Round(rest * float64(len(w.Set))))
	if k == 0 {
		return picked
	}
	byHash := make([]int, len(w.Set))
	for i := range byHash {
		byHash[i] = i
	}
	slices.SortFunc(byHash, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.at(uint64(a)), c.at(uint64(b))), cmp.Compare(a, b))
	})
	chosen := byHash[:k]
	slices.Sort(chosen)
	return append(picked, chosen...)
}
