package peft

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/model/layer"
)

// names is a model of which only the slots' names matter.
type names struct {
	kind  string
	slots []*layer.Slot
}

func (m *names) ModelType() string            { return m.kind }
func (m *names) Slots() iter.Seq[*layer.Slot] { return slices.Values(m.slots) }

// llamaNames has the slots of a model of so many layers.
func llamaNames(layers int) *names {
	m := &names{kind: "llama", slots: []*layer.Slot{{Name: "model.embed_tokens", Kind: layer.Embedding}}}
	for l := range layers {
		for _, end := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			m.slots = append(m.slots, &layer.Slot{Name: fmt.Sprintf("model.layers.%d.%s", l, end)})
		}
	}
	m.slots = append(m.slots, &layer.Slot{Name: "lm_head", Kind: layer.Head})
	return m
}

// short drops what all names of blocks share.
func short(slots []*layer.Slot) string {
	var out []string
	for _, s := range slots {
		out = append(out, strings.NewReplacer("model.layers.", "", "self_attn.", "", "mlp.", "", "_proj", "").Replace(s.Name))
	}
	return strings.Join(out, " ")
}

func TestSelect(t *testing.T) {
	list := func(s ...string) Names { return Names{List: s} }
	for _, c := range []struct {
		name string
		s    Selection
		want string
	}{
		{"null means the model type's default", Selection{}, "0.q 0.v 1.q 1.v 2.q 2.v"},
		{"a list holds suffixes", Selection{TargetModules: list("q_proj")}, "0.q 1.q 2.q"},
		{"a suffix may have several parts", Selection{TargetModules: list("1.self_attn.q_proj")}, "1.q"},
		{"a list may hold whole names", Selection{TargetModules: list("lm_head")}, "lm_head"},
		{"a pattern matches whole names", Selection{TargetModules: Names{Pattern: `.*\.[12]\..*(q|up)_proj`}}, "1.q 1.up 2.q 2.up"},
		{"all-linear leaves out embedding and head", Selection{TargetModules: Names{Pattern: "All-Linear"}, ExcludeModules: list("mlp.gate_proj", "up_proj", "down_proj")},
			"0.q 0.k 0.v 0.o 1.q 1.k 1.v 1.o 2.q 2.k 2.v 2.o"},
		{"exclusion comes first", Selection{TargetModules: list("q_proj", "k_proj"), ExcludeModules: list("0.self_attn.q_proj")}, "0.k 1.q 1.k 2.q 2.k"},
		{"exclusion may be a pattern", Selection{TargetModules: list("q_proj"), ExcludeModules: Names{Pattern: `.*\.[01]\..*`}}, "2.q"},
		{"layers_to_transform restricts suffixes", Selection{TargetModules: list("q_proj"), LayersToTransform: []int{0, 2}}, "0.q 2.q"},
		{"layers_to_transform does not restrict whole names", Selection{TargetModules: list("q_proj", "model.layers.1.self_attn.v_proj"), LayersToTransform: []int{0}}, "0.q 1.v"},
		{"an empty layers_to_transform restricts nothing", Selection{TargetModules: list("q_proj"), LayersToTransform: []int{}}, "0.q 1.q 2.q"},
		{"layers_to_transform goes with all-linear", Selection{TargetModules: Names{Pattern: AllLinear}, LayersToTransform: []int{1}}, "1.q 1.k 1.v 1.o 1.gate 1.up 1.down"},
		{"layers_pattern names the list of layers", Selection{TargetModules: list("q_proj"), LayersToTransform: []int{1}, LayersPattern: []string{"h", "layers"}}, "1.q"},
		{"layers_pattern may be a pattern", Selection{TargetModules: list("q_proj"), LayersToTransform: []int{1}, LayersPattern: []string{"(?:h|layers)"}}, "1.q"},
		{"a file may name more than there is", Selection{TargetModules: list("q_proj", "c_attn"), ExcludeModules: list("x"), Lenient: true}, "0.q 1.q 2.q"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := c.s.Select(llamaNames(3))
			if err != nil {
				t.Fatal(err)
			}
			if short(got) != c.want {
				t.Errorf("%+v: %s, want %s", c.s, short(got), c.want)
			}
		})
	}
}

