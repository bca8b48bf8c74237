package prefix_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/prefix"
)

// tiny opens the tiny model of a name.
func tiny(t *testing.T, name string) *modeltest.Base {
	t.Helper()
	for _, c := range modeltest.Tiny {
		if c.Name == name {
			return modeltest.Open(t, modeltest.Write(t, c))
		}
	}
	t.Fatalf("no tiny model %q", name)
	return nil
}

func rng() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// tensor is the value of one parameter of an adapter.
func tensor(t *testing.T, a peft.Adapter, name string) []float32 {
	t.Helper()
	for n, p := range a.Params() {
		if n == name {
			return op.Data(p)
		}
	}
	t.Fatalf("no parameter %q", name)
	return nil
}

func TestStarts(t *testing.T) {
	m := tiny(t, "llama")
	dim := m.PromptShape().EmbedDim
	row := func(id int) []float32 {
		v := make([]float32, dim)
		m.InputEmbedding(v, id)
		return v
	}
	start := func(set func(c *prefix.Prompt)) []float32 {
		c := prefix.NewPrompt()
		c.NumVirtualTokens = 5
		set(c)
		a, err := c.Attach(m, rng())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Detach()
		return tensor(t, a, "prompt_embeddings")
	}
	t.Run("a text is repeated to the number of tokens", func(t *testing.T) {
		got := start(func(c *prefix.Prompt) { c.Init, c.Text, c.TextTokens = "TEXT", "a b", []int32{7, 3} })
		for i, id := range []int{7, 3, 7, 3, 7} {
			check.Close(t, fmt.Sprintf("token %d", i), got[i*dim:(i+1)*dim], row(id), 0, 0)
		}
	})
	t.Run("a text is cut to the number of tokens", func(t *testing.T) {
		got := start(func(c *prefix.Prompt) { c.Init, c.Text, c.TextTokens = "TEXT", "a", []int32{6, 5, 4, 3, 2, 1, 0} })
		check.Close(t, "the last token", got[4*dim:], row(2), 0, 0)
	})
	t.Run("sampled tokens are tokens", func(t *testing.T) {
		got := start(func(c *prefix.Prompt) { c.Init = "SAMPLE_VOCAB" })
		for i := range 5 {
			found := false
			for id := range m.Config.VocabSize {
				found = found || check.MaxDiff(got[i*dim:(i+1)*dim], row(id)) == 0
			}
			if !found {
				t.Errorf("virtual token %d is the embedding of no token", i)
			}
		}
	})
	t.Run("random tokens have the variance one", func(t *testing.T) {
		c := prefix.NewTuning()
		c.NumVirtualTokens = 20
		a, err := c.Attach(m, rng())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Detach()
		v := tensor(t, a, "prompt_embeddings")
		sum := 0.0
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		if got, n := sum/float64(len(v)), float64(len(v)); math.Abs(got-1) > 5*math.Sqrt(2/n) { // five deviations of a mean of n squares
			t.Errorf("variance %g, want 1", got)
		}
	})
	t.Run("init_weights zero starts with a prefix of zeros", func(t *testing.T) {
		for _, projection := range []bool{false, true} {
			c := prefix.NewTuning()
			c.NumVirtualTokens, c.Init, c.Projection = 3, "zero", projection
			a, err := c.Attach(m, rng())
			if err != nil {
				t.Fatal(err)
			}
			_, made := a.(peft.Converter).Convert(c)
			for i, v := range tensor(t, made, "prompt_embeddings") {
				if v != 0 {
					t.Errorf("projection %v: number %d is %g, want 0", projection, i, v)
					break
				}
			}
			a.Detach()
		}
	})
}

