package merge

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/internal/synth"
)

// BenchmarkFold folds a LoRA of rank 16 on all projections into LLaMA 1.1B (2.2 GB in bf16) and copies the file as a
// measure, both synced to the disk. It needs 7 GB of disk.
func BenchmarkFold(b *testing.B) {
	config, err := os.ReadFile(filepath.Join(golden.Assets(b), "configs", "tinyllama-1.1b-chat.json"))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	start := time.Now()
	if err := synth.Write(filepath.Join(dir, "base"), config, 1, synth.Options{}); err != nil {
		b.Fatal(err)
	}
	made := time.Since(start)
	base, err := checkpoint.Open(filepath.Join(dir, "base"))
	if err != nil {
		b.Fatal(err)
	}
	defer base.Close()
	deltas := randomLoRA(base, 16, 0.001)
	start = time.Now()
	if err := copyFile(filepath.Join(dir, "copy"), filepath.Join(dir, "base", "model.safetensors")); err != nil {
		b.Fatal(err)
	}
	copied := time.Since(start)
	os.Remove(filepath.Join(dir, "copy"))

	stop, peak := sampleMemory()
	for b.Loop() {
		if _, err := Fold(context.Background(), Job{Base: base, Deltas: deltas, Out: filepath.Join(dir, "out"), Force: true}); err != nil {
			b.Fatal(err)
		}
	}
	stop()
	b.ReportMetric(float64(base.SizeBytes())*float64(b.N)/1e9/b.Elapsed().Seconds(), "GB/s")
	b.ReportMetric(float64(peak.Load())/1e6, "anon-MB")
	b.ReportMetric(made.Seconds(), "make-s")
	b.ReportMetric(copied.Seconds(), "copy-s")
}

// randomLoRA makes factors for every projection.
func randomLoRA(base *checkpoint.Checkpoint, rank int, size float32) []Delta {
	rng := rand.New(rand.NewPCG(1, 2))
	mat := func(rows, cols int) kernel.Mat {
		x := make([]float32, rows*cols)
		for i := range x {
			x[i] = float32(rng.NormFloat64()) * size
		}
		return kernel.NewMat(x, rows, cols)
	}
	var deltas []Delta
	for _, info := range base.Stored() {
		if strings.HasSuffix(info.Name, "_proj.weight") {
			deltas = append(deltas, &LowRank{Tensor: info.Name, A: mat(rank, info.Shape[1]), B: mat(info.Shape[0], rank), Scale: 2})
		}
	}
	return deltas
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return w.Sync()
}

// sampleMemory watches the process's anonymous memory until stop is called.
func sampleMemory() (stop func(), peak *atomic.Int64) {
	peak = new(atomic.Int64)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			peak.Store(max(peak.Load(), meminfo.Read().Anonymous))
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }, peak
}

// memorySection takes what is written nowhere.
type memorySection struct{}

func (memorySection) Write(p []byte) (int, error)            { return len(p), nil }
func (memorySection) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// BenchmarkMix computes one tensor of three tuned models in bf16 without writing it, by the methods that look at it most often.
func BenchmarkMix(b *testing.B) {
	const rows, cols = 1024, 2048
	draw := func(seed uint64) input {
		data := make([]byte, 2*rows*cols)
		checkpoint.Encode(data, normal(rand.New(rand.NewPCG(seed, 1)), rows*cols, 0.02), checkpoint.BF16)
		return input{data: data, dtype: checkpoint.BF16}
	}
	inputs := []input{draw(1), draw(2), draw(3), draw(4)}
	for _, name := range []string{"linear", "karcher", "ties", "dare_ties", "breadcrumbs", "della", "sce"} {
		a, err := lookup(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			pool := &sync.Pool{New: func() any { return new(sheet) }}
			for b.Loop() {
				m := &mixture{ctx: b.Context(), name: "w", rows: rows, cols: cols, inputs: inputs, origin: a.Base >= BaseOptional, all: map[string]float64{}, pool: pool}
				for range m.sources() {
					m.own = append(m.own, map[string]float64{"weight": 1, "density": 0.5})
				}
				for _, p := range a.Parameters {
					m.all[p.Name] = p.Default
					for _, own := range m.own {
						if _, given := own[p.Name]; !given {
							own[p.Name] = p.Default
						}
					}
				}
				mix, grain, err := a.open(m)
				if err != nil {
					b.Fatal(err)
				}
				if err := m.write(mix, grain, memorySection{}, checkpoint.BF16, func(int) {}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*rows*cols/1e6/b.Elapsed().Seconds(), "M/s")
		})
	}
}
