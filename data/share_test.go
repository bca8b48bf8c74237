package data

import (
	"slices"
	"testing"
)

// ending is an example whose last own tokens are targets.
func ending(own int, ids ...int32) Example {
	return Example{IDs: ids, Loss: []Span{{int32(len(ids) - own), int32(len(ids)), 1}}}
}

func counted(from, n int32) (ids []int32) {
	for i := range n {
		ids = append(ids, from+i)
	}
	return ids
}

// texts gives the tokens and targets of each text of a batch, with what it comes after.
func (b *Batch) texts() (list [][2][]int32) {
	parent := map[int]bool{}
	for _, s := range b.Segments {
		parent[s.After-1] = true
	}
	for i, s := range b.Segments {
		if parent[i] {
			continue
		}
		var tokens, targets []int32
		if s.After > 0 {
			f := b.Segments[s.After-1]
			tokens, targets = append(tokens, b.Tokens[f.Start:f.End]...), append(targets, b.Targets[f.Start:f.End]...)
		}
		list = append(list, [2][]int32{append(tokens, b.Tokens[s.Start:s.End]...), append(targets, b.Targets[s.Start:s.End]...)})
	}
	return list
}

func TestShare(t *testing.T) {
	long := counted(1, 20)
	for _, c := range []struct {
		name   string
		set    Set
		spared int
	}{
		{"nothing alike", Set{ending(2, counted(1, 30)...), ending(2, counted(2, 30)...)}, 0},
		{"too short", Set{ending(2, append(counted(1, 15), 7, 8, 9)...), ending(2, append(counted(1, 15), 6, 8, 9)...)}, 0},
		{"two of three", Set{ending(2, append(slices.Clone(long), 7, 8, 9)...), ending(2, counted(5, 30)...), ending(3, append(slices.Clone(long), 5, 4, 3, 2)...)}, 20},
		{"the row before the first target is its own", Set{ending(3, append(slices.Clone(long), 7, 8, 9)...), ending(3, append(slices.Clone(long), 5, 4, 3)...)}, 19},
		{"one text within another", Set{ending(1, long...), ending(9, counted(1, 60)...)}, 18},
		{"three share more than two do", Set{ending(1, append(counted(1, 40), 7)...), ending(1, append(counted(1, 40), 8)...), ending(1, append(counted(1, 30), 9, 9, 9)...)}, 60},
		{"the same twice", Set{ending(2, long...), ending(2, long...)}, 17},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := c.set.Batch(sequential(len(c.set), 0, 0))
			b := whole.Share()
			if b.Spared != c.spared || b.NumRows() != whole.NumRows() || b.NumTargets() != whole.NumTargets() {
				t.Errorf("spared %d of %d rows, %d targets, want %d of %d, %d", b.Spared, b.NumRows(), b.NumTargets(), c.spared, whole.NumRows(), whole.NumTargets())
			}
			got, want := b.texts(), whole.texts()
			for _, w := range want {
				if !slices.ContainsFunc(got, func(g [2][]int32) bool { return slices.Equal(g[0], w[0]) && slices.Equal(g[1], w[1]) }) {
					t.Errorf("text %v with targets %v is gone; there are %v", w[0], w[1], got)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d texts, want %d", len(got), len(want))
			}
			for i, s := range b.Segments {
				begin := int32(0)
				if s.After > 0 {
					begin = int32(b.Segments[s.After-1].End - b.Segments[s.After-1].Start)
				}
				if b.Positions[s.Start] != begin || s.After > i {
					t.Errorf("segment %d begins at position %d after segment %d, want %d and an earlier one", i, b.Positions[s.Start], s.After, begin)
				}
			}
		})
	}
}
