package merge

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
)

// TestAddedTensors merges a head that the base lacks, or has for another number of labels.
func TestAddedTensors(t *testing.T) {
	base := model(t, checkpoint.F32, 0, config)
	head := &Whole{Tensor: "head.weight", Rows: 2, Cols: 3, Data: []float32{1, 2, 3, 4, 5, 6}}
	bias := &Whole{Tensor: "head.bias", Rows: 2, Cols: 1, Data: []float32{7, 8}, Vector: true}
	other := &Whole{Tensor: "c.weight", Rows: 2, Cols: 7, Data: make([]float32, 14)} // was [13, 7]
	other.Data[3] = 9
	out := filepath.Join(t.TempDir(), "out")
	_, err := Fold(context.Background(), Job{Base: base, Deltas: []Delta{head, bias, other}, Out: out, Added: []string{"head.weight", "head.bias", "c.weight"},
		Name: func(name string) string {
			if name == "norm.weight" {
				return "base.norm.weight"
			}
			return name
		}, Fields: map[string]any{"architectures": []string{"XForSequenceClassification"}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, want := range map[string][]int{"head.weight": {2, 3}, "head.bias": {2}, "c.weight": {2, 7}, "base.norm.weight": {13}, "a.weight": {257, 131}} {
		if info, ok := c.Info(name); !ok || !slices.Equal(info.Shape, want) {
			t.Errorf("%s is %v, want %v", name, info.Shape, want)
		}
	}
	if v, err := c.Floats("head.weight"); err != nil || !slices.Equal(v, head.Data) {
		t.Errorf("head.weight is %v, %v, want %v", v, err, head.Data)
	}
	if _, ok := c.Info("norm.weight"); ok {
		t.Error("norm.weight is there under its old name, too")
	}
	b, err := os.ReadFile(filepath.Join(out, "config.json"))
	if err != nil || !strings.Contains(string(b), `["XForSequenceClassification"]`) {
		t.Errorf("config.json is %s, %v", b, err)
	}
	if _, err := Fold(context.Background(), Job{Base: base, Deltas: []Delta{head}, Out: out + "2"}); err == nil || !strings.Contains(err.Error(), `no tensor "head.weight"`) {
		t.Errorf("a tensor that nobody said is new: %v", err)
	}
}
