package data

import (
	"errors"
	"reflect"
	"testing"

	"go.uber.org/goleak"
)

// longSet has examples of 1 to 9 tokens.
func longSet(n int) (s Set) {
	for i := range n {
		x := Example{Ordinal: i}
		for t := range i%9 + 1 {
			x.IDs = append(x.IDs, int32(100*i+t))
		}
		x.Loss = []Span{{0, int32(len(x.IDs)), 1}}
		s = append(s, x)
	}
	return s
}

// streams is two streams alike: one to walk, one to walk ahead of.
func streams(t *testing.T, s Schedule) (plain, ahead *Stream) {
	t.Helper()
	for _, to := range []**Stream{&plain, &ahead} {
		st, err := NewStream(longSet(53), s)
		if err != nil {
			t.Fatal(err)
		}
		*to = st
	}
	return plain, ahead
}

// TestAhead walks three epochs both ways, and goes on from elsewhere on the way.
func TestAhead(t *testing.T) {
	for name, s := range map[string]Schedule{
		"examples":       {BatchSize: 4, Seed: 3},
		"tokens, shared": {BatchTokens: 30, MicroTokens: 12, Accumulation: 2, Seed: 4, Share: true},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			plain, other := streams(t, s)
			a := NewAhead(other)
			walk := func(steps int) {
				t.Helper()
				for i := range steps {
					if a.Position() != plain.Position() {
						t.Fatalf("step %d: position %+v, want %+v", i, a.Position(), plain.Position())
					}
					want, _ := plain.Next()
					got, err := a.Next()
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Fatalf("step %d: %+v, %v, want %+v", i, got, err, want)
					}
				}
			}
			walk(3 * plain.StepsIn(0))
			for _, p := range []Position{{}, {Epoch: 1, Index: 2}} {
				if err := errors.Join(a.Seek(p), plain.Seek(p)); err != nil {
					t.Fatal(err)
				}
				walk(5)
			}
			if err := a.Seek(Position{Epoch: 0, Index: 1000}); err == nil {
				t.Error("a position that no epoch has was taken")
			}
			walk(2) // as if nothing had been asked
			if err := errors.Join(a.Close(), a.Close()); err != nil {
				t.Fatal(err)
			}
			if other.Position() != plain.Position() {
				t.Errorf("after Close the source is at %+v, its user at %+v", other.Position(), plain.Position())
			}
			walk(2)
			a.Close()
		})
	}
}

// failing gives some steps, an error, and then goes on.
type failing struct {
	*Stream
	calls, bad int
}

var errBad = errors.New("bad step")

func (f *failing) Next() (Step, error) {
	if f.calls++; f.calls == f.bad {
		return Step{}, errBad
	}
	return f.Stream.Next()
}

// TestAheadFails has the error come where the source has it, no earlier.
func TestAheadFails(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	plain, other := streams(t, Schedule{BatchSize: 4})
	a := NewAhead(&failing{Stream: other, bad: 3})
	for i := range 6 {
		got, err := a.Next()
		if i == 2 {
			if !errors.Is(err, errBad) {
				t.Fatalf("step %d: %v, want the source's error", i, err)
			}
			continue
		}
		want, _ := plain.Next()
		if err != nil || !reflect.DeepEqual(got, want) || a.Position() != plain.Position() {
			t.Fatalf("step %d: %+v at %+v, %v, want %+v at %+v", i, got, a.Position(), err, want, plain.Position())
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
