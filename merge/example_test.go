package merge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/merge"
)

func ExampleFold() {
	dir, err := os.MkdirTemp("", "merge")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	weights := checkpoint.FromFloats("q_proj.weight", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6})
	if _, err := checkpoint.WriteShards(dir, []checkpoint.Entry{weights}, checkpoint.ShardOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"tie_word_embeddings": false}`), 0o666); err != nil {
		fmt.Println(err)
		return
	}
	base, err := checkpoint.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer base.Close()
	delta := &merge.LowRank{
		Tensor: "q_proj.weight",
		A:      kernel.NewMat([]float32{1, 0, -1}, 1, 3),
		B:      kernel.NewMat([]float32{10, 20}, 2, 1),
		Scale:  0.5,
	}
	report, err := merge.Fold(context.Background(), merge.Job{Base: base, Deltas: []merge.Delta{delta}, Out: filepath.Join(dir, "out")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Files, report.Changed[0].MaxDelta, report.Changed[0].Lost)
	merged, err := checkpoint.Open(filepath.Join(dir, "out"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer merged.Close()
	fmt.Println(merged.Floats("q_proj.weight"))
	// Output:
	// [config.json merge.json model.safetensors] 10 0
	// [6 2 -2 14 5 -4] <nil>
}
