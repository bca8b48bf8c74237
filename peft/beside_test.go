package peft

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// weighed is llamaNames with weights [5, 3] and norms.
type weighed struct {
	*names
	vectors []layer.NamedVector
}

func (m *weighed) Vectors() []layer.NamedVector { return m.vectors }

func newWeighed(tied bool) *weighed {
	m := &weighed{names: llamaNames(2)}
	for i, s := range m.slots {
		data := make([]float32, 15)
		for j := range data {
			data[j] = float32(i + j)
		}
		s.Base = &layer.Frozen{W: kernel.FrozenF32(data, 5, 3)}
		if strings.HasSuffix(s.Name, "q_proj") {
			s.Base.Bias = []float32{1, 2, 3, 4, 5}
		}
		if s.Kind == layer.Embedding {
			s.Lookup = &layer.Table{W: s.Base.W}
		} else {
			s.Projection = s.Base
		}
	}
	if head := m.slots[len(m.slots)-1]; tied {
		head.Tied, head.Base, head.Projection = true, m.slots[0].Base, m.slots[0].Base
	}
	for _, name := range []string{"model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.bias", "model.norm.weight"} {
		m.vectors = append(m.vectors, layer.NamedVector{Name: name, Vector: &op.Vector{Value: []float32{1, 2, 3}}})
	}
	return m
}

func keys(params iter.Seq2[string, *nn.Param]) (list []string) {
	for name, p := range params {
		list = append(list, strings.TrimPrefix(name, Prefix)+strings.ReplaceAll(fmt.Sprint(op.FileShape(p)), " ", ","))
	}
	return list
}

// TestBeside lists what is trained, by its keys in the file, and that detaching puts everything back.
func TestBeside(t *testing.T) {
	for _, c := range []struct {
		name    string
		tied    bool
		b       Beside
		common  Common
		want    string
		extra   string // names of extras
		targets []string
	}{
		{name: "nothing"},
		{name: "bias none", b: Beside{Bias: "none"}},
		{name: "an end of a name, without a dot", b: Beside{ModulesToSave: []string{"proj_", "d_tokens"}}, common: Common{FromFile: true}, want: "model.embed_tokens.weight[5,3]"},
		{name: "norm is input_layernorm, too", b: Beside{ModulesToSave: []string{"norm"}},
			want: "model.layers.0.input_layernorm.weight[3] model.layers.0.input_layernorm.bias[3] model.norm.weight[3]"},
		{name: "a module with what lies in it", b: Beside{ModulesToSave: []string{"1.mlp"}},
			want: "model.layers.1.mlp.gate_proj.weight[5,3] model.layers.1.mlp.up_proj.weight[5,3] model.layers.1.mlp.down_proj.weight[5,3]"},
		{name: "one end of a tie", tied: true, b: Beside{ModulesToSave: []string{"embed_tokens"}}, want: "model.embed_tokens.weight[5,3]"},
		{name: "both ends as one", tied: true, b: Beside{ModulesToSave: []string{"embed_tokens"}, Tie: true}, want: "model.embed_tokens.weight[5,3]", extra: "lm_head.weight"},
		{name: "heads of a task need not be there", common: Common{TaskType: "SEQ_CLS"}},
		{name: "biases of targets", b: Beside{Bias: "lora_only"}, targets: []string{"model.layers.1.self_attn.q_proj"}, want: "model.layers.1.self_attn.q_proj.base_layer.bias[5]"},
		{name: "all biases", b: Beside{Bias: "all"}, targets: []string{"model.layers.1.self_attn.q_proj"},
			want: "model.layers.0.self_attn.q_proj.bias[5] model.layers.1.self_attn.q_proj.base_layer.bias[5] model.layers.0.input_layernorm.bias[3]"},
		{name: "all biases beside a saved module", b: Beside{Bias: "all", ModulesToSave: []string{"0.self_attn.q_proj", "layernorm"}},
			want:  "model.layers.0.self_attn.q_proj.weight[5,3] model.layers.0.self_attn.q_proj.bias[5] model.layers.0.input_layernorm.weight[3] model.layers.0.input_layernorm.bias[3] model.layers.1.self_attn.q_proj.bias[5]",
			extra: "model.layers.0.self_attn.q_proj.modules_to_save.bias model.layers.0.self_attn.q_proj.original_module.bias"},
		{name: "tokens", b: Beside{TokenIndices: TokenIndices{List: []int{4, 0}}}, want: "model.embed_tokens.token_adapter.trainable_tokens_delta[2,3]"},
		{name: "the same tokens at both ends of a tie", tied: true, b: Beside{TokenIndices: TokenIndices{ByModule: map[string][]int{"embed_tokens": {1}, "lm_head": {1}}}},
			want: "model.embed_tokens.token_adapter.trainable_tokens_delta[1,3]"},
		{name: "tokens of the head", b: Beside{TokenIndices: TokenIndices{ByModule: map[string][]int{"lm_head": {1}}}}, want: "lm_head.token_adapter.trainable_tokens_delta[1,3]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newWeighed(c.tied)
			var targets []*layer.Slot
			for _, s := range m.slots {
				if slices.Contains(c.targets, s.Name) {
					targets = append(targets, s)
				}
			}
			x, err := c.b.Attach(m, targets, &c.common)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if c.want != "" {
				want = strings.Split(c.want, " ")
			}
			if got := keys(x.Params()); !slices.Equal(got, want) {
				t.Errorf("parameters %q, want %q", got, want)
			}
			var extra []string
			for _, e := range x.Extras() {
				extra = append(extra, strings.TrimPrefix(e.Name, Prefix))
			}
			if got := strings.Join(extra, " "); got != c.extra {
				t.Errorf("extras %q, want %q", got, c.extra)
			}
			if !x.Idle() {
				t.Error("Idle() = false at the start, want true")
			}
			x.Detach()
			fresh := newWeighed(c.tied)
			if !reflect.DeepEqual(m, fresh) {
				t.Error("detached, the model is another")
			}
		})
	}
}

