package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/graft-ml/graft/model/layer"
)

// Names selects modules: a list of suffixes, or one pattern that must match the whole name. The zero value is null.
type Names struct {
	List    []string
	Pattern string // if not empty, List is
}

// IsNull says that nothing was named.
func (n Names) IsNull() bool { return n.List == nil && n.Pattern == "" }

// UnmarshalJSON implements json.Unmarshaler.
func (n *Names) UnmarshalJSON(b []byte) error {
	*n = Names{}
	if string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, &n.Pattern) == nil {
		return nil
	}
	n.List = []string{}
	return json.Unmarshal(b, &n.List)
}

// Value is the JSON value.
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
	LayersToTransform []int    // nil = all
	LayersPattern     []string // names of the list of layers; nil = any
	// Lenient accepts entries that match nothing.
	Lenient bool
}

// AllLinear in target_modules means every linear layer but the head.
const AllLinear = "all-linear"

// defaults are PEFT's target_modules by model_type, for configs that name none.
var defaults = map[string][]string{
	"llama": {"q_proj", "v_proj"}, "mistral": {"q_proj", "v_proj"}, "qwen2": {"q_proj", "v_proj"}, "qwen3": {"q_proj", "v_proj"},
}

// matchTime bounds one match of a pattern that somebody else wrote.
const matchTime = 2 * time.Second

// fullMatch compiles a Python pattern that must match the whole of a name.
func fullMatch(key, pattern string) (func(name string) (bool, error), error) {
	re, err := regexp2.Compile(`\A(?:`+pattern+`)\z`, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("peft: %s: pattern %q: %w", key, pattern, err)
	}
	re.MatchTimeout = matchTime
	return func(name string) (bool, error) {
		ok, err := re.MatchString(name)
		if err != nil {
			return false, fmt.Errorf("peft: %s: pattern %q takes longer than %v on %q", key, pattern, matchTime, name)
		}
		return ok, nil
	}, nil
}

// suffixed says that name is entry or ends in ".entry".
func suffixed(name, entry string) bool { return name == entry || strings.HasSuffix(name, "."+entry) }