func TestSelectErrors(t *testing.T) {
	list := func(s ...string) Names { return Names{List: s} }
	other := llamaNames(1)
	other.kind = "other"
	for _, c := range []struct {
		name string
		s    Selection
		m    *names
		want []string
	}{
		{"a misspelt entry gets close names", Selection{TargetModules: list("q_proj", "v_porj")}, llamaNames(1), []string{`target_modules ["v_porj"] match no module`, "close names: v_proj"}},
		{"a name without its underscore is close", Selection{TargetModules: list("qproj")}, llamaNames(1), []string{"close names: q_proj"}},
		{"a module that holds modules is no target", Selection{TargetModules: list("mlp")}, llamaNames(1), []string{"close names: gate_proj, up_proj, down_proj"}},
		{"a foreign entry gets all names", Selection{TargetModules: list("c_attn")}, llamaNames(1), []string{"there are: embed_tokens, q_proj"}},
		{"half a name is none", Selection{TargetModules: list("proj")}, llamaNames(1), []string{"match no module"}},
		{"exclusion of nothing is an error", Selection{TargetModules: list("q_proj"), ExcludeModules: list("k_prok")}, llamaNames(1), []string{`exclude_modules ["k_prok"]`, "k_proj"}},
		{"exclusion by a pattern, too", Selection{TargetModules: list("q_proj"), ExcludeModules: Names{Pattern: "x"}}, llamaNames(1), []string{`exclude_modules "x" matches no module`}},
		{"nothing left is an error", Selection{TargetModules: list("q_proj"), LayersToTransform: []int{7}}, llamaNames(1), []string{"layers_to_transform [7]"}},
		{"no default for the model type", Selection{}, other, []string{`model_type "other" has no default`}},
		{"pattern and layers", Selection{TargetModules: Names{Pattern: ".*"}, LayersToTransform: []int{0}}, llamaNames(1), []string{"want a list of names"}},
		{"layers_pattern alone", Selection{TargetModules: list("q_proj"), LayersPattern: []string{"h"}}, llamaNames(1), []string{"want layers_to_transform"}},
		{"a layer below zero", Selection{TargetModules: list("q_proj"), LayersToTransform: []int{-1}}, llamaNames(1), []string{"has -1, want 0 or more"}},
		{"all mistakes at once", Selection{TargetModules: Names{Pattern: "("}, ExcludeModules: Names{Pattern: "["}, LayersPattern: []string{"("}}, llamaNames(1),
			[]string{"target_modules: pattern", "exclude_modules: pattern", "layers_pattern: pattern", "want layers_to_transform"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := c.s.Select(c.m)
			for _, w := range c.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%v, want %q in it", err, w)
				}
			}
		})
	}
}

func TestCondense(t *testing.T) {
	all := Selection{TargetModules: Names{Pattern: AllLinear}}
	for _, c := range []struct {
		name   string
		layers int
		s      Selection
		want   string
	}{
		{"few names stay whole", 1, all, "0.q 0.k 0.v 0.o 0.gate 0.up 0.down"},
		{"many become suffixes", 3, all, "q k v o gate up down"},
		{"suffixes mean the chosen only", 4, Selection{TargetModules: Names{Pattern: AllLinear}, LayersToTransform: []int{0, 1, 2}, ExcludeModules: Names{Pattern: `.*\.0\.mlp\.up_proj`}},
			"0.q 0.k 0.v 0.o 0.gate 0.down 1.q 1.k 1.v 1.o 1.gate 1.up 1.down 2.q 2.k 2.v 2.o 2.gate 2.up 2.down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := llamaNames(c.layers)
			slots, _, err := c.s.Select(m)
			if err != nil {
				t.Fatal(err)
			}
			got := Condense(slots, m)
			again, _, err := Selection{TargetModules: Names{List: got}}.Select(m)
			if err != nil || short(again) != short(slots) {
				t.Errorf("%q means %s (%v), want %s", got, short(again), err, short(slots))
			}
			if text := strings.NewReplacer("model.", "", "layers.", "", "self_attn.", "", "mlp.", "", "_proj", "").Replace(strings.Join(got, " ")); text != c.want {
				t.Errorf("%q, want %s", got, c.want)
			}
		})
	}
}
