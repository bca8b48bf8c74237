package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// elementwise lists the functions that write arrays: in and out are counts of operands, ref computes one element in
// float64. The tolerance is tol·|want| for the arithmetic, plus a rounding of the largest intermediate value, which
// cancels in places: 3e-7 times the product of the operands above 1.
var elementwise = []struct {
	name string
	in   int // arrays read, in[0] is also written if inPlace
	out  int
	call func(out, in [][]float32)
	ref  func(in []float64) []float64
	tol  float64
}{
	{"Axpy", 2, 1, func(out, in [][]float32) { copy(out[0], in[0]); Axpy(out[0], 1.5, in[1]) }, func(v []float64) []float64 { return []float64{v[0] + 1.5*v[1]} }, 3e-7},
	{"ExpShift", 1, 1, func(out, in [][]float32) { copy(out[0], in[0]); ExpShift(out[0], 0.75) }, func(v []float64) []float64 { return []float64{math.Exp(v[0] - 0.75)} }, 3e-7},
	{"SoftmaxBackward", 2, 1, func(out, in [][]float32) { copy(out[0], in[0]); SoftmaxBackward(out[0], in[1], 0.75) }, func(v []float64) []float64 { return []float64{v[1] * (v[0] - 0.75)} }, 1e-6},
	{"AxpyMul", 3, 1, func(out, in [][]float32) { copy(out[0], in[0]); AxpyMul(out[0], 1.5, in[1], in[2]) }, func(v []float64) []float64 { return []float64{v[0] + 1.5*v[1]*v[2]} }, 1e-6},
	{"Add", 2, 1, func(out, in [][]float32) { copy(out[0], in[0]); Add(out[0], in[1]) }, func(v []float64) []float64 { return []float64{v[0] + v[1]} }, 1e-7},
	{"Mul", 2, 1, func(out, in [][]float32) { copy(out[0], in[0]); Mul(out[0], in[1]) }, func(v []float64) []float64 { return []float64{v[0] * v[1]} }, 1e-7},
	{"Scale", 1, 1, func(out, in [][]float32) { copy(out[0], in[0]); Scale(out[0], -0.3) }, func(v []float64) []float64 { return []float64{v[0] * float64(float32(-0.3))} }, 1e-7},
	{"ReLU", 1, 1, func(out, in [][]float32) { ReLU(out[0], in[0]) }, func(v []float64) []float64 { return []float64{math.Max(v[0], 0)} }, 0},
	{"ReLUBackward", 2, 1, func(out, in [][]float32) { ReLUBackward(out[0], in[0], in[1]) }, func(v []float64) []float64 {
		if v[1] > 0 {
			return v[:1]
		}
		return []float64{0}
	}, 0},
	{"Exp", 1, 1, func(out, in [][]float32) { Exp(out[0], in[0]) }, func(v []float64) []float64 { return []float64{math.Exp(v[0])} }, 2e-7},
	{"SiLUMul", 2, 1, func(out, in [][]float32) { SiLUMul(out[0], in[0], in[1]) }, func(v []float64) []float64 { return []float64{v[0] / (1 + math.Exp(-v[0])) * v[1]} }, 6e-7},
	{"SiLUMulBackward", 3, 2, func(out, in [][]float32) { SiLUMulBackward(out[0], out[1], in[0], in[1], in[2]) }, func(v []float64) []float64 {
		s := 1 / (1 + math.Exp(-v[1]))
		return []float64{v[0] * v[2] * s * (1 + v[1]*(1-s)), v[0] * v[1] * s}
	}, 3e-6},
	{"GELU", 1, 1, func(out, in [][]float32) { GELU(out[0], in[0]) }, func(v []float64) []float64 { return []float64{v[0] * normalCDF(v[0])} }, 1e-6},
	{"GELUBackward", 2, 1, func(out, in [][]float32) { GELUBackward(out[0], in[0], in[1]) }, func(v []float64) []float64 {
		return []float64{v[0] * (normalCDF(v[1]) + v[1]*math.Exp(-v[1]*v[1]/2)/math.Sqrt(2*math.Pi))}
	}, 2e-6},
	{"GELUTanh", 1, 1, func(out, in [][]float32) { GELUTanh(out[0], in[0]) }, func(v []float64) []float64 {
		return []float64{v[0] / 2 * (1 + math.Tanh(geluA*v[0]+geluB*v[0]*v[0]*v[0]))}
	}, 1e-6},
	{"GELUTanhBackward", 2, 1, func(out, in [][]float32) { GELUTanhBackward(out[0], in[0], in[1]) }, func(v []float64) []float64 {
		x := v[1]
		th := math.Tanh(geluA*x + geluB*x*x*x)
		return []float64{v[0] * ((1+th)/2 + x/2*(1-th*th)*(geluA+3*geluB*x*x))}
	}, 3e-6},
}

