package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/model/layer"
)

// Names selects modules: a list of suffixes, or one pattern that must match the whole name. The zero value is null.
type Names struct {
	List    []string
	Pattern string // if not empty, List is
}

// IsNull says that nothing was named.
func (n Names) IsNull() bool { return n.List == nil && n.Pattern == "" }

// AllLinear in target_modules means every linear layer but the head.
const AllLinear = "all-linear"

// IsAllLinear says that the names are the word AllLinear, in any case.
func (n Names) IsAllLinear() bool { return strings.EqualFold(n.Pattern, AllLinear) }

// UnmarshalJSON implements json.Unmarshaler.
func (n *Names) UnmarshalJSON(b []byte) error {
	*n = Names{}
	if string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, &n.Pattern) == nil {
		if n.Pattern == "" {
			n.List = []string{} // an empty pattern matches no module
		}
		return nil
	}
	n.List = []string{}
	return json.Unmarshal(b, &n.List)
}

// Value is the JSON value. PEFT holds a list as a set and writes it in any order; graft sorts it.
func (n Names) Value() any {
	switch {
	case n.Pattern != "":
		return n.Pattern
	case n.List != nil:
		l := make([]any, len(n.List))
		for i, s := range slices.Sorted(slices.Values(n.List)) {
			l[i] = s
		}
		return l
	}
	return nil
}

func (n Names) String() string {
	if n.Pattern != "" {
		return strconv.Quote(n.Pattern)
	}
	return fmt.Sprintf("%q", n.List)
}

// Selection is what decides which slots a method goes to, in PEFT's words.
type Selection struct {
	TargetModules     Names
	ExcludeModules    Names
	LayersToTransform []int    // empty = all
	LayersPattern     []string // names of the list of layers, which are patterns; empty = any
	ModulesToSave     []string // modules that are trained in full, with what is in them, are no targets
	TaskType          string   // the modules of its head, which are trained in full, are not meant by "all-linear"
	// Lenient turns entries that match nothing from errors into warnings.
	Lenient bool
}

// defaults are PEFT's target_modules by model_type, for configs that name none.
var defaults = map[string][]string{
	"llama": qv, "mistral": qv, "mixtral": qv, "qwen2": qv, "qwen3": qv, "gemma": qv, "gemma2": qv, "gemma3_text": qv,
	"gpt_neo": qv, "gptj": qv, "opt": qv, "stablelm": qv, "bart": qv,
	"bert": {"query", "value"}, "roberta": {"query", "value"}, "xlm-roberta": {"query", "value"}, "electra": {"query", "value"},
	"deberta-v2": {"query_proj", "value_proj"}, "t5": {"q", "v"}, "mt5": {"q", "v"},
	"gpt2": {"c_attn"}, "gpt_neox": fused, "bloom": fused, "falcon": fused,
}

var qv, fused = []string{"q_proj", "v_proj"}, []string{"query_key_value"}

// Select returns the slots that the selection names, in the model's order: PEFT's check_target_module_exists.
func (s Selection) Select(m layer.Model) (chosen []*layer.Slot, warnings []string, err error) {
	x, err := s.check()
	if err != nil {
		return nil, nil, err
	}
	if s.TargetModules.IsNull() {
		list, ok := defaults[m.ModelType()]
		if !ok {
			return nil, nil, fmt.Errorf("peft: target_modules is not set and model_type %q has no default, want a list of names or %q", m.ModelType(), AllLinear)
		}
		s.TargetModules = Names{List: list}
		x.target.n = s.TargetModules
	}
	for slot := range m.Slots() {
		in, err := x.match(slot)
		if err != nil {
			return nil, nil, err
		}
		if in && !(s.TargetModules.IsAllLinear() && SavesModule(s.TaskType, slot.Name)) {
			chosen = append(chosen, slot)
		}
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("peft: target_modules %v match no module%s%s", s.TargetModules, s.restrictions(), hint(s.TargetModules.List, m))
	}
	unused := append(x.target.unused(m), x.exclude.unused(m)...)
	if s.Lenient {
		return chosen, unused, nil
	}
	var errs []error
	for _, u := range unused {
		errs = append(errs, errors.New("peft: "+u))
	}
	return chosen, nil, errors.Join(errs...)
}

