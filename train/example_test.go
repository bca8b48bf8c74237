package train_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/tokenizer"
	"github.com/graft-ml/graft/train"
)

// A LoRA is trained on the small base inside the program and saved as PEFT saves it.
func Example() {
	ctx, folder := context.Background(), recipes.Quickstart() // a model's folder: os.DirFS("models/llama")
	base, err := checkpoint.OpenFS(folder)                    // or checkpoint.Open("models/llama"), mapped
	check(err)
	defer base.Close()
	m, err := model.Load(base)
	check(err)
	tok, err := tokenizer.Open(folder)
	check(err)

	cfg := lora.New()
	cfg.Rank, cfg.Alpha, cfg.TargetModules = 8, 16, peft.Names{List: []string{"q_proj", "v_proj"}}
	adapter, err := cfg.Attach(m, rand.New(rand.NewPCG(1, 2)))
	check(err)

	rows := source.Files{FS: folder, Path: "train.jsonl", MaxRows: 64}.Rows()
	set, _, err := data.Build(ctx, rows, tok, nil, data.Settings{})
	check(err)
	stream, err := data.NewStream(set, data.Schedule{BatchSize: 16})
	check(err)
	_, err = train.Run(ctx, train.Job{
		Config: train.Config{Steps: stream.Steps(1), LearningRate: 4e-3, MaxGradNorm: 1},
		Params: train.NewParams(adapter.Params()), Objective: train.For(m, task.Tasks[0]), Source: stream})
	check(err)

	dir, err := os.MkdirTemp("", "adapter")
	check(err)
	defer os.RemoveAll(dir)
	check(peft.Save(dir, cfg, adapter))
	fmt.Println(peft.NumParams(adapter), "trained numbers in", peft.TensorsFile)
	// Output: 20480 trained numbers in adapter_model.safetensors
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