func TestElementwise(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for _, f := range elementwise {
			t.Run(f.name, func(t *testing.T) {
				for n := range 258 {
					next := normals(uint64(n))
					in, out := make([][]float32, f.in), make([][]float32, f.out)
					for i := range in {
						in[i] = guarded(t, n, func() float32 { return 3 * next() })
					}
					for i := range out {
						out[i] = guarded(t, n, next)
					}
					before := slices.Clone(in)
					f.call(out, in)
					v := make([]float64, f.in)
					for i := range n {
						scale := 3e-7
						for j := range v {
							v[j] = float64(before[j][i])
							scale *= math.Max(1, math.Abs(v[j]))
						}
						if f.tol == 0 {
							scale = 0
						}
						for j, want := range f.ref(v) {
							got := float64(out[j][i])
							if !(math.Abs(got-want) <= f.tol*math.Abs(want)+scale) {
								t.Fatalf("n %d, element %d of output %d, operands %v: %g, want %g", n, i, j, v, got, want)
							}
						}
					}
				}
			})
		}
	})
}

func TestReductions(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for n := range 258 {
			next := normals(uint64(n))
			x, y, w := guarded(t, n, next), guarded(t, n, next), guarded(t, n, next)
			var dot, abs, sum, squares, dot3 float64
			biggest := math.Inf(-1)
			for i := range x {
				a, b := float64(x[i]), float64(y[i])
				dot, abs, sum, squares = dot+a*b, abs+math.Abs(a*b), sum+a, squares+a*a
				dot3 += a * b * float64(w[i])
				biggest = math.Max(biggest, a)
			}
			near := func(name string, got, want, tol float64) {
				if got != want && !(math.Abs(got-want) <= tol) {
					t.Errorf("%s of %d: %g, want %g", name, n, got, want)
				}
			}
			near("Dot", float64(Dot(x, y)), dot, 1e-6*abs)
			near("Sum", Sum(x), sum, 1e-12*float64(n))
			near("SumSquares", SumSquares(x), squares, 1e-12*squares)
			near("Max", float64(Max(x)), biggest, 0)
			near("dot3", dot3Row(x, y, w), dot3, 1e-6*float64(n))
			for i := range x {
				z := slices.Clone(x)
				z[i] = 100
				near("Max", float64(Max(z)), 100, 0)
				z[i] = float32(math.NaN())
				if m := Max(z); m == m {
					t.Errorf("Max of %d numbers with a NaN at %d: %g", n, i, m)
				}
			}
			if n == 0 {
				continue
			}
			s := guarded(t, n, next)
			total := 0.0
			for _, v := range s {
				total += math.Exp(float64(v) - float64(Max(s)))
			}
			want := make([]float64, n)
			for i, v := range s {
				want[i] = math.Exp(float64(v)-float64(Max(s))) / total
			}
			m, got := SoftmaxRow(s)
			near("SoftmaxRow's sum", float64(got), total, 3e-7*total)
			for i := range s {
				near(fmt.Sprint("SoftmaxRow ", m, " at ", i), float64(s[i]), want[i], 5e-7*want[i])
			}
		}
	})
}

