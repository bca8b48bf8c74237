package data

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func stream(t testing.TB, set Set, s Schedule) *Stream {
	t.Helper()
	st, err := NewStream(set, s)
	if err != nil {
		t.Fatalf("NewStream(%+v) = %v", s, err)
	}
	return st
}

// draw makes a set and a schedule.
func drawSchedule(r *rapid.T) (Set, Schedule) {
	set := setOf(rapid.SliceOfN(rapid.IntRange(1, 40), 1, 60).Draw(r, "lengths")...)
	s := Schedule{
		Order:        Orders[rapid.IntRange(0, len(Orders)-1).Draw(r, "order")].Name,
		Seed:         rapid.Uint64().Draw(r, "seed"),
		Accumulation: rapid.IntRange(1, 3).Draw(r, "accumulation"),
		MicroTokens:  rapid.IntRange(0, 60).Draw(r, "micro"),
	}
	if rapid.Bool().Draw(r, "packed") {
		s.BatchTokens = rapid.IntRange(1, 100).Draw(r, "tokens")
	} else {
		s.BatchSize = rapid.IntRange(1, 9).Draw(r, "batch")
	}
	return set, s
}

// seen lists the examples of a step; setOf wrote their indices into their tokens.
func seen(step Step) []int32 {
	var out []int32
	for _, b := range step.Batches {
		for _, g := range b.Segments {
			out = append(out, b.Tokens[g.Start])
		}
	}
	return out
}

func TestEveryExampleOncePerEpoch(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		set, s := drawSchedule(r)
		st := stream(t, set, s)
		for epoch := range 2 {
			count := make([]int, len(set))
			for range st.StepsIn(epoch) {
				if p := st.Position(); p.Epoch != epoch {
					r.Fatalf("epoch %d has fewer steps than StepsIn says: %+v", epoch, p)
				}
				want := st.Examples()
				step, err := st.Next()
				if err != nil {
					r.Fatal(err)
				}
				got := seen(step)
				for _, i := range got {
					count[i]++
				}
				slices.Sort(got)
				if slices.Sort(want); !slices.Equal(got, want) {
					r.Fatalf("step has examples %v, Examples said %v", got, want)
				}
				for _, b := range step.Batches {
					if n := len(b.Segments); s.MicroTokens > 0 && len(b.Tokens) > s.MicroTokens && n > 1 {
						r.Fatalf("a micro-batch has %d tokens in %d sequences, want at most %d", len(b.Tokens), n, s.MicroTokens)
					}
				}
			}
			for i, n := range count {
				if n != 1 {
					r.Fatalf("epoch %d visits example %d %d times", epoch, i, n)
				}
			}
			if p := st.Position(); p != (Position{Epoch: epoch + 1}) {
				r.Fatalf("after epoch %d the position is %+v", epoch, p)
			}
		}
	})
}

func TestResumed(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		set, s := drawSchedule(r)
		whole, steps := stream(t, set, s), rapid.IntRange(0, 20).Draw(r, "steps")
		for range steps {
			whole.Next()
		}
		resumed := stream(t, set, s)
		if err := resumed.Seek(whole.Position()); err != nil {
			r.Fatal(err)
		}
		for range 5 {
			a, _ := whole.Next()
			b, _ := resumed.Next()
			if !slices.Equal(seen(a), seen(b)) || a.Epoch != b.Epoch || whole.Position() != resumed.Position() {
				r.Fatalf("resumed after %d steps: %v (%g), want %v (%g)", steps, seen(b), b.Epoch, seen(a), a.Epoch)
			}
		}
	})
}

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		s      Schedule
		epochs float64
		want   int
	}{
		{Schedule{BatchSize: 4}, 1, 3},
		{Schedule{BatchSize: 4}, 2.5, 8},
		{Schedule{BatchSize: 4, DropLast: true}, 2.5, 5},
		{Schedule{BatchSize: 2, Accumulation: 2}, 1, 3},
		{Schedule{BatchTokens: 20}, 1, 5},
		{Schedule{BatchTokens: 20, Accumulation: 2}, 2, 6},
		{Schedule{BatchTokens: 20, Accumulation: 2, DropLast: true}, 2, 4},
		{Schedule{BatchTokens: 5}, 1, 10},
	} {
		if got := stream(t, setOf(10, 10, 10, 10, 10, 10, 10, 10, 10, 10), c.s).Steps(c.epochs); got != c.want {
			t.Errorf("%+v: Steps(%g) = %d, want %d", c.s, c.epochs, got, c.want)
		}
	}
}

func TestSHA256Order(t *testing.T) {
	// The rule in the words of another program: sorted(range(n), key=lambda i: sha256(f"{seed}:{epoch}:{i}").digest()).
	for epoch := range 2 {
		p := bySHA256(20, 3, epoch)
		last := ""
		for _, i := range p {
			sum := sha256.Sum256([]byte(fmt.Sprintf("3:%d:%d", epoch, i)))
			if s := hex.EncodeToString(sum[:]); s <= last {
				t.Errorf("epoch %d: %v is not sorted at %d", epoch, p, i)
			} else {
				last = s
			}
		}
	}
	if got, want := bySHA256(6, 0, 0), []int32{4, 1, 2, 3, 0, 5}; !slices.Equal(got, want) {
		t.Errorf("bySHA256(6, 0, 0) = %v, want %v", got, want)
	}
}

