package kernel

import (
	"fmt"
	"slices"
	"testing"
)

// TestRight multiplies by all and by parts of B, in every mode, as plain loops do.
func TestRight(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for _, s := range [][3]int{{1, 1, 1}, {5, 7, 9}, {12, 12, 64}, {33, 31, 65}, {64, 64, 64}, {64, 256, 64}, {64, 64, 256}, {50, 300, 80}, {97, 130, 97}} {
			m, n, k := s[0], s[1], s[2]
			next := normals(uint64(m*n + k))
			for _, trans := range []bool{false, true} {
				b := strided(t, k, n, 3, next)
				if trans {
					b = strided(t, n, k, 3, next)
				}
				for mode, tol := range tolerance {
					r := MakeRight(b, trans, mode)
					for _, part := range rightParts(n, k) {
						rightPart(t, r, b, trans, m, part, tol, fmt.Sprintf("%v trans %v %v part %v", s, trans, mode, part))
					}
					r.Free()
				}
			}
		}
	})
}

// rightParts lists k0, k1, n0, n1 of parts of B [k, n].
func rightParts(n, k int) [][4]int {
	list := [][4]int{{0, k, 0, n}}
	if n > 32 {
		list = append(list, [4]int{0, k, 32, n}, [4]int{0, k, 0, 32})
	}
	if k > 64 {
		list = append(list, [4]int{32, k, 0, n}, [4]int{32, 64, 0, n})
	}
	return list
}

func rightPart(t *testing.T, r *Right, b Mat, trans bool, m int, part [4]int, tol float64, what string) {
	t.Helper()
	next := normals(uint64(m))
	k0, n0 := part[0], part[2]
	k, n := part[1]-k0, part[3]-n0
	right := func(p, j int) float64 { return matOf(b, trans)(k0+p, n0+j) }
	for _, o := range []MatMulOpts{{}, {TransA: true}, {Add: true, Alpha: -1.5}, {TransA: true, Add: true, Alpha: 0.125}} {
		a := strided(t, m, k, 2, next)
		if o.TransA {
			a = strided(t, k, m, 2, next)
		}
		alpha := 1.0
		if o.Alpha != 0 {
			alpha = float64(o.Alpha)
		}
		ref := sums(m, n, k, matOf(a, o.TransA), right)
		for _, width := range []int{n, RightWidth(n)} {
			if n0+n < r.cols && width > n {
				continue // which would be columns of B
			}
			c := strided(t, m, width, 1, next)
			c0 := c.clone()
			r.MulRight(c, a, k0, n0, o)
			e := worst(c.ColRange(0, n), plus(func(i, j int) float64 { return alpha * ref(i, j) }, c0, o.Add, nil))
			if !(e < tol) {
				t.Errorf("%s %+v: error %.2g, want below %.2g", what, o, e, tol)
			}
			for i := range m {
				for j := n; j < width; j++ {
					if want := c0.Row(i)[j]; c.Row(i)[j] != want && o.Add || c.Row(i)[j] != 0 && !o.Add {
						t.Errorf("%s %+v: c[%d,%d] = %g beyond the last column, before %g", what, o, i, j, c.Row(i)[j], want)
						return
					}
				}
			}
		}
	}
}

// TestRightMeansTheSameEverywhere: variants differ in the order of sums alone.
func TestRightMeansTheSameEverywhere(t *testing.T) {
	next := normals(3)
	b, a := strided(t, 70, 90, 0, next), strided(t, 40, 70, 0, next)
	for _, mode := range []Mode{ModeF32, ModeBF16, ModeSplit} {
		var want Mat
		everyVariant(t, func(t *testing.T) {
			r, c := MakeRight(b, false, mode), strided(t, 40, 90, 0, next)
			defer r.Free()
			r.MulRight(c, a, 0, 0, MatMulOpts{})
			if want.Data == nil {
				want = c.clone()
				return
			}
			limit := 2e-5
			if current().tiles && mode == ModeSplit {
				limit = 1e-4 // tiles alone split, and they leave out the products of low parts
			}
			if e := worst(c, func(i, j int) float64 { return float64(want.Row(i)[j]) }); !(e < limit) {
				t.Errorf("%v: differs from plain Go by %.2g, want below %.2g", mode, e, limit)
			}
		})
	}
}

// TestRightTwice: the same product has the same bits whatever the memory held.
func TestRightTwice(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		next := normals(5)
		b, a := strided(t, 50, 70, 0, next), strided(t, 33, 50, 0, next)
		var want []float32
		for range 3 {
			r, c := MakeRight(b, false, ModeBF16), strided(t, 33, 70, 0, next)
			r.MulRight(c, a, 0, 0, MatMulOpts{})
			r.Free()
			if want == nil {
				want = c.clone().Data
			} else if !slices.Equal(c.clone().Data, want) {
				t.Error("results differ")
			}
		}
	})
}
