package serve

import (
	"slices"
	"testing"
)

// TestFair has one key ask for much and others for little: each is served in turn by what it has been given.
func TestFair(t *testing.T) {
	var f fair[string]
	push := func(names ...string) {
		for _, n := range names {
			f.push(n[:1], n)
		}
	}
	var got []string
	serve := func(n int, cost float64) {
		for range n {
			key, x, ok := f.next()
			if !ok {
				t.Fatal("nothing waits")
			}
			f.take(key, cost)
			got = append(got, x)
		}
	}
	push("a1", "a2", "a3", "a4", "b1", "b2")
	serve(3, 10) // a1 b1 a2: equal ones by their arrival
	push("c1", "c2")
	serve(1, 10)     // c has no credit for having been away: it begins as b stands, and b2 came before
	f.charge("a", 5) // new tokens count, too
	serve(4, 10)
	want := []string{"a1", "b1", "a2", "b2", "c1", "c2", "a3", "a4"}
	if !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
	if _, _, ok := f.next(); ok || f.n != 0 {
		t.Errorf("%d wait at the end", f.n)
	}
	for _, key := range []string{"a", "a", "a", "a", "b", "b", "c", "c"} {
		f.done(key)
	}
	push("a5", "b3")
	f.drop(func(x string) bool { return x == "a5" })
	if len(f.lanes) != 1 || f.n != 1 {
		t.Errorf("%d keys and %d that wait are kept, want b3 alone", len(f.lanes), f.n)
	}
}