func TestBesideComplains(t *testing.T) {
	for _, c := range []struct {
		b    Beside
		want string
	}{{Beside{Bias: "lora_only"}, `bias is "lora_only", but there is no bias to train`}, {Beside{Tie: true}, "ensure_weight_tying is true, but no weight"},
		{Beside{ModulesToSave: []string{"lmhead"}}, `modules_to_save ["lmhead"] match no module; close names: lm_head`}} {
		if _, err := c.b.Attach(newWeighed(true), nil, &Common{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want …%s…", c.b, err, c.want)
		}
		file := &Common{FromFile: true}
		if _, err := c.b.Attach(newWeighed(true), nil, file); err != nil || len(file.Warnings) != 1 || !strings.Contains(file.Warnings[0], c.want) {
			t.Errorf("%+v from a file: %v, warnings %q, want …%s…", c.b, err, file.Warnings, c.want)
		}
	}
}

func TestBesideIdle(t *testing.T) {
	for _, b := range []Beside{{ModulesToSave: []string{"lm_head"}}, {ModulesToSave: []string{"model.norm"}}, {Bias: "all"}, {TokenIndices: TokenIndices{List: []int{2}}}} {
		x, err := b.Attach(newWeighed(false), nil, &Common{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range x.Params() {
			op.Data(p)[0]++
			break
		}
		if x.Idle() {
			t.Errorf("%+v: Idle() = true after a change, want false", b)
		}
	}
}

func TestTies(t *testing.T) {
	if got := Ties(newWeighed(false)); got != nil {
		t.Errorf("Ties = %v, want none", got)
	}
	if got, want := Ties(newWeighed(true)), []merge.Tie{{Stored: "model.embed_tokens.weight", Other: "lm_head.weight"}}; !slices.Equal(got, want) {
		t.Errorf("Ties = %v, want %v", got, want)
	}
}

func TestTokenIndicesJSON(t *testing.T) {
	for _, s := range []string{`null`, `[5,3]`, `{"a":[1],"b":[2,0]}`, `[]`, `{}`} {
		var x TokenIndices
		if err := json.Unmarshal([]byte(s), &x); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if b, err := json.Marshal(x.Value()); err != nil || string(b) != s {
			t.Errorf("%s: written as %s (%v)", s, b, err)
		}
	}
	for _, s := range []string{`5`, `"x"`, `[1.5]`, `{"a": 3}`, `[[1]]`} {
		var x TokenIndices
		if err := json.Unmarshal([]byte(s), &x); err == nil {
			t.Errorf("%s: no error, got %+v", s, x)
		}
	}
}

// TestSavedAreNoTargets leaves modules out that are trained in full: those of that whole name, and what lies in them.
func TestSavedAreNoTargets(t *testing.T) {
	s := Selection{TargetModules: Names{List: []string{"q_proj", "gate_proj"}}, ModulesToSave: []string{"0.self_attn", "gate", "1.mlp.gate_proj"}}
	got, _, err := s.Select(llamaNames(2))
	if err != nil || short(got) != "0.gate 1.q" {
		t.Errorf("Select = %q (%v), want 0.gate 1.q", short(got), err)
	}
}