// Validate reports what is wrong with the selection whatever the model.
func (s Selection) Validate() error {
	_, err := s.check()
	return err
}

// check compiles the selection and reports settings that contradict each other. Unlike PEFT's, graft's layers_to_transform
// goes with "all-linear".
func (s Selection) check() (*selector, error) {
	var errs []error
	if s.TargetModules.Pattern != "" && !s.TargetModules.IsAllLinear() && (len(s.LayersToTransform) > 0 || len(s.LayersPattern) > 0) {
		errs = append(errs, fmt.Errorf("peft: target_modules is the pattern %q, want a list of names with layers_to_transform and layers_pattern", s.TargetModules.Pattern))
	}
	if len(s.LayersPattern) > 0 && len(s.LayersToTransform) == 0 {
		errs = append(errs, errors.New("peft: layers_pattern is set, want layers_to_transform, too"))
	}
	for _, l := range s.LayersToTransform {
		if l < 0 {
			errs = append(errs, fmt.Errorf("peft: layers_to_transform has %d, want 0 or more", l))
		}
	}
	x, err := s.compile()
	return x, errors.Join(append(errs, err)...)
}

func (s Selection) restrictions() string {
	var with []string
	if !s.ExcludeModules.IsNull() {
		with = append(with, fmt.Sprintf("exclude_modules %v", s.ExcludeModules))
	}
	if len(s.LayersToTransform) > 0 {
		with = append(with, fmt.Sprintf("layers_to_transform %v", s.LayersToTransform))
	}
	if len(with) == 0 {
		return ""
	}
	return " with " + strings.Join(with, " and ")
}

// selector is a Selection ready to look at slots.
type selector struct {
	target, exclude *matcher
	saved           []*regex
	layers          []int
	number          []*regex // patterns whose first group is the number of a layer
}

func (s Selection) compile() (*selector, error) {
	x := &selector{layers: s.LayersToTransform}
	var errs []error
	var err error
	if x.target, err = newMatcher("target_modules", s.TargetModules); err != nil {
		errs = append(errs, err)
	}
	if x.exclude, err = newMatcher("exclude_modules", s.ExcludeModules); err != nil {
		errs = append(errs, err)
	}
	for _, name := range s.ModulesToSave {
		re, err := compile("modules_to_save", `\A(?:^|.*\.)`, name, `(?:$|\..*)`)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x.saved = append(x.saved, re)
	}
	patterns := s.LayersPattern
	if len(patterns) == 0 {
		patterns = []string{`[^.]*`}
	}
	for _, p := range patterns {
		re, err := compile("layers_pattern", `\A.*?\.`, p, `\.(\d+)\.`)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x.number = append(x.number, re)
	}
	return x, errors.Join(errs...)
}

// match says whether the slot is meant.
func (x *selector) match(slot *layer.Slot) (bool, error) {
	if out, _, err := x.exclude.match(slot); out || err != nil {
		return false, err
	}
	for _, re := range x.saved {
		if out, err := re.match(slot.Name); out || err != nil {
			return false, err
		}
	}
	in, exact, err := x.target.match(slot)
	if !in || exact || err != nil {
		return in, err
	}
	return x.inLayers(slot.Name)
}

// inLayers says whether layers_to_transform includes the layer that the name lies in. Only the first number that stands
// between dots after at least two parts counts, so "h.0.attn" is in no layer.
func (x *selector) inLayers(name string) (bool, error) {
	if len(x.layers) == 0 {
		return true, nil
	}
	for _, re := range x.number {
		digits, ok, err := re.find(name, 1)
		if err != nil {
			return false, err
		}
		if ok {
			n, err := strconv.Atoi(digits)
			return err == nil && slices.Contains(x.layers, n), nil
		}
	}
	return false, nil
}

