package corpus

import (
	"strings"
	"testing"
)

func TestGenerator(t *testing.T) {
	t.Run("equal seeds draw equal texts", func(t *testing.T) {
		a, b := New(7), New(7)
		for range 200 {
			if x, y := a.Text(), b.Text(); x != y {
				t.Fatalf("texts differ: %q, %q", x, y)
			}
		}
	})
	t.Run("no placeholder survives in any kind", func(t *testing.T) {
		g := New(1)
		for _, k := range Kinds {
			for range 200 {
				if s := k.Write(g); strings.ContainsAny(s, "{}") || s == "" {
					t.Fatalf("%s: %q", k.Name, s)
				}
			}
		}
	})
	t.Run("a completion tells every fact of its prompt", func(t *testing.T) {
		for _, r := range New(3).Task(300, nil) {
			for _, fact := range strings.Split(strings.TrimSuffix(r.Prompt, " =>"), "; ") {
				_, value, _ := strings.Cut(fact, " = ")
				if !strings.Contains(r.Completion, value) {
					t.Fatalf("%q does not tell %q", r.Completion, fact)
				}
			}
		}
	})
	t.Run("held-out rows are not among the training rows", func(t *testing.T) {
		g := New(5)
		train := map[Row]bool{}
		for _, r := range g.Task(500, nil) {
			train[r] = true
		}
		for _, r := range g.Task(100, train) {
			if train[r] {
				t.Fatalf("%v is in both", r)
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	g := New(1)
	for b.Loop() {
		b.SetBytes(int64(len(g.Text())))
	}
}