func TestMistakes(t *testing.T) {
	m := tiny(t, "llama")
	virtual := func(c prefix.Virtual) prefix.Virtual { c.NumVirtualTokens = 3; return c }
	for _, c := range []struct {
		config peft.Config
		want   string
	}{
		{&prefix.Tuning{}, "num_virtual_tokens is 0, want 1 to"},
		{&prefix.Tuning{Virtual: prefix.Virtual{NumVirtualTokens: 1 << 19}}, "want less than max_position_embeddings"},
		{&prefix.Tuning{Virtual: virtual(prefix.Virtual{TokenDim: 5})}, "token_dim is 5, the model has"},
		{&prefix.Tuning{Virtual: virtual(prefix.Virtual{NumLayers: 7})}, "num_layers is 7, the model has 2"},
		{&prefix.Tuning{Virtual: virtual(prefix.Virtual{NumSubmodules: 2})}, "num_transformer_submodules is 2, the model has 1"},
		{&prefix.Tuning{Virtual: virtual(prefix.Virtual{}), Init: "ones"}, `init_weights is "ones"`},
		{&prefix.Prompt{Virtual: virtual(prefix.Virtual{}), Init: "text"}, `prompt_tuning_init is "text", want one of RANDOM, TEXT, SAMPLE_VOCAB`},
		{&prefix.Prompt{Virtual: virtual(prefix.Virtual{}), Init: "TEXT"}, `without prompt_tuning_init_text`},
		{&prefix.Prompt{Virtual: virtual(prefix.Virtual{}), Init: "TEXT", Text: "a"}, `has no tokens`},
		{&prefix.Prompt{Virtual: virtual(prefix.Virtual{}), Init: "TEXT", Text: "a", TextTokens: []int32{1 << 30}}, `want 0 to vocab_size`},
		{&prefix.Encoded{Virtual: virtual(prefix.Virtual{}), Encoder: "GRU", EncoderNumLayers: 1}, `is "GRU", want "MLP" or "LSTM"`},
		{&prefix.Encoded{Virtual: virtual(prefix.Virtual{}), Encoder: "LSTM", EncoderDropout: 1}, `encoder_dropout is 1`},
		{&prefix.Encoded{Virtual: virtual(prefix.Virtual{}), Encoder: "LSTM"}, `encoder_num_layers is 0`},
		{&prefix.Adaption{AdapterLen: 2, AdapterLayers: 3}, "adapter_layers is 3, the model has 2 layers"},
		{&prefix.Adaption{AdapterLen: 2}, "adapter_layers is 0"},
		{&prefix.Adaption{AdapterLen: 2, AdapterLayers: 1, TargetModules: "attn"}, "match no module"},
	} {
		if a, err := c.config.Attach(m, rng()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error that says %q", c.config, err, c.want)
			if err == nil {
				a.Detach()
			}
		}
	}
	first, err := (&prefix.Tuning{Virtual: virtual(prefix.Virtual{})}).Attach(m, rng())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Detach()
	if _, err := (&prefix.Prompt{Virtual: virtual(prefix.Virtual{}), Init: "RANDOM"}).Attach(m, rng()); err == nil || !strings.Contains(err.Error(), "virtual tokens already") {
		t.Errorf("a second adapter: %v, want an error", err)
	}
}

func TestPositions(t *testing.T) {
	m := tiny(t, "gpt2")
	most := m.Config.MaxPositionEmbeddings
	if err := m.CheckPositions([]int32{int32(most - 1)}); err != nil {
		t.Fatal(err)
	}
	c := prefix.NewTuning()
	c.NumVirtualTokens = 3
	a, err := c.Attach(m, rng())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	if err := m.CheckPositions([]int32{int32(most - 4)}); err != nil {
		t.Errorf("position %d after 3 virtual tokens of %d: %v, want no error", most-4, most, err)
	}
	if err := m.CheckPositions([]int32{int32(most - 3)}); err == nil || !strings.Contains(err.Error(), "3 virtual tokens") {
		t.Errorf("position %d after 3 virtual tokens of %d: %v, want an error that names them", most-3, most, err)
	}
}

// mixed gives each segment the prompt of the adapter that it names.
type mixed []layer.Prompter

func (x mixed) Prompts(p *op.Pass) []layer.Prompt {
	out := make([]layer.Prompt, len(p.Segments))
	for k, one := range x {
		list := one.Prompts(p)
		for i, seg := range p.Segments {
			if seg.Adapter == k+1 {
				out[i] = list[i]
			}
		}
	}
	return out
}

func (mixed) Leads() bool           { return false }
func (mixed) NumVirtualTokens() int { return 5 }

func TestMixedIsAlone(t *testing.T) {
	for _, name := range []string{"llama", "gpt2", "bloom", "gpt_neox"} {
		t.Run(name+": a batch of several prompts and of none gives what each gives alone", func(t *testing.T) {
			m := tiny(t, name)
			a, b := prefix.NewTuning(), prefix.NewPrompt()
			a.NumVirtualTokens, b.NumVirtualTokens = 3, 5
			var all mixed
			for _, c := range []peft.Config{a, b} {
				x, err := c.Attach(m.Model, rng())
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, x.(layer.Prompter))
				x.Detach()
			}
			set := m.Set()
			batch := set.Batch([]int32{0, 1, 2, 3})
			for i, k := range []int{1, 0, 2, 1} {
				batch.Segments[i].Adapter = k
			}
			m.SetPrompter(all)
			together := m.Logits(t, batch)
			vocab := m.Config.VocabSize
			for i, seg := range batch.Segments {
				m.SetPrompter(nil)
				if seg.Adapter > 0 {
					m.SetPrompter(all[seg.Adapter-1])
				}
				alone := m.Logits(t, set.Batch([]int32{int32(i)}))
				check.Close(t, fmt.Sprintf("segment %d", i), together[seg.Start*vocab:seg.End*vocab], alone, 1e-5, 1e-5) // other blocks of sums
			}
		})
	}
}

func TestEncoderStaysInFloat32(t *testing.T) {
	m := tiny(t, "llama")
	c := prefix.NewPTuning()
	c.NumVirtualTokens, c.Encoder, c.EncoderHiddenSize = 3, "LSTM", 5
	a, err := c.Attach(m, rng())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	made := func(mode kernel.Mode) []float32 {
		p := op.NewPass([]op.Segment{{End: 1}}, []int32{0}, mode, op.NewArena())
		return op.Of(a.(layer.Prompter).Prompts(p)[0].Rows).Values()
	}
	if d := check.MaxDiff(made(kernel.ModeBF16), made(kernel.ModeF32)); d != 0 {
		t.Errorf("in bf16 the virtual tokens differ by %g, want none: they are what the file holds", d)
	}
}
