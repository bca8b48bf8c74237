package op

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/graft-ml/graft/internal/check"
)

func TestArenaReuses(t *testing.T) {
	a := NewArena()
	s := a.Get(100)
	s[0] = 7
	a.Put(s)
	if r := a.Get(97); &r[0] != &s[0] || r[0] != 7 {
		t.Error("a buffer of nearly the same length was not reused as it is")
	}
	if z := a.Zeroed(100); &z[0] == &s[0] {
		t.Error("a buffer was handed out twice")
	}
	a.Reset()
	for i, v := range a.Zeroed(100) {
		if v != 0 {
			t.Fatalf("Zeroed()[%d] = %g", i, v)
		}
	}
	if a.Get(0) != nil {
		t.Error("Get(0) is not nil")
	}
}

// TestArenaIgnoresStrangers puts back what is not out: it must not be handed out then.
func TestArenaIgnoresStrangers(t *testing.T) {
	a := NewArena()
	a.Put(nil)
	stranger := make([]float32, 100)
	a.Put(stranger)
	mine := a.Get(100)
	a.Put(mine)
	a.Put(mine) // a second time
	x, y := a.Get(100), a.Get(100)
	if &x[0] == &stranger[0] || &y[0] == &stranger[0] {
		t.Error("a stranger's buffer was handed out")
	}
	if &x[0] == &y[0] {
		t.Error("a buffer put back twice was handed out twice")
	}
}

func TestArenaReset(t *testing.T) {
	a := NewArena()
	kept, lost := a.Get(100), a.Get(100)
	a.Reset(kept)
	if s := a.Get(100); &s[0] != &lost[0] {
		t.Error("Reset did not take back what is not kept")
	}
	if s := a.Get(100); &s[0] == &kept[0] {
		t.Error("Reset took back what is kept")
	}
}

// TestArenaForgets lets a buffer rest for longer than the arena's patience.
func TestArenaForgets(t *testing.T) {
	a := NewArena()
	for range 3 {
		a.Get(1000)
	}
	held := func() (n int) {
		for _, l := range a.free {
			n += len(l)
		}
		return n
	}
	a.Reset()
	for i := range patience {
		if n := held(); n != 3 {
			t.Fatalf("after %d steps without use %d buffers are held, want 3", i, n)
		}
		a.Put(a.Get(1000)) // one of the three stays in use
		a.Reset()
	}
	if n := held(); n != 1 {
		t.Errorf("after %d steps %d buffers are held, want the one in use", patience+1, n)
	}
	a.Trim()
	if n := held(); n != 0 {
		t.Errorf("after Trim %d buffers are held, want none", n)
	}
}

func TestArenaPeak(t *testing.T) {
	a := NewArena()
	x := a.Get(64)
	a.Get(128)
	a.Put(x)
	a.Get(64)
	if got, want := a.PeakBytes(), int64(4*(64+128)); got != want {
		t.Errorf("PeakBytes() = %d, want %d", got, want)
	}
}

func TestCapacity(t *testing.T) {
	for n := 1; n < 5000; n++ {
		c := capacity(n)
		if c < n || n > 64 && 8*(c-n) > n || capacity(c) != c {
			t.Fatalf("capacity(%d) = %d, want at least %d, an eighth more at most, and a fixed point", n, c, n)
		}
	}
}

func TestArenaIsSafeForConcurrentUse(t *testing.T) {
	a := NewArena()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				s := a.Get(100 + k)
				s[0], s[len(s)-1] = float32(i), float32(i)
				if s[0] != float32(i) || s[len(s)-1] != float32(i) {
					t.Error("two workers hold one buffer")
				}
				a.Put(s)
			}
		})
	}
	wg.Wait()
}

func TestTensorAccGrad(t *testing.T) {
	a := NewArena()
	x := a.NewTensor(2, 3)
	fill := func(v float32) *Tensor {
		g := a.NewTensor(2, 3)
		for i := range g.data {
			g.data[i] = v + float32(i)
		}
		return g
	}
	if x.HasGrad() || x.Grad() != nil {
		t.Fatal("a new tensor has a gradient")
	}
	first, second := fill(1), fill(10)
	x.AccGrad(first)
	if x.Grad() != first {
		t.Error("the first gradient was not taken over but copied")
	}
	x.AccGrad(second)
	check.Close(t, "sum of two gradients", Of(x.Grad()).data, []float32{11, 13, 15, 17, 19, 21}, 0, 0)
	if second.data != nil {
		t.Error("the second gradient's buffer was not given back")
	}
	x.ZeroGrad()
	if x.HasGrad() || first.data != nil {
		t.Error("ZeroGrad of a value left its gradient")
	}
}

func TestParam(t *testing.T) {
	data := []float32{1, 2, 3, 4, 5, 6}
	p := NewParam(data, 2, 3)
	data[4] = 50
	if Data(p)[4] != 50 || Of(p).View().Row(1)[1] != 50 {
		t.Error("NewParam copied its numbers")
	}
	if !p.RequiresGrad() {
		t.Error("a parameter does not ask for a gradient")
	}
	g := GradOf(p)
	g[2] = 9
	p.ZeroGrad()
	if again := GradOf(p); &again[0] != &g[0] || again[2] != 0 {
		t.Error("ZeroGrad of a parameter did not clear its buffer in place")
	}
	check.Panics(t, "NewTensor of 5 numbers as [2, 3]", func() { NewTensor(data[:5], 2, 3) })
}

func TestTensorTakeOver(t *testing.T) {
	a := NewArena()
	x := a.NewTensor(2, 3)
	buffer := x.data
	y := x.takeOver(2, 3)
	x.release() // owns nothing any more
	if s := a.Get(6); &s[0] == &buffer[0] {
		t.Error("the old owner gave the buffer back")
	}
	y.release()
	if s := a.Get(6); &s[0] != &buffer[0] {
		t.Error("the new owner did not give the buffer back")
	}
}

// TestArenaParts asks for large buffers of random lengths and gives them back in another order, step after step: none lies over another,
// and steps of the same kind need no more memory than the first.
func TestArenaParts(t *testing.T) {
	a := NewArena()
	rng := rand.New(rand.NewPCG(1, 2))
	step := func() {
		var held [][]float32
		for i := range 60 {
			s := a.Get(large + rng.IntN(8*large))
			for k := range s {
				s[k] = float32(i)
			}
			if held = append(held, s); rng.IntN(3) == 0 {
				k := rng.IntN(len(held))
				a.Put(held[k])
				held = slices.Delete(held, k, k+1)
			}
			for _, s := range held {
				if s[0] != s[len(s)-1] || s[0] != s[len(s)/2] {
					t.Fatalf("after buffer %d another has %g, %g and %g", i, s[0], s[len(s)/2], s[len(s)-1])
				}
			}
		}
		a.Reset()
	}
	for range 20 {
		step()
	}
	for i, s := range a.slabs {
		if !s.idle() {
			t.Errorf("slab %d has holes %v after Reset", i, s.holes)
		}
	}
	if held, peak := a.HeldBytes(), a.PeakBytes(); held > peak*115/100 {
		t.Errorf("%d bytes are held, of which %d were out at once", held, peak)
	}
	for range patience + 2 {
		a.Put(a.Get(large))
		a.Reset()
	}
	if n := len(a.slabs); n != 1 {
		t.Errorf("%d slabs are held after %d small steps, want 1", n, patience+2)
	}
}
