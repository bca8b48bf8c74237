package verify_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/synth"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/merge/verify"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

const config = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
 "num_key_value_heads": 3, "head_dim": 8, "vocab_size": 101, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false}`

var rows = [][]int32{{1, 5, 9, 33, 7, 88, 2, 41}, {100, 3, 3, 60}}

// base writes a model of random weights.
func base(t *testing.T, seed uint64) *checkpoint.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if err := synth.Write(dir, []byte(config), seed, synth.Options{}); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// adapted is a model with a LoRA of random factors on all of q_proj and v_proj.
func adapted(t *testing.T, src *checkpoint.Checkpoint) (*model.Model, []merge.Delta) {
	t.Helper()
	m := loaded(t, src)
	c := lora.New()
	c.Rank, c.Alpha, c.Init, c.TargetModules = 4, 6, "false", peft.Names{List: []string{"q_proj", "v_proj"}}
	a, err := c.Attach(m, rand.New(rand.NewPCG(4, 4)))
	if err != nil {
		t.Fatal(err)
	}
	return m, a.(peft.Merger).Deltas()
}

func loaded(t *testing.T, src *checkpoint.Checkpoint) *model.Model {
	t.Helper()
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func scores(t *testing.T, m *model.Model) kernel.Mat {
	t.Helper()
	s, err := verify.Scores(m, rows, kernel.ModeF32)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFaults: a right merge passes in every dtype, one with a fault does not, and leaves nothing behind.
func TestFaults(t *testing.T) {
	src := base(t, 1)
	m, deltas := adapted(t, src)
	want, was := scores(t, m), scores(t, loaded(t, src))
	change := func(f func(l *merge.LowRank)) []merge.Delta {
		var list []merge.Delta
		for _, d := range deltas {
			l := *d.(*merge.LowRank)
			f(&l)
			list = append(list, &l)
		}
		return list
	}
	for _, c := range []struct {
		name  string
		base  *checkpoint.Checkpoint
		dtype string
		list  []merge.Delta
		fault bool
	}{
		{"right, f32", src, "f32", deltas, false},
		{"right, f16", src, "f16", deltas, false},
		{"right, bf16", src, "bf16", deltas, false},
		{"twice the alpha", src, "f32", change(func(l *merge.LowRank) { l.Scale *= 2 }), true},
		{"twice the alpha, bf16", src, "bf16", change(func(l *merge.LowRank) { l.Scale *= 2 }), true},
		{"alpha a tenth too small", src, "f32", change(func(l *merge.LowRank) { l.Scale *= 0.9 }), true},
		{"a transposed factor", src, "bf16", change(func(l *merge.LowRank) { l.A = turned(l.A) }), true},
		{"a tensor left out", src, "f32", deltas[1:], true},
		{"a tensor left out, bf16", src, "bf16", deltas[:len(deltas)-1], true},
		{"another base", base(t, 2), "bf16", deltas, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			var result *verify.Result
			_, err := merge.Fold(context.Background(), merge.Job{Base: c.base, Deltas: c.list, Out: filepath.Join(dir, "out"), DType: c.dtype, Check: func(dir string, r *merge.Report) (any, error) {
				merged, err := checkpoint.Open(dir)
				if err != nil {
					return nil, err
				}
				defer merged.Close()
				if result, err = verify.Compare(was, want, scores(t, loaded(t, merged))); err != nil {
					return nil, err
				}
				return result, result.Check(verify.Limit(r))
			}})
			t.Logf("%+v", *result)
			left, _ := os.ReadDir(dir)
			switch {
			case c.fault && (err == nil || !strings.Contains(err.Error(), "verify: the merged model is wrong by")):
				t.Errorf("%v, want that it is wrong", err)
			case c.fault && len(left) > 0:
				t.Errorf("a merge that is wrong leaves %v", left)
			case !c.fault && (err != nil || result.Top1 < 0.9 || result.Note != ""):
				t.Errorf("%v, %+v, want that it is right", err, result)
			}
		})
	}
}

// turned reads the numbers of a matrix as those of its transpose.
func turned(m kernel.Mat) kernel.Mat {
	y := kernel.NewMat(make([]float32, len(m.Data)), m.Rows, m.Cols)
	for i := range m.Rows {
		for j := range m.Cols {
			y.Data[j*m.Rows+i] = m.Row(i)[j]
		}
	}
	return y
}

// TestCompare measures scores whose differences are known.
func TestCompare(t *testing.T) {
	mat := func(x ...float32) kernel.Mat { return kernel.NewMat(x, 2, len(x)/2) }
	r, err := verify.Compare(mat(0, 0, 0, 1), mat(3, 0, 0, 5), mat(3, 0, 1, 5))
	if err != nil {
		t.Fatal(err)
	}
	if r.Rows != 2 || r.Max != 1 || r.Mean != 0.25 || r.Top1 != 1 || math.Abs(r.Effect-5) > 1e-12 || math.Abs(r.Share-0.2) > 1e-12 {
		t.Errorf("%+v", r)
	}
	// KL of softmax(0, 5) from softmax(1, 5), halved for the row that agrees.
	p, q := 1/(1+math.Exp(5.0)), 1/(1+math.Exp(4.0))
	if kl := (p*math.Log(p/q) + (1-p)*math.Log((1-p)/(1-q))) / 2; math.Abs(r.KL-kl) > 1e-9 {
		t.Errorf("KL %g, want %g", r.KL, kl)
	}
	if _, err := verify.Compare(mat(1, 2), mat(1, 2), mat(1, 2, 3, 4)); err == nil {
		t.Error("scores of two shapes are compared")
	}
	if _, err := verify.Compare(mat(1, 2), mat(1, 2), mat(1, float32(math.NaN()))); err == nil {
		t.Error("scores that are not finite are compared")
	}
	if _, err := verify.Scores(loaded(t, base(t, 1)), [][]int32{{1, 101}}, kernel.ModeF32); err == nil {
		t.Error("a token beyond the vocabulary is scored")
	}
	if r.Check(0.3) != nil || r.Check(0.1) == nil || r.Note != "" {
		t.Errorf("share %g: limits 0.3 and 0.1, note %q", r.Share, r.Note)
	}
	_ = r.Check(slices.Max([]float64{verify.Blind, 0.5}))
	if r.Note == "" {
		t.Error("a limit that lets everything pass is not noted")
	}
}
