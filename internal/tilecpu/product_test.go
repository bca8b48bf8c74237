package tilecpu

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// randomTile holds numbers of sizes around 1; with wild, of all sizes, denormals among them.
func randomTile(rng *rand.Rand, wild bool) (t Tile) {
	half := func() uint32 {
		h := rng.Uint32() & 0xffff
		if !wild {
			return h&0x807f | (120+rng.Uint32N(15))<<7
		}
		for h&0x7f80 == 0x7f80 { // not finite
			h = rng.Uint32() & 0xffff
		}
		return h
	}
	for i := range t {
		for j := range t[i] {
			t[i][j] = half()<<16 | half()
		}
	}
	return t
}

// TestProductIsThePlainLoop: near a float64 sum for numbers of like sizes, and equal to it for small integers.
func TestProductIsThePlainLoop(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, integers := range []bool{false, true} {
		a, b, c := randomTile(rng, false), randomTile(rng, false), Tile{}
		tolerance := 1e-5 // 32 products and rounding of float32
		if integers {
			tolerance = 0
		}
		for i := range c {
			for j := range c[i] {
				c[i][j] = math.Float32bits(float32(rng.IntN(100)))
				if integers {
					a[i][j] = integer(rng)<<16 | integer(rng)
					b[i][j] = integer(rng)<<16 | integer(rng)
				}
			}
		}
		before := c
		multiply(&c, &a, &b, maxRows, 16)
		for i := range c {
			for j := range c[i] {
				want, size := float64(math.Float32frombits(before[i][j])), 0.0
				for k := range 16 {
					a0, a1 := halves(a[i][k])
					b0, b1 := halves(b[k][j])
					want += float64(a0)*float64(b0) + float64(a1)*float64(b1)
					size += math.Abs(float64(a0)*float64(b0)) + math.Abs(float64(a1)*float64(b1))
				}
				if got := float64(math.Float32frombits(c[i][j])); math.Abs(got-want) > tolerance*size {
					t.Fatalf("integers %v: c[%d][%d] = %g, want %g", integers, i, j, got, want)
				}
			}
		}
	}
}

func integer(rng *rand.Rand) uint32 { return math.Float32bits(float32(rng.IntN(33)-16)) >> 16 }

// TestBothWaysAreTheSame: for plain tiles multiplying before adding gives the bits of the fused step.
func TestBothWaysAreTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	a, b := randomTile(rng, false), randomTile(rng, false)
	if !a.plain() || !b.plain() {
		t.Fatal("the tiles are not plain")
	}
	left, right := a.widen(false), b.widen(true)
	for i := range left {
		for j := range right {
			l0, u0 := sumOf(&left[i], &right[j], 16)
			if l1, u1 := plainSum(&left[i], &right[j], 16); l1 != l0 || u1 != u0 {
				t.Fatalf("result (%d, %d): %g and %g, want %g and %g", i, j, l1, u1, l0, u0)
			}
		}
	}
}

// TestFusedMultiplyAdd holds fma to exact numbers rounded once.
func TestFusedMultiplyAdd(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 30000 {
		v := randomTile(rng, true)[0][0]
		a, b := halves(v)
		c := math.Float32frombits(rng.Uint32())
		if rng.IntN(2) == 0 { // near the product, so that much cancels or ties arise
			c = -a*b + math.Float32frombits(math.Float32bits(a*b)&^0x7fffff)*float32(rng.IntN(5)-2)/4
		}
		if c != c || math.IsInf(float64(c), 0) {
			continue
		}
		x := new(big.Float).SetPrec(600).SetFloat64(float64(flush(a)))
		x.Mul(x, big.NewFloat(float64(flush(b)))).SetPrec(600)
		x.Add(x, new(big.Float).SetFloat64(float64(flush(c))))
		want := nearest(x)
		if got := fma(a, b, c); got != want {
			t.Fatalf("fma(%g, %g, %g) = %g, want %g", a, b, c, got, want)
		}
	}
}

// nearest is the nearest float32 of a processor that knows no denormals.
func nearest(x *big.Float) float32 {
	r := new(big.Float).SetPrec(24).SetMode(big.ToNearestEven).Set(x)
	f, _ := r.Float32()
	if r.Cmp(big.NewFloat(0x1p-126)) < 0 && r.Cmp(big.NewFloat(-0x1p-126)) > 0 {
		return 0
	}
	return f
}

func TestDenormalsAreZeros(t *testing.T) {
	const smallest = 0x0080 // the smallest normal bf16
	var a, b, c Tile
	a[0][0], b[0][0] = smallest, smallest-1 // 2^-126 · a denormal
	c[0][0], c[0][1] = 1, 5<<23             // a denormal and a normal number
	multiply(&c, &a, &b, maxRows, 16)
	if c[0][0] != 0 || c[0][1] != 5<<23 {
		t.Errorf("c = %#x, %#x, want 0, %#x", c[0][0], c[0][1], 5<<23)
	}
}

func BenchmarkProduct(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	x, y, c := randomTile(rng, false), randomTile(rng, false), Tile{}
	for b.Loop() {
		multiply(&c, &x, &y, maxRows, 16)
	}
}
