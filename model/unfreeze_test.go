package model_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
)

// TestUnfreezeSome trains some weights of every tiny model and lists all.
func TestUnfreezeSome(t *testing.T) {
	for _, c := range modeltest.Tiny {
		t.Run(c.Name, func(t *testing.T) {
			src := modeltest.Open(t, modeltest.Write(t, c)).Source
			all, err := model.Load(src)
			if err != nil {
				t.Fatal(err)
			}
			all.Unfreeze()
			var names []string
			for name := range all.Params() {
				names = append(names, name)
			}
			some, err := model.Load(src)
			if err != nil {
				t.Fatal(err)
			}
			some.UnfreezeSome(func(name string) bool { return strings.HasSuffix(name, "bias") })
			for name := range some.Params() {
				if !strings.HasSuffix(name, "bias") {
					t.Errorf("%s is trained, want biases only", name)
				}
			}
			var listed []string
			for name, w := range some.Weights() {
				listed = append(listed, name)
				row := make([]float32, w.Shape[len(w.Shape)-1])
				w.Row(row, 0)
			}
			if !slices.Equal(listed, names) {
				t.Errorf("Weights() are %q, want %q as Params() of all", listed, names)
			}
		})
	}
}

// TestNewFor draws a model with the head of a task.
func TestNewFor(t *testing.T) {
	i := slices.IndexFunc(modeltest.Tiny, func(c modeltest.Config) bool { return c.Name == "roberta" })
	c, err := model.ParseConfig([]byte(modeltest.Tiny[i].JSON))
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.NewFor(c, model.Want{Kind: model.TokenLabels, Labels: []string{"O", "B-X", "I-X"}}, rand.New(rand.NewPCG(1, 2)))
	if err != nil || m.Kind != model.TokenLabels || m.Head().Base.W.Rows != 3 || !slices.Equal(m.Config.ClassNames(), []string{"O", "B-X", "I-X"}) {
		t.Fatalf("NewFor() = %v, %v", m, err)
	}
	if kind, ok := model.ParseHeadKind(m.Config.Architectures[0]); !ok || kind != model.TokenLabels {
		t.Errorf("architectures are %q", m.Config.Architectures)
	}
	if _, err := model.NewFor(c, model.Want{Kind: model.NextToken}, rand.New(rand.NewPCG(1, 2))); err == nil {
		t.Error("a head that the family does not have is no error")
	}
}
