package kernel

import (
	"math"
	"slices"
	"testing"
)

// oddNumbers are normal ones with zeros, equal ones, NaNs and infinities among them, guarded.
func oddNumbers(t *testing.T, n int, seed uint64) []float32 {
	next, at := normals(seed), 0
	special := []float32{0, float32(math.Copysign(0, -1)), 0.5, -0.5, float32(math.NaN()), float32(math.Inf(-1)), math.SmallestNonzeroFloat32, -math.MaxFloat32}
	return guarded(t, n, func() float32 {
		v := next()
		if at++; v > 0.7 {
			return special[at%len(special)]
		}
		return v
	})
}

// TestSizes holds what chooses by sizes to loops as the documentation has them, bit for bit.
func TestSizes(t *testing.T) {
	limits := []uint32{0, 1, Size(0.5), Size(0.5) + 1, Size(1), Size(float32(math.Inf(1))), 1 << 31}
	everyVariant(t, func(t *testing.T) {
		for n := range 258 {
			x, s := oddNumbers(t, n, uint64(n)), oddNumbers(t, n, uint64(n)+1000)
			most := uint32(0)
			for _, v := range x {
				most = max(most, Size(v))
			}
			if got := MaxSize(x); got != most {
				t.Errorf("MaxSize of %d numbers = %#x, want %#x", n, got, most)
			}
			for _, limit := range limits {
				from, below := guarded(t, n, normals(1)), guarded(t, n, normals(1))
				copy(from, x)
				copy(below, x)
				KeepFrom(from, s, limit)
				KeepBelow(below, s, limit)
				for i, v := range x {
					wantFrom, wantBelow := v, float32(0)
					if Size(s[i]) < limit {
						wantFrom, wantBelow = 0, v
					}
					if !sameBits(from[i], wantFrom) || !sameBits(below[i], wantBelow) {
						t.Fatalf("element %d of %d, %g, size of %g, limit %#x: KeepFrom %g, want %g; KeepBelow %g, want %g", i, n, v, s[i], limit, from[i], wantFrom, below[i], wantBelow)
					}
				}
			}
		}
	})
}

func sameBits(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }

func TestSumAbs(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for n := range 258 {
			x, want := guarded(t, n, normals(uint64(n))), 0.0
			for _, v := range x {
				want += math.Abs(float64(v))
			}
			if got := SumAbs(x); math.Abs(got-want) > 1e-12*want { // float64, in another order
				t.Errorf("SumAbs of %d numbers = %g, want %g", n, got, want)
			}
		}
	})
}

// TestElected: sums and quotients are those of loops, bit for bit; a sum with a NaN is a NaN.
func TestElected(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for n := range 258 {
			x, vote := oddNumbers(t, n, uint64(n)), oddNumbers(t, n, uint64(n)+1000)
			sum, divisor := guarded(t, n, normals(3)), guarded(t, n, normals(4))
			for i := range divisor {
				divisor[i] = float32(i % 3)
			}
			wantSum, wantDivisor := slices.Clone(sum), slices.Clone(divisor)
			for i, v := range x {
				if v != 0 && math.Signbit(float64(v)) == math.Signbit(float64(vote[i])) {
					wantSum[i] += v
					wantDivisor[i] += -0.75
				}
			}
			AddElected(sum, divisor, vote, x, -0.75)
			quotient := guarded(t, n, normals(5))
			copy(quotient, sum)
			Divide(quotient, divisor)
			for i := range x {
				want := wantSum[i]
				if wantDivisor[i] != 0 {
					want /= wantDivisor[i]
				}
				same := func(a, b float32) bool { return a == b || a != a && b != b }
				if !same(sum[i], wantSum[i]) || !same(divisor[i], wantDivisor[i]) || !same(quotient[i], want) {
					t.Fatalf("element %d of %d, %g by %g: sum %g, want %g; divisor %g, want %g; quotient %g, want %g",
						i, n, x[i], vote[i], sum[i], wantSum[i], divisor[i], wantDivisor[i], quotient[i], want)
				}
			}
		}
	})
}

func TestBetween(t *testing.T) {
	inf := Size(float32(math.Inf(1)))
	bounds := [][2]uint32{{0, 0}, {0, Size(0.5)}, {Size(0.5), Size(0.5)}, {Size(0.25), Size(1)}, {Size(0.5), inf}, {inf, inf}, {0, math.MaxInt32}}
	everyVariant(t, func(t *testing.T) {
		for n := range 258 {
			x := oddNumbers(t, n, uint64(n))
			for _, b := range bounds {
				var want []uint32
				var counts Counts
				for _, v := range x {
					switch k := Size(v); {
					case k < b[0]:
						counts.Below++
					case k == b[0]:
						counts.AtLow++
					case k == b[1]:
						counts.AtHigh++
					case k < b[1]:
						want = append(want, k)
					}
				}
				out := slices.Repeat([]uint32{7}, n+9)
				k, got := Between(out, x, b[0], b[1])
				if got != counts || !slices.Equal(out[:k], want) || out[n+8] != 7 {
					t.Fatalf("Between %#x of %d numbers: %v and %x, want %v and %x", b, n, got, out[:k], counts, want)
				}
			}
		}
	})
}
