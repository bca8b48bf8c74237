//go:build !purego

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/graft-ml/graft/internal/tilecpu"
)

// TestTilesAreAsEmulated compares one step of 32 with the emulator's, bit for bit but for what a NaN says: on a processor
// with tiles it is the emulator that is tested.
func TestTilesAreAsEmulated(t *testing.T) {
	if !cpu().amx {
		t.Skip("this machine has no tiles")
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range 40 {
		var a, b [2]tilecpu.Tile // two tiles of rows, two of columns
		var c, got [32][32]float32
		for _, pair := range []*[2]tilecpu.Tile{&a, &b} {
			for i := range pair {
				for j := range pair[i] {
					for k := range pair[i][j] {
						pair[i][j][k] = randomPair(rng, round%2 == 0)
					}
				}
			}
		}
		for i := range c {
			for j := range c[i] {
				c[i][j] = math.Float32frombits(randomPair(rng, round%2 == 0))
			}
		}
		got = c
		job := tileJob{cfg: &tileConfig, a: unsafe.Pointer(&a), b: unsafe.Pointer(&b), c: unsafe.Pointer(&got),
			aRow: 64, a1: 1024, cRow: 128, c1: 64, c2: 64 * 32, n: 1, m: 1, k: 1, init: 1}
		tileBlocks(&job)
		for i := range 2 {
			for j := range 2 {
				compareBlock(t, &c, &got, &a[i], &b[j], i*16, j*16)
			}
		}
	}
}

// compareBlock compares 16 x 16 results from row i and column j.
func compareBlock(t *testing.T, before, got *[32][32]float32, a, b *tilecpu.Tile, i, j int) {
	t.Helper()
	var c tilecpu.Tile
	for r := range c {
		for q := range c[r] {
			c[r][q] = math.Float32bits(before[i+r][j+q])
		}
	}
	tilecpu.Multiply(&c, a, b)
	for r := range c {
		for q := range c[r] {
			want, have := math.Float32frombits(c[r][q]), got[i+r][j+q]
			if math.Float32bits(have) != c[r][q] && (have == have || want == want) {
				t.Fatalf("result (%d, %d) is %g (%#x), the emulator's %g (%#x)", i+r, j+q, have, math.Float32bits(have), want, c[r][q])
			}
		}
	}
}

// randomPair is two bf16: any but NaNs and infinities, or such whose products neither overflow nor vanish.
func randomPair(rng *rand.Rand, wild bool) uint32 {
	for {
		v := rng.Uint32()
		if !wild {
			v = v&0x807f807f | (120+rng.Uint32N(15))<<23 | (120+rng.Uint32N(15))<<7
		}
		if v&0x7f800000 != 0x7f800000 && v&0x7f80 != 0x7f80 {
			return v
		}
	}
}