// matcher tells which slots a set of names means and remembers which of its entries did.
type matcher struct {
	key  string
	n    Names
	full *regex
	hits map[string]bool
}

func newMatcher(key string, n Names) (*matcher, error) {
	x := &matcher{key: key, n: n, hits: map[string]bool{}}
	if n.Pattern == "" || n.IsAllLinear() {
		return x, nil
	}
	var err error
	x.full, err = fullMatch(key, n.Pattern)
	return x, err
}

// match says whether the slot is meant, and whether in a way that layers_to_transform does not restrict: by its whole name
// or by a pattern.
func (x *matcher) match(slot *layer.Slot) (in, exact bool, err error) {
	switch {
	case x.full != nil:
		in, err = x.full.match(slot.Name)
		x.hits[x.n.Pattern] = x.hits[x.n.Pattern] || in
		return in, true, err
	case x.n.Pattern != "":
		x.hits[x.n.Pattern] = true
		return slot.Kind == layer.Linear || slot.Kind == layer.Conv1D, false, nil
	}
	for _, entry := range x.n.List {
		if slot.Name == entry || strings.HasSuffix(slot.Name, "."+entry) {
			x.hits[entry] = true
			in, exact = true, exact || slot.Name == entry
		}
	}
	return in, exact, nil
}

// unused reports the entries that match no slot.
func (x *matcher) unused(m layer.Model) []string {
	if x.n.Pattern != "" {
		if x.hits[x.n.Pattern] {
			return nil
		}
		return []string{fmt.Sprintf("%s %q matches no module", x.key, x.n.Pattern)}
	}
	var bad []string
	for _, entry := range x.n.List {
		if !x.hits[entry] {
			bad = append(bad, entry)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s %q match no module%s", x.key, bad, hint(bad, m))}
}

// hint names the modules that come closest to what was asked for, else all kinds of modules that there are.
func hint(asked []string, m layer.Model) string {
	var ends, near []string
	for slot := range m.Slots() {
		end := slot.Name[strings.LastIndexByte(slot.Name, '.')+1:]
		if !slices.Contains(ends, end) {
			ends = append(ends, end)
		}
	}
	for _, a := range asked {
		inside := innards(a, m)
		if len(inside) == 0 {
			inside = nearest(a, ends)
		}
		for _, end := range inside {
			if !slices.Contains(near, end) {
				near = append(near, end)
			}
		}
	}
	if len(near) > 0 {
		return "; close names: " + strings.Join(near, ", ")
	}
	return "; there are: " + strings.Join(ends, ", ")
}

// innards lists what lies in the modules of that name.
func innards(name string, m layer.Model) (ends []string) {
	for slot := range m.Slots() {
		end := slot.Name[strings.LastIndexByte(slot.Name, '.')+1:]
		if strings.Contains("."+slot.Name, "."+name+".") && !slices.Contains(ends, end) {
			ends = append(ends, end)
		}
	}
	return ends
}

// nearest lists the names that take the fewest changes, if these are few.
func nearest(name string, names []string) (list []string) {
	best := 3
	for _, n := range names {
		switch d := distance(plain(name), plain(n)); {
		case d < best && d <= len(n)/3:
			best, list = d, []string{n}
		case d == best && len(list) > 0:
			list = append(list, n)
		}
	}
	return list
}

// plain drops what people forget or add in names.
func plain(s string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// distance counts the letters to insert, delete, replace or swap that make b of a.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			switch {
			case i == 0 || j == 0:
				d[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				d[i][j] = d[i-1][j-1]
			default:
				d[i][j] = 1 + min(d[i-1][j], d[i][j-1], d[i-1][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