func TestExp(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	everyVariant(t, func(t *testing.T) {
		var x []float32
		for v := float32(-110); v < 95; v += 0.0073 {
			x = append(x, v)
		}
		special := []float32{inf, -inf, nan, 0, float32(math.Copysign(0, -1)), 88.72283, 88.7229, -87.3365, -103.97, -104, 1e30, -1e30, math.SmallestNonzeroFloat32}
		x = append(x, special...)
		y := make([]float32, len(x))
		Exp(y, x)
		worst := 0.0
		for i, v := range x {
			want := math.Exp(float64(v))
			got := float64(y[i])
			switch {
			case v != v:
				if got == got {
					t.Errorf("exp(NaN) = %g", got)
				}
			case want > math.MaxFloat32:
				if !math.IsInf(got, 1) {
					t.Errorf("exp(%g) = %g, want +Inf", v, got)
				}
			case want < 0x1p-126: // subnormal: half a step of 2^-149, twice rounded
				if math.Abs(got-want) > 0x1p-149 {
					t.Errorf("exp(%g) = %g, want %g", v, got, want)
				}
			default:
				worst = max(worst, math.Abs(got/want-1))
			}
		}
		if !(worst <= 2e-7) {
			t.Errorf("relative error %g, want at most 2e-7", worst)
		}
	})
}

func TestActivationsAtInfinity(t *testing.T) {
	inf := float32(math.Inf(1))
	x := []float32{inf, 1e30, -200, 40}
	one := []float32{1, 1, 1, 1}
	everyVariant(t, func(t *testing.T) {
		for _, f := range []struct {
			name string
			call func(y []float32)
			want []float32
		}{
			{"GELU", func(y []float32) { GELU(y, x) }, []float32{inf, 1e30, 0, 40}},
			{"GELUBackward", func(y []float32) { GELUBackward(y[1:], one[1:], x[1:]) }, []float32{0, 1, 0, 1}},
			{"GELUTanh", func(y []float32) { GELUTanh(y, x) }, []float32{inf, 1e30, 0, 40}},
			{"GELUTanhBackward", func(y []float32) { GELUTanhBackward(y[1:], one[1:], x[1:]) }, []float32{0, 1, 0, 1}},
			{"SiLUMul", func(y []float32) { SiLUMul(y, x, one) }, []float32{inf, 1e30, 0, 40}},
		} {
			y := make([]float32, len(x))
			f.call(y)
			if !slices.Equal(y, f.want) {
				t.Errorf("%s of %v = %v, want %v", f.name, x, y, f.want)
			}
			nan := []float32{float32(math.NaN())}
			for _, g := range []func(y, x []float32){GELU, GELUTanh, ReLU, Exp} {
				y := []float32{0}
				if g(y, nan); y[0] == y[0] {
					t.Errorf("a NaN became %g", y[0])
				}
			}
		}
	})
}

func TestRMSNorm(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for _, n := range []int{1, 7, 64, 257} {
			next := normals(uint64(n))
			x, w, dy := guarded(t, n, next), guarded(t, n, next), guarded(t, n, next)
			y, dx := guarded(t, n, next), guarded(t, n, next)
			dx0 := slices.Clone(dx)
			scale := RMSNorm(y, x, w, 1e-5)
			s := 1 / math.Sqrt(SumSquares(x)/float64(n)+1e-5)
			RMSNormBackward(dx, dy, x, w, scale)
			dot := 0.0
			for i := range x {
				dot += float64(dy[i]) * float64(w[i]) * float64(x[i])
			}
			for i := range x {
				if want := float64(x[i]) * s * float64(w[i]); math.Abs(float64(y[i])-want) > 3e-7*math.Abs(want) {
					t.Errorf("y[%d] of %d = %g, want %g", i, n, y[i], want)
				}
				want := float64(dx0[i]) + s*float64(dy[i])*float64(w[i]) - s*s*s*dot/float64(n)*float64(x[i])
				if math.Abs(float64(dx[i])-want) > 1e-5*(1+math.Abs(want)) {
					t.Errorf("dx[%d] of %d = %g, want %g", i, n, dx[i], want)
				}
			}
		}
	})
}

