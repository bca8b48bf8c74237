package train_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/train"
)

// tensorBytes is from what size on an allocation counts as a tensor's.
const tensorBytes = 64 << 10

// uneven has texts of 8 to 71 tokens, so that batches of eight differ in length by a factor of two and more.
func uneven(n int) (s data.Set) {
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range n {
		x := data.Example{Ordinal: i, IDs: make([]int32, 8+rng.IntN(64))}
		for t := range x.IDs {
			x.IDs[t] = int32(rng.IntN(400))
		}
		x.Loss = []data.Span{{Start: 3, End: int32(len(x.IDs)), Weight: 1}}
		s = append(s, x)
	}
	return s
}

// TestSteady trains over two epochs of batches that differ in length. In the second no buffer of the size of a tensor may be allocated,
// and what the arena holds stays near to what the largest batch needs.
func TestSteady(t *testing.T) {
	threads := runtime.GOMAXPROCS(1) // of several, one more may come to need a buffer of its own at any time
	t.Cleanup(func() { runtime.GOMAXPROCS(threads) })
	const shape = `{"model_type": "%s", "architectures": ["%s"], "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 400, "max_position_embeddings": 128, "n_embd": 96, "n_head": 4, "n_layer": 3, "n_positions": 128}`
	for _, c := range []struct {
		name, kind, head string
		targets          []string
		mode             kernel.Mode
		recompute        bool
	}{
		{"llama", "llama", "LlamaForCausalLM", []string{"q_proj", "v_proj", "down_proj"}, kernel.ModeF32, false},
		{"llama, bf16", "llama", "LlamaForCausalLM", []string{"q_proj", "v_proj", "down_proj"}, kernel.ModeBF16, false},
		{"llama, split, layers computed again", "llama", "LlamaForCausalLM", []string{"q_proj", "v_proj"}, kernel.ModeSplit, true},
		{"gpt2", "gpt2", "GPT2LMHeadModel", []string{"c_attn", "c_fc"}, kernel.ModeF32, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := model.ParseConfig(fmt.Appendf(nil, shape, c.kind, c.head))
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			m, err := model.New(config, rng)
			if err != nil {
				t.Fatal(err)
			}
			cfg := lora.New()
			cfg.TargetModules = peft.Names{List: c.targets}
			a, err := cfg.Attach(m, rng)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := data.NewStream(uneven(64), data.Schedule{BatchSize: 8, Order: "sequential"})
			if err != nil {
				t.Fatal(err)
			}
			what, err := task.Lookup("causal-lm")
			if err != nil {
				t.Fatal(err)
			}
			arena := op.NewArena()
			p := newAllocations(t)
			_, err = train.Run(context.Background(), train.Job{Config: train.Config{Steps: stream.Steps(2), LearningRate: 1e-3},
				Params: train.NewParams(a.Params()), Objective: train.For(m, what), Source: stream, Mode: c.mode, Arena: arena, Recompute: c.recompute,
				Report: func(e train.Event) {
					if e.Kind == train.Stepped && e.Step == stream.StepsIn(0) {
						p.begin()
					}
				}})
			if err != nil {
				t.Fatal(err)
			}
			for _, where := range p.since() {
				t.Errorf("after the first epoch: %s", where)
			}
			if held, peak := arena.HeldBytes(), arena.PeakBytes(); held > peak+peak*15/100 {
				t.Errorf("the arena holds %d bytes, %.2f times the %d that were out at once, want at most 1.15 times", held, float64(held)/float64(peak), peak)
			}
		})
	}
}

// allocations counts what is allocated by place and size.
type allocations struct {
	records []runtime.MemProfileRecord
	before  map[string]int64
}

// newAllocations has every allocation noted until the test ends.
func newAllocations(t *testing.T) *allocations {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	t.Cleanup(func() { runtime.MemProfileRate = rate })
	return &allocations{records: make([]runtime.MemProfileRecord, 1<<15)}
}

func (p *allocations) begin() { p.before = p.count() }

// since lists the large allocations after begin.
func (p *allocations) since() (list []string) {
	for where, n := range p.count() {
		if more := n - p.before[where]; more > 0 {
			list = append(list, fmt.Sprintf("%d times %s", more, where))
		}
	}
	return list
}

func (p *allocations) count() map[string]int64 {
	for range 3 { // the profile is that of the collection before last
		runtime.GC()
	}
	n, ok := runtime.MemProfile(p.records, true)
	if !ok {
		panic(fmt.Sprintf("%d places allocate", n))
	}
	counts := map[string]int64{}
	for _, r := range p.records[:n] {
		if r.AllocObjects == 0 || r.AllocBytes/r.AllocObjects < tensorBytes {
			continue
		}
		counts[fmt.Sprintf("%d bytes at %s", r.AllocBytes/r.AllocObjects, stack(r.Stack()))] += r.AllocObjects
	}
	return counts
}

// stack names the functions that called for an allocation, the innermost first.
func stack(at []uintptr) string {
	var names []string
	for frames := runtime.CallersFrames(at); len(names) < 6; {
		f, more := frames.Next()
		names = append(names, fmt.Sprintf("%s:%d", f.Function[strings.LastIndexByte(f.Function, '/')+1:], f.Line))
		if !more {
			break
		}
	}
	return strings.Join(names, " < ")
}