// Select returns the slots that the selection names, in the model's order [formats of PEFT: check_target_module_exists].
func (s Selection) Select(m layer.Model) ([]*layer.Slot, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.TargetModules.IsNull() {
		list, ok := defaults[m.ModelType()]
		if !ok {
			return nil, fmt.Errorf("peft: target_modules is not set and model_type %q has no default, want a list such as %q", m.ModelType(), AllLinear)
		}
		s.TargetModules = Names{List: list}
	}
	target, err := s.matcher("target_modules", s.TargetModules)
	if err != nil {
		return nil, err
	}
	exclude, err := s.matcher("exclude_modules", s.ExcludeModules)
	if err != nil {
		return nil, err
	}
	var chosen []*layer.Slot
	for slot := range m.Slots() {
		out, _, err := exclude.match(slot)
		if err != nil {
			return nil, err
		}
		if out {
			continue
		}
		in, exact, err := target.match(slot)
		if err != nil {
			return nil, err
		}
		if in && (exact || s.inLayers(slot.Name)) {
			chosen = append(chosen, slot)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("peft: target_modules %v match no module%s%s", s.TargetModules, s.restrictions(), hint(s.TargetModules.List, m))
	}
	if s.Lenient {
		return chosen, nil
	}
	return chosen, errors.Join(target.unused(m), exclude.unused(m))
}

// check reports settings that contradict each other, as PEFT does.
func (s Selection) check() error {
	var errs []error
	if s.TargetModules.Pattern != "" && s.TargetModules.Pattern != AllLinear && (s.LayersToTransform != nil || s.LayersPattern != nil) {
		errs = append(errs, errors.New("peft: layers_to_transform and layers_pattern need target_modules to be a list, not a pattern"))
	}
	if s.LayersPattern != nil && s.LayersToTransform == nil {
		errs = append(errs, errors.New("peft: layers_pattern is set without layers_to_transform"))
	}
	return errors.Join(errs...)
}

func (s Selection) restrictions() string {
	var with []string
	if !s.ExcludeModules.IsNull() {
		with = append(with, fmt.Sprintf("exclude_modules %v", s.ExcludeModules))
	}
	if s.LayersToTransform != nil {
		with = append(with, fmt.Sprintf("layers_to_transform %v", s.LayersToTransform))
	}
	if len(with) == 0 {
		return ""
	}
	return " with " + strings.Join(with, " and ")
}

// matcher tells which slots a set of names means and remembers which of its entries did.
type matcher struct {
	key  string
	n    Names
	full func(string) (bool, error)
	hits map[string]bool
}

func (s Selection) matcher(key string, n Names) (*matcher, error) {
	x := &matcher{key: key, n: n, hits: map[string]bool{}}
	if n.Pattern != "" && !strings.EqualFold(n.Pattern, AllLinear) {
		var err error
		if x.full, err = fullMatch(key, n.Pattern); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// match says whether the slot is meant, and whether by its whole name.
func (x *matcher) match(slot *layer.Slot) (in, exact bool, err error) {
	switch {
	case x.full != nil:
		in, err = x.full(slot.Name)
		return in, true, err
	case x.n.Pattern != "":
		return slot.Kind == layer.Linear || slot.Kind == layer.Conv1D, false, nil
	}
	for _, entry := range x.n.List {
		if suffixed(slot.Name, entry) {
			x.hits[entry] = true
			in, exact = true, exact || slot.Name == entry
		}
	}
	return in, exact, nil
}

// unused reports the entries that match no slot.
func (x *matcher) unused(m layer.Model) error {
	var bad []string
	for _, entry := range x.n.List {
		if !x.hits[entry] {
			bad = append(bad, entry)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("peft: %s %q match no module%s", x.key, bad, hint(bad, m))
}

var anyLayer = regexp.MustCompile(`^.*?\.[^.]*\.(\d+)\.`)

// inLayers says whether layers_to_transform includes the layer that the name lies in. Only the first number that stands
// between dots after at least two parts counts, so "h.0.attn" is in no layer.
func (s Selection) inLayers(name string) bool {
	if s.LayersToTransform == nil {
		return true
	}
	patterns := []*regexp.Regexp{anyLayer}
	if len(s.LayersPattern) > 0 {
		patterns = nil
		for _, p := range s.LayersPattern {
			re, err := regexp.Compile(`^.*?\.` + p + `\.(\d+)\.`)
			if err != nil {
				return false
			}
			patterns = append(patterns, re)
		}
	}
	for _, re := range patterns {
		if g := re.FindStringSubmatch(name); g != nil {
			n, err := strconv.Atoi(g[1])
			return err == nil && slices.Contains(s.LayersToTransform, n)
		}
	}
	return false
}

// hint lists the last parts of slot names that come close to what was asked for.
func hint(asked []string, m layer.Model) string {
	var ends, near []string
	for slot := range m.Slots() {
		end := slot.Name[strings.LastIndexByte(slot.Name, '.')+1:]
		if !slices.Contains(ends, end) {
			ends = append(ends, end)
		}
	}
	for _, a := range asked {
		for _, e := range ends {
			if plain(a) == plain(e) || strings.Contains(e, a) || strings.Contains(a, e) {
				near = append(near, e)
			}
		}
	}
	if len(near) > 0 {
		return "; close names: " + strings.Join(near, ", ")
	}
	return "; there are: " + strings.Join(ends, ", ")
}

// plain drops what people forget or add in names.
func plain(s string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// Condense returns the shortest list of suffixes that means exactly the chosen slots; PEFT writes "all-linear" so once it
// stands for twenty names or more, and as full names below that.
func Condense(chosen []*layer.Slot, m layer.Model) []string {
	in := map[string]bool{}
	var names []string
	for _, s := range chosen {
		in[s.Name] = true
		names = append(names, s.Name)
	}
	if len(names) < 20 {
		return names
	}
	others := map[string]bool{}
	for slot := range m.Slots() {
		for i, c := range slot.Name {
			if c == '.' {
				addSuffixes(others, slot.Name[:i]) // the modules around it
			}
		}
		if !in[slot.Name] {
			addSuffixes(others, slot.Name)
		}
	}
	var out []string
	for _, name := range names {
		if slices.ContainsFunc(out, func(s string) bool { return strings.HasSuffix(name, "."+s) }) {
			continue
		}
		for _, suffix := range suffixes(name) {
			if !others[suffix] && !slices.Contains(out, suffix) {
				out = append(out, suffix)
				break
			}
		}
	}
	return out
}

// suffixes lists "c", "b.c", "a.b.c" of "a.b.c".
func suffixes(name string) (list []string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			list = append(list, name[i+1:])
		}
	}
	return append(list, name)
}

func addSuffixes(set map[string]bool, name string) {
	for _, s := range suffixes(name) {
		set[s] = true
	}
}

// Pattern maps keys, which are regular expressions, to numbers: rank_pattern and alpha_pattern. The first key that matches
// counts, so the order is kept.
type Pattern []PatternEntry

// PatternEntry is one key of a Pattern.
type PatternEntry struct {
	Key   string
	Value json.Number
}

// NewEntry is an entry with a number; whole numbers are written as such.
func NewEntry(key string, v float64) PatternEntry {
	return PatternEntry{key, json.Number(strconv.FormatFloat(v, 'f', -1, 64))}
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Pattern) UnmarshalJSON(b []byte) error {
	*p = nil
	if string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("it is %.20s, want an object of numbers", b)
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return err
		}
		var v json.Number
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("%q is not a number", k)
		}
		*p = append(*p, PatternEntry{k.(string), v})
	}
	return nil
}

// Value is the JSON value.
func (p Pattern) Value() any {
	m := map[string]any{}
	for _, e := range p {
		m[e.Key] = e.Value
	}
	return m
}

// Lookup returns the value of the first key that matches the name as re.match(rf"(.*\.)?({key})$", name) does.
func (p Pattern) Lookup(field, name string) (json.Number, bool, error) {
	for _, e := range p {
		match, err := fullMatch(field, `(?:.*\.)?(?:`+strings.TrimPrefix(e.Key, "^")+`)`)
		if strings.HasPrefix(e.Key, "^") { // pinned to the whole name
			match, err = fullMatch(field, strings.TrimPrefix(e.Key, "^"))
		}
		if err != nil {
			return "", false, err
		}
		ok, err := match(name)
		if err != nil {
			return "", false, err
		}
		if ok {
			return e.Value, true, nil
		}
	}
	return "", false, nil
}
