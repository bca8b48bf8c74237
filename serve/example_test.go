package serve_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
)

// example is a small model of random weights, and a folder with an adapter of it.
func example() (m *model.Model, folder string) {
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32, "max_position_embeddings": 64}`))
	if err != nil {
		log.Fatal(err)
	}
	if m, err = model.New(c, rand.New(rand.NewPCG(1, 2))); err != nil {
		log.Fatal(err)
	}
	view, err := m.View()
	if err != nil {
		log.Fatal(err)
	}
	cfg := lora.New()
	cfg.Init, cfg.TargetModules.Pattern = "false", peft.AllLinear // random, as if it were trained
	a, err := cfg.Attach(view, rand.New(rand.NewPCG(3, 4)))
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "graft")
	if err != nil {
		log.Fatal(err)
	}
	if err := peft.Save(filepath.Join(dir, "short"), cfg, a); err != nil {
		log.Fatal(err)
	}
	return m, filepath.Join(dir, "short")
}

// A registry gives names to adapters. Who holds one keeps it, whatever its name stands for by then.
func ExampleRegistry() {
	m, dir := example()
	defer os.RemoveAll(filepath.Dir(dir))
	ctx := context.Background()
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All, Budget: 1 << 20})
	info, err := r.Load(ctx, "short", dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Name, info.Method, info.Resident)
	lease, err := r.Acquire(ctx, []peft.Use{{Name: "short", Scale: 0.5}})
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Unload("short"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(lease.Versions()[0] == info.Version, len(r.List()), r.Stats().Bytes == info.Bytes)
	lease.Release()
	fmt.Println(r.Stats().Bytes)
	_, err = r.Acquire(ctx, peft.Fully("short"))
	fmt.Println(err)
	// Output:
	// short LORA true
	// true 0 true
	// 0
	// serve: no such adapter: "short"
}

// An engine continues many texts at once, each through its own adapters. Tokens come as they are made.
func ExampleEngine_Generate() {
	m, dir := example()
	defer os.RemoveAll(filepath.Dir(dir))
	ctx := context.Background()
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All})
	if _, err := r.Load(ctx, "short", dir); err != nil {
		log.Fatal(err)
	}
	e := serve.NewEngine(m, r, serve.EngineOptions{Mode: kernel.ModeF32})
	defer e.Close(ctx)
	for _, uses := range [][]peft.Use{nil, peft.Fully("short")} {
		n := 0
		result, err := e.Generate(ctx, serve.Generation{Adapters: uses, Prompt: []int32{1, 2, 3}, Options: generate.Options{MaxNewTokens: 5}, Logprobs: 1},
			func(t serve.Token) bool {
				n++
				return t.Top[0].ID == t.ID // greedy: it is the most probable
			})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(n, len(result.Tokens), result.Finish, len(result.Versions))
	}
	fmt.Println(e.Stats().Adapters["short"])
	// Output:
	// 5 5 length 0
	// 5 5 length 1
	// {1 3 5}
}

// An embedding is a vector of length 1.
func ExampleEngine_Embed() {
	m, dir := example()
	defer os.RemoveAll(filepath.Dir(dir))
	e := serve.NewEngine(m, serve.NewRegistry(m, serve.RegistryOptions{}), serve.EngineOptions{})
	defer e.Close(context.Background())
	v, err := e.Embed(context.Background(), serve.Reading{Tokens: []int32{1, 2, 3}, Pool: serve.PoolLast})
	if err != nil {
		log.Fatal(err)
	}
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	fmt.Printf("%d numbers, length %.4f\n", len(v), sum)
	// Output:
	// 16 numbers, length 1.0000
}
