//go:build !purego

package kernel

import (
	"fmt"
	"testing"
)

// TestBlocksOfPairs holds both layouts of B blocks, of tiles and of panels, to the plain loop: it needs no tiles.
func TestBlocksOfPairs(t *testing.T) {
	if !cpu().avx512bf16 {
		t.Skip("this machine has no AVX512-BF16")
	}
	for _, s := range [][2]int{{1, 1}, {16, 32}, {32, 32}, {33, 31}, {70, 90}, {97, 770}} {
		for _, dtype := range []DType{F32, F16, BF16} {
			for _, lows := range []bool{false, true} {
				w := surrounded(dtype, s[0], s[1], normals(2))
				src := tileNumbers{w.numbers(), lows}
				for name, layout := range map[string]pairLayout{"tiles": tileLayout, "panels": panelLayout} {
					what := fmt.Sprintf("%v %v lows %v %s", s, dtype, lows, name)
					columns := func(k, n int) float32 { return w.At(n, k) }
					checkBlocks(t, what+" forward", &forwardTiles{src, layout}, layout, w.Cols, w.Rows, columns)
					checkBlocks(t, what+" backward", &backwardTiles{src, layout}, layout, w.Rows, w.Cols, w.At)
				}
			}
		}
	}
}

// checkBlocks compares the blocks of a right operand of depth k and n columns with the operand's rounded elements.
func checkBlocks(t *testing.T, what string, src tileSource, layout pairLayout, k, n int, at func(k, n int) float32) {
	blocks, steps := ceil(n, 32), ceil(k, 32)
	step := 2 * tileSize * (1 + bit(src.low()))
	out := make([]uint16, blocks*steps*step)
	src.blocks(out, 0, blocks, 0, steps)
	for i := range steps * 32 {
		for j := range blocks * 32 {
			var hi, lo uint16
			if i < k && j < n {
				hi = roundBF16(at(i, j))
				lo = roundBF16(at(i, j) - wideBF16(hi))
			}
			pos := (j/32*steps+i/32)*step + i%32/2*layout.row/2 + j%32/16*layout.half/2 + j%16*2 + i%2
			if out[pos] != hi || src.low() && out[pos+2*tileSize] != lo {
				t.Fatalf("%s: element (%d, %d) is %#x", what, i, j, out[pos])
			}
		}
	}
}
