package gguf

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// quantised are the types of blocks with scales. hash is the start of the SHA-256 of what ggml's reference (quantize_row_*_ref of llama.cpp
// b11549) makes of reference(); share is the largest error as a share of the largest number of a block, or of a super-block: half a step,
// a whole one where the far end is cut off, and what rounding the scales adds; rms is of numbers like weights, against their own.
var quantised = []struct {
	typ        Type
	hash       string
	share, rms float64
}{
	{Q40, "8d34947c430e973a", 1.0/8 + 1.0/1024, 0.10},
	{Q50, "5578ab5539f620ae", 1.0/16 + 1.0/1024, 0.05},
	{Q80, "07368c4d7fe56f2e", 0.5/127 + 1.0/1024, 0.006},
	{Q4K, "7f824d25d2da67cf", 2.0 / 15, 0.08},
	{Q5K, "d5a3fbb76aabbf1c", 2.0 / 31, 0.04},
	{Q6K, "b1d65acc9f713e0a", 1.0/32 + 1.0/128, 0.02},
}

// smallest is below what scales in half precision can say: 2⁻²⁴ times a q of Q6_K and a scale of a group.
const smallest = 128 * 32.0 / (1 << 24)

// reference is 200 super-blocks of numbers of several sizes, and some that are special.
func reference() []float32 {
	rng := rand.New(rand.NewPCG(7, 11))
	x := make([]float32, 200*superLen)
	for i := range x {
		v := rng.Float32() + rng.Float32() + rng.Float32() - 1.5
		switch i / superLen % 5 {
		case 1:
			v *= float32(math.Pow(2, float64(rng.IntN(40)-30)))
		case 2:
			v += 0.75
		case 3:
			v = float32(math.Round(float64(4*v))) / 8
		}
		x[i] = v
	}
	for i := range superLen {
		x[i], x[superLen+i], x[2*superLen+i], x[3*superLen+i], x[4*superLen+i] = 0, 1, -1, 1e-9, float32(i)
	}
	return x
}

// TestGGML holds every byte to ggml's reference.
func TestGGML(t *testing.T) {
	x := reference()
	for _, q := range quantised {
		w, err := NewTensor("w", q.typ, []int{200, superLen}, x)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(w.Data))[:16]; got != q.hash {
			t.Errorf("%s: sha256 of the bytes begins with %s, ggml's with %s", q.typ, got, q.hash)
		}
	}
}

// TestErrorBound reads back what was packed.
func TestErrorBound(t *testing.T) {
	x := reference()
	rng := rand.New(rand.NewPCG(1, 2))
	normal := make([]float32, 100*superLen)
	for i := range normal {
		normal[i] = float32(0.02 * rng.NormFloat64())
	}
	for _, q := range quantised {
		y := thereAndBack(t, q.typ, x)
		for at := 0; at < len(x); at += q.typ.Block() {
			most, worst := 0.0, 0.0
			for i := at; i < at+q.typ.Block(); i++ {
				most, worst = max(most, math.Abs(float64(x[i]))), max(worst, math.Abs(float64(x[i]-y[i])))
			}
			if worst > q.share*most+smallest {
				t.Fatalf("%s: block at %d: wrong by %g of at most %g, want %g of it", q.typ, at, worst, most, q.share)
			}
		}
		sum, errs := 0.0, 0.0
		for i, v := range thereAndBack(t, q.typ, normal) {
			sum += float64(normal[i]) * float64(normal[i])
			errs += float64(normal[i]-v) * float64(normal[i]-v)
		}
		got := math.Sqrt(errs / sum)
		t.Logf("%s: %.4g of the numbers' size, %.2f bits each", q.typ, got, float64(8*q.typ.row().size)/float64(q.typ.Block()))
		if got > q.rms {
			t.Errorf("%s: error is %.4g of the numbers' size, want at most %g", q.typ, got, q.rms)
		}
	}
}

func thereAndBack(t *testing.T, typ Type, x []float32) []float32 {
	t.Helper()
	w, err := NewTensor("w", typ, []int{len(x)}, x)
	if err != nil {
		t.Fatal(err)
	}
	y, err := w.Floats()
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// TestEncodeRefuses gives numbers that no type can hold, and numbers too large for one.
func TestEncodeRefuses(t *testing.T) {
	for _, r := range types {
		if r.encode == nil {
			continue
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			x := make([]float32, superLen)
			x[200] = bad
			if _, err := NewTensor("w", r.typ, []int{superLen}, x); err == nil || !strings.Contains(err.Error(), `gguf: tensor "w": the number at 200 is `) {
				t.Errorf("%g as %s: %v", bad, r.name, err)
			}
		}
		x := make([]float32, superLen)
		x[3] = math.MaxFloat32
		if _, err := NewTensor("w", r.typ, []int{superLen}, x); (err == nil) != (r.typ == F32) {
			t.Errorf("%g as %s: %v", x[3], r.name, err)
		}
	}
	if err := Q80.Encode(make([]byte, 34), make([]float32, 31)); err == nil {
		t.Error("31 numbers make a block of 32")
	}
	if err := Type(9).Encode(nil, nil); err == nil || !strings.Contains(err.Error(), "Q8_1 cannot be written, want F32, F16") {
		t.Errorf("Q8_1: %v", err)
	}
}

// FuzzEncode packs any numbers: they are refused, or come back finite and not far off.
func FuzzEncode(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63}, uint8(3))
	f.Add([]byte{255, 255, 127, 71, 1, 0, 0, 0, 1, 0, 0, 128}, uint8(5))
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		q := quantised[int(which)%len(quantised)]
		x := make([]float32, superLen)
		for i := range x {
			if len(b) >= 4 {
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*(i%(len(b)/4)):]))
			}
		}
		w, err := NewTensor("w", q.typ, []int{superLen}, x)
		if err != nil {
			return
		}
		y, err := w.Floats()
		if err != nil {
			t.Fatal(err)
		}
		most := 0.0
		for _, v := range x {
			most = max(most, math.Abs(float64(v)))
		}
		for i, v := range y {
			if d := math.Abs(float64(v - x[i])); !(d <= 1.5*q.share*most+smallest) {
				t.Fatalf("%s: %g comes back as %g; the largest is %g", q.typ, x[i], v, most)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	x := reference()
	for _, q := range quantised {
		b.Run(q.typ.String(), func(b *testing.B) {
			n, err := q.typ.Size([]int{len(x)})
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, n)
			for b.Loop() {
				if err := q.typ.Encode(dst, x); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(x))/b.Elapsed().Seconds()/1e6, "Mnumbers/s")
		})
	}
}