func TestConversions(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	everyVariant(t, func(t *testing.T) {
		wide, back := make([]float32, len(all)), make([]uint16, len(all))
		BF16ToF32(wide, all)
		F32ToBF16(back, wide)
		for i, h := range all {
			if want := wideBF16(h); math.Float32bits(wide[i]) != math.Float32bits(want) {
				t.Fatalf("bf16 %#x -> %g, want %g", h, wide[i], want)
			}
			if want := roundBF16(wide[i]); back[i] != want || wide[i] == wide[i] && want != h || wide[i] != wide[i] && wideBF16(back[i]) == wideBF16(back[i]) {
				t.Fatalf("%g -> bf16 %#x, want %#x", wide[i], back[i], want)
			}
		}
		F16ToF32(wide, all)
		F32ToF16(back, wide)
		for i, h := range all {
			if want := halfToFloat(h); math.Float32bits(wide[i]) != math.Float32bits(want) {
				t.Fatalf("f16 %#x -> %#x, want %#x", h, math.Float32bits(wide[i]), math.Float32bits(want))
			}
			if want := floatToHalf(wide[i]); back[i] != want || wide[i] == wide[i] && want != h {
				t.Fatalf("%g -> f16 %#x, want %#x", wide[i], back[i], want)
			}
		}
		// Every exponent with ties, just below and just above them.
		var x []float32
		for e := range uint32(256) {
			for _, m := range []uint32{0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0x17fff, 0x18000, 0x18001, 0x7fefff, 0x7ff000, 0x7fffff} {
				x = append(x, math.Float32frombits(e<<23|m), math.Float32frombits(1<<31|e<<23|m))
			}
		}
		h, b := make([]uint16, len(x)), make([]uint16, len(x))
		F32ToF16(h, x)
		F32ToBF16(b, x)
		bf, sp := slices.Clone(x), slices.Clone(x)
		toBF16.apply(bf)
		toSplit.apply(sp)
		for i, v := range x {
			if h[i] != floatToHalf(v) || b[i] != roundBF16(v) {
				t.Fatalf("%x: f16 %#x and bf16 %#x, want %#x and %#x", math.Float32bits(v), h[i], b[i], floatToHalf(v), roundBF16(v))
			}
			hi := wideBF16(roundBF16(v))
			if want := hi; bf[i] != want && want == want || want != want && bf[i] == bf[i] {
				t.Fatalf("%x to bf16: %g, want %g", math.Float32bits(v), bf[i], want)
			}
			if want := hi + wideBF16(roundBF16(v-hi)); sp[i] != want && want == want || want != want && sp[i] == sp[i] {
				t.Fatalf("%x to split: %g, want %g", math.Float32bits(v), sp[i], want)
			}
		}
		for n := range 100 { // lengths and neighbours
			src := guarded(t, n, normals(3))
			dst := make([]uint16, n+2)
			dst[0], dst[n+1] = 7, 7
			F32ToBF16(dst[1:n+1], src)
			wide := guarded(t, n, normals(4))
			BF16ToF32(wide, dst[1:n+1])
			for i := range src {
				if dst[i+1] != roundBF16(src[i]) || wide[i] != wideBF16(dst[i+1]) {
					t.Fatalf("element %d of %d", i, n)
				}
			}
			if dst[0] != 7 || dst[n+1] != 7 {
				t.Fatalf("F32ToBF16 of %d wrote outside", n)
			}
		}
	})
}

// TestHalfRounding holds floatToHalf to the nearest f16, ties to even, by looking at both neighbours.
func TestHalfRounding(t *testing.T) {
	for h := uint16(0); h < 0x7bff; h++ {
		lo, hi := halfToFloat(h), halfToFloat(h+1)
		mid := (lo + hi) / 2
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{{mid, even}, {math.Nextafter32(mid, 0), h}, {math.Nextafter32(mid, 1e9), h + 1}} {
			if got := floatToHalf(c.x); got != c.want {
				t.Fatalf("floatToHalf(%g) = %#x, want %#x", c.x, got, c.want)
			}
		}
	}
}