func TestShuffled(t *testing.T) {
	// Recorded: a run that is resumed by a later version must see the same order.
	if got, want := shuffled(8, 1, 0), []int32{1, 4, 5, 7, 2, 0, 3, 6}; !slices.Equal(got, want) {
		t.Errorf("shuffled(8, 1, 0) = %v, want %v", got, want)
	}
	counts := make([]int, 8) // how often entry 0 comes to each place
	for epoch := range 8000 {
		counts[slices.Index(shuffled(8, 1, epoch), 0)]++
	}
	for i, n := range counts {
		if n < 850 || n > 1150 { // 1000 ± 5 standard deviations
			t.Errorf("entry 0 came to place %d %d times of 8000, want about 1000", i, n)
		}
	}
}

func TestPackingFill(t *testing.T) {
	lengths := make([]int, 20000)
	c := counter{7, 7}
	for i := range lengths {
		lengths[i] = 20 + int(c.at(uint64(i))%500)
	}
	st := stream(t, setOf(lengths...), Schedule{BatchTokens: 2048, Seed: 1})
	if fill := st.Fill(); fill < 0.99 {
		t.Errorf("Fill = %.4f for lengths of 20 to 519 in bins of 2048, want at least 0.99", fill)
	}
}

func TestPack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		lengths := rapid.SliceOf(rapid.IntRange(0, 150)).Draw(r, "lengths")
		capacity := rapid.IntRange(1, 130).Draw(r, "capacity")
		count, first := make([]int, len(lengths)), int32(-1)
		for _, bin := range pack(lengths, capacity) {
			n := 0
			for _, i := range bin {
				count[i]++
				n += lengths[i]
			}
			if n > capacity && len(bin) > 1 || !slices.IsSorted(bin) || bin[0] <= first {
				r.Fatalf("bin %v of %d, want at most %d, in order", bin, n, capacity)
			}
			first = bin[0]
		}
		for i, n := range count {
			if n != 1 {
				r.Fatalf("entry %d is in %d bins", i, n)
			}
		}
	})
}

func TestBatch(t *testing.T) {
	set := Set{
		{IDs: []int32{1, 5, 6, 2}, Loss: []Span{{2, 4, 1}}},
		{IDs: []int32{7, 8}, Loss: []Span{{0, 2, 1}}},
	}
	b := set.Batch([]int32{0, 1})
	if want := []int32{1, 5, 6, 2, 7, 8}; !slices.Equal(b.Tokens, want) {
		t.Errorf("Tokens = %v, want %v", b.Tokens, want)
	}
	if want := []int32{0, 1, 2, 3, 0, 1}; !slices.Equal(b.Positions, want) {
		t.Errorf("Positions = %v, want %v", b.Positions, want)
	}
	if want := []int32{NoTarget, 6, 2, NoTarget, 8, NoTarget}; !slices.Equal(b.Targets, want) || b.Weights != nil {
		t.Errorf("Targets = %v, Weights = %v, want %v, nil", b.Targets, b.Weights, want)
	}
	if want := []Segment{{Start: 0, End: 4}, {Start: 4, End: 6}}; !slices.Equal(b.Segments, want) {
		t.Errorf("Segments = %v, want %v", b.Segments, want)
	}
	if st := set.Stats(); int(st.Targets) != b.NumTargets() {
		t.Errorf("Stats counts %d targets, the batch has %d", st.Targets, b.NumTargets())
	}
	n := 0
	for b, err := range setOf(3, 3, 9, 1, 1).Batches(6) {
		if err != nil || len(b.Tokens) > 6 && len(b.Segments) > 1 {
			t.Errorf("Batches(6) gives %d tokens, %v", len(b.Tokens), err)
		}
		n += len(b.Segments)
	}
	if n != 5 {
		t.Errorf("Batches gives %d sequences, want 5", n)
	}
}

