package kernel

import (
	"math"
	"runtime"
	"time"
)

// GemmResult is one measured product with a frozen weight, bf16 and read in place or quantised; packing and conversion of the activations
// are part of the time.
type GemmResult struct {
	Op      string  `json:"op"`   // forward: x·Wᵀ, backward: dy·W
	Mode    string  `json:"mode"` // bf16, split, f32
	Weight  string  `json:"weight"`
	T       int     `json:"t"`
	N       int     `json:"n"`
	K       int     `json:"k"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"` // 2·T·N·K per second, best of several runs
}

// BenchGemm measures both directions with a weight kept so for each shape [T, N, K], mode and number of threads, each for about the given
// time, and reports every result as it comes. It sets GOMAXPROCS while it runs; nothing else should be computing.
func BenchGemm(shapes [][3]int, kept DType, modes []Mode, threads []int, each time.Duration, progress func(GemmResult)) []GemmResult {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var results []GemmResult
	for _, s := range shapes {
		T, N, K := s[0], s[1], s[2]
		w := FrozenU16(benchHalves(N*K), BF16, N, K)
		if kept != BF16 {
			w = w.Quantise(kept)
		}
		// Every operand is filled: a slice that was never written lies on the one zero page and reads from the first cache.
		x, y := NewMat(benchFloats(T*K), T, K), NewMat(benchFloats(T*N), T, N)
		for _, mode := range modes {
			for _, n := range threads {
				runtime.GOMAXPROCS(n)
				for _, op := range []string{"forward", "backward"} {
					f := func() {
						a := Pack(x, mode)
						a.MulT(y, w, nil, false)
						a.Free()
					}
					if op == "backward" {
						copy(y.Data, benchFloats(T*N))
						f = func() {
							a := Pack(y, mode)
							a.Mul(x, w, nil, false)
							a.Free()
						}
					}
					r := GemmResult{Op: op, Mode: mode.String(), Weight: kept.String(), T: T, N: N, K: K, Threads: n}
					r.GFLOPS = math.Round(2*float64(T)*float64(N)*float64(K)/fastest(each, f)/1e7) / 100
					results = append(results, r)
					if progress != nil {
						progress(r)
					}
				}
				copy(x.Data, benchFloats(T*K))
			}
		}
	}
	return results
}

// BenchRead is how many bytes a second that many threads read from memory, for about the given time: the bound of whatever
// passes once through weights that no cache holds. It sets GOMAXPROCS while it runs.
func BenchRead(threads int, each time.Duration) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	const piece = 1 << 14
	x, y := benchFloats(1<<26), benchFloats(piece) // 256 MiB
	sums := make([]float32, len(x)/piece)
	seconds := fastest(each, func() {
		Parallel(len(sums), func(i int) { sums[i] = Dot(x[i*piece:(i+1)*piece], y) })
	})
	return float64(4*len(x)) / seconds
}

// fastest repeats f for the given time, at least three times, and returns the shortest run in seconds.
func fastest(each time.Duration, f func()) float64 {
	f()
	best := math.Inf(1)
	for start, i := time.Now(), 0; i < 3 || time.Since(start) < each; i++ {
		t := time.Now()
		f()
		best = min(best, time.Since(t).Seconds())
	}
	return best
}

// benchFloats are n numbers in [-0.5, 0.5), always the same.
func benchFloats(n int) []float32 {
	x := make([]float32, n)
	s := uint32(0x9e3779b9)
	for i := range x {
		s = s*1664525 + 1013904223
		x[i] = float32(s>>8)/(1<<24) - 0.5
	}
	return x
}

func benchHalves(n int) []uint16 {
	x := make([]uint16, n)
	F32ToBF16(x, benchFloats(n))
	return x
}