func TestSplit(t *testing.T) {
	ordinals := func(s Set) (out []int) {
		for i := range s {
			out = append(out, s[i].Ordinal)
		}
		return out
	}
	set := setOf(make([]int, 100)...)
	train, eval := set.Split(0.1, 5)
	if len(train) != 90 || len(eval) != 10 {
		t.Fatalf("Split(0.1) gives %d and %d, want 90 and 10", len(train), len(eval))
	}
	if all := append(ordinals(train), ordinals(eval)...); len(slices.Compact(slices.Sorted(slices.Values(all)))) != 100 || !slices.IsSorted(ordinals(train)) {
		t.Errorf("Split lost, doubled or moved examples")
	}
	if _, other := set.Split(0.1, 6); slices.Equal(ordinals(eval), ordinals(other)) {
		t.Errorf("another seed gives the same split")
	}
	t.Run("rows that come later leave the others where they are", func(t *testing.T) {
		_, more := setOf(make([]int, 110)...).Split(10.0/110, 5)
		kept := 0
		for _, o := range ordinals(more) {
			if slices.Contains(ordinals(eval), o) {
				kept++
			}
		}
		if kept < 7 {
			t.Errorf("of 10 rows, %d are still for evaluation after 10 %% more rows, want most", kept)
		}
	})
	t.Run("windows of a row stay together", func(t *testing.T) {
		set := setOf(make([]int, 30)...)
		for i := range set {
			set[i].Ordinal = i / 3
		}
		train, eval := set.Split(0.5, 1)
		for i := range train {
			if slices.Contains(ordinals(eval), train[i].Ordinal) {
				t.Errorf("row %d is on both sides", train[i].Ordinal)
			}
		}
	})
	t.Run("no fraction and no second row: nothing to split", func(t *testing.T) {
		if train, eval := set.Split(0, 1); len(train) != 100 || eval != nil {
			t.Errorf("Split(0) gives %d and %d", len(train), len(eval))
		}
		if train, eval := set[:1].Split(0.5, 1); len(train) != 1 || eval != nil {
			t.Errorf("Split of one row gives %d and %d", len(train), len(eval))
		}
	})
}

func TestMix(t *testing.T) {
	a, b := setOf(make([]int, 100)...), setOf(make([]int, 40)...)
	for i := range b {
		b[i].Ordinal += 1000
	}
	mixed, err := Mix(3, Weighted{a, 0.25}, Weighted{b, 2})
	if err != nil || len(mixed) != 25+80 {
		t.Fatalf("Mix gives %d examples, %v, want 105", len(mixed), err)
	}
	ofA, last := 0, -1
	for i := range mixed {
		if o := mixed[i].Ordinal; o < 1000 {
			if o <= last {
				t.Errorf("the order of the first set is lost at %d", i)
			}
			ofA, last = ofA+1, o
		}
		if want := float64(i+1) * 25 / 105; float64(ofA)-want > 1.01 || want-float64(ofA) > 1.01 {
			t.Errorf("after %d examples %d are of the first set, want about %.1f", i+1, ofA, want)
		}
	}
	if one, _ := Mix(3, Weighted{a, 1}); one.Fingerprint() != a.Fingerprint() {
		t.Errorf("one set alone is changed")
	}
	if _, err := Mix(3, Weighted{a, -1}); err == nil || err.Error() != "data: source 1: weight is -1, want 0 to 1000000" {
		t.Errorf("Mix = %v", err)
	}
}

func TestBadSchedules(t *testing.T) {
	set := setOf(3, 3)
	for _, c := range []struct {
		name string
		set  Set
		s    Schedule
		want string
	}{
		{"no size", set, Schedule{}, "data: batch_size is 0 and batch_tokens is 0, want exactly one above 0"},
		{"two sizes", set, Schedule{BatchSize: 1, BatchTokens: 1}, "data: batch_size is 1 and batch_tokens is 1, want exactly one above 0"},
		{"unknown order", set, Schedule{BatchSize: 1, Order: "random"}, `data: order is "random", want one of shuffled, sequential, sha256`},
		{"negative", set, Schedule{BatchSize: 1, MicroTokens: -1}, "data: micro_tokens is -1, want 0 to 2147483647"},
		{"no examples", nil, Schedule{BatchSize: 1}, "data: no examples, want at least one"},
		{"no full step", set, Schedule{BatchSize: 3, DropLast: true}, "data: 2 examples do not fill one step, and drop_last leaves out what is not full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewStream(c.set, c.s); err == nil || err.Error() != c.want {
				t.Errorf("NewStream(%+v) = %v, want %s", c.s, err, c.want)
			}
		})
	}
	st := stream(t, set, Schedule{BatchSize: 2})
	for _, p := range []Position{{-1, 0}, {0, -1}, {0, 1}} {
		if err := st.Seek(p); err == nil {
			t.Errorf("Seek(%+v) = nil, want an error", p)
		}
	}
}

// TestLargest compares with all micro-batches of the first epoch.
func TestLargest(t *testing.T) {
	for name, s := range map[string]Schedule{
		"examples":     {BatchSize: 5, Seed: 2},
		"micro tokens": {BatchSize: 9, Seed: 2, MicroTokens: 20},
		"tokens":       {BatchTokens: 33, Accumulation: 2, MicroTokens: 16},
	} {
		st, err := NewStream(longSet(53), s)
		if err != nil {
			t.Fatal(err)
		}
		got, want := st.Largest().NumRows(), 0
		for range st.StepsIn(0) {
			step, err := st.Next()
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range step.Batches {
				want = max(want, b.NumRows())
			}
		}
		if got != want {
			t.Errorf("%s: the largest has %d rows, want %d", name, got, want)
		}
	}
}
