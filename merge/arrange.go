package merge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
)

// arrangement is a checked recipe: which tensor of the output is made of which.
type arrangement struct {
	*Recipe
	algorithm *Algorithm
	models    map[string]*checkpoint.Checkpoint
	files     *checkpoint.Checkpoint // whose config and tokenizer are taken
	convert   bool
	dtype     checkpoint.DType
	layers    int // of the output, if it is made of slices
	parts     []part
}

// part is a tensor of the output.
type part struct {
	name    string
	like    checkpoint.Info // shape and dtype: of base_model, or the first source
	sources []from
	base    *from // the origin
	shared  map[string]float64
	own     []map[string]float64
	raw     bool // copied as it is
}

// from is a tensor of a model.
type from struct{ model, tensor string }

// arrange checks a recipe against its models, and reports all that is wrong together.
func arrange(r *Recipe, models map[string]*checkpoint.Checkpoint) (*arrangement, error) {
	a := &arrangement{Recipe: r, models: models}
	runs, err := a.check()
	if err != nil {
		return nil, err
	}
	for _, name := range r.ModelNames() {
		if _, ok := models[name]; !ok {
			return nil, fmt.Errorf("merge: model %q is not open", name)
		}
	}
	a.files = a.models[cmp.Or(r.BaseModel, runs[0].Sources[0].Model)]
	if err := a.sameType(); err != nil {
		return nil, err
	}
	if r.Slices != nil {
		err = a.bySlices(runs)
	} else {
		err = a.byModels(runs[0])
	}
	if err == nil && len(a.parts) == 0 {
		err = errors.New("merge: the models have no tensors")
	}
	return a, err
}

// check reports what is wrong with a recipe whatever its models are, and returns its slices.
func (a *arrangement) check() (runs []Slice, err error) {
	if a.algorithm, err = lookup(a.Method); err != nil {
		return nil, err
	}
	if a.DType != "" {
		if a.dtype, a.convert = dtypes[short(a.DType)]; !a.convert {
			return nil, fmt.Errorf("merge: dtype is %q, want one of %s", a.DType, strings.Join(DTypes(), ", "))
		}
	}
	if runs, err = a.runs(); err != nil {
		return nil, err
	}
	return runs, a.checkRuns(runs)
}

// short are the names that torch has for dtypes.
func short(name string) string {
	if s, ok := map[string]string{"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[name]; ok {
		return s
	}
	return name
}

// runs are the slices of the recipe, or its models as one slice.
func (a *arrangement) runs() ([]Slice, error) {
	if (a.Models == nil) == (a.Slices == nil) {
		return nil, errors.New("merge: want either models or slices")
	}
	if a.Models == nil {
		return a.Slices, nil
	}
	one := Slice{Sources: slices.Clone(a.Models)}
	given := slices.ContainsFunc(one.Sources, func(s Source) bool { return s.Model == a.BaseModel })
	if a.algorithm.Base != BaseFiles && a.BaseModel != "" && !given {
		one.Sources = append(one.Sources, Source{Model: a.BaseModel})
	}
	return []Slice{one}, nil
}

// checkRuns holds sources and parameters to what the algorithm takes.
func (a *arrangement) checkRuns(runs []Slice) error {
	g := a.algorithm
	errs := g.check("parameters.", a.Parameters, false)
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("merge: "+format, args...)) }
	if a.BaseModel == "" && (g.Base == BaseNeeded || g.Base == BaseFirst) {
		bad("base_model is missing, which %s needs", g.Name)
	}
	for i, run := range runs {
		at := func(k int) string { return fmt.Sprintf("models[%d].", k) }
		where := ""
		if a.Slices != nil {
			where = fmt.Sprintf("slices[%d].", i)
			at = func(k int) string { return fmt.Sprintf("%ssources[%d].", where, k) }
		}
		errs = append(errs, g.check(where+"parameters.", run.Parameters, false)...)
		errs = append(errs, a.checkSources(run, where, at)...)
	}
	return errors.Join(errs...)
}

// checkSources holds the sources of a slice to what the algorithm takes. at names a source.
func (a *arrangement) checkSources(run Slice, where string, at func(k int) string) (errs []error) {
	g := a.algorithm
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("merge: "+format, args...)) }
	n, base := 0, false
	for k, s := range run.Sources {
		errs = append(errs, g.check(at(k)+"parameters.", s.Parameters, true)...)
		if got, want := s.layers(), run.Sources[0].layers(); got != want {
			bad("%slayer_range has %d layers, the first source's %d", at(k), got, want)
		}
		if s.Model == a.BaseModel && !base {
			if base = true; g.Base >= BaseOptional {
				continue
			}
		}
		n++
	}
	if least, most := max(1, g.Sources[0]), g.Sources[1]; n < least || most > 0 && n > most {
		bad("%s%d models, %s takes %s", where, n, g.Name, amount(least, most, g.Base >= BaseOptional))
	}
	if !base && a.BaseModel != "" && (g.Base == BaseNeeded || g.Base == BaseFirst) {
		bad("%sbase_model %q is none of the sources, %s begins at it", where, a.BaseModel, g.Name)
	}
	return errs
}

// layers is how many layers of a source a slice takes.
func (s Source) layers() int { return s.LayerRange[1] - s.LayerRange[0] }

// amount is a number of models in words.
func amount(least, most int, origin bool) string {
	s := fmt.Sprintf("at least %d", least)
	if least == most {
		s = fmt.Sprint(least)
	}
	if origin {
		s += " beside base_model"
	}
	return s
}

// sameType refuses models of different architectures.
func (a *arrangement) sameType() error {
	first, of := "", ""
	for _, name := range slices.Sorted(maps.Keys(a.models)) {
		if !a.uses(name) {
			continue
		}
		var config struct {
			ModelType string `json:"model_type"`
		}
		b, err := a.models[name].ReadFile("config.json")
		if err != nil {
			return fmt.Errorf("merge: %s has no config.json, so it is no model: %w", name, err)
		}
		if err := json.Unmarshal(b, &config); err != nil {
			return fmt.Errorf("merge: %s: config.json: %w", name, err)
		}
		if of != "" && config.ModelType != first {
			return fmt.Errorf("merge: model_type of %s is %q and of %s %q, want models of one kind", of, first, name, config.ModelType)
		}
		first, of = config.ModelType, name
	}
	return nil
}

// uses tells whether the recipe names a model.
func (a *arrangement) uses(name string) bool { return slices.Contains(a.ModelNames(), name) }

// ModelNames lists the models of a recipe, each once, in the order in which they are named.
func (r *Recipe) ModelNames() (list []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	add(r.BaseModel)
	for _, s := range r.Models {
		add(s.Model)
	}
	for _, s := range r.Slices {
		for _, src := range s.Sources {
			add(src.Model)
		}
	}
	return list
}

// byModels makes every tensor of the first source of those of the same name.
func (a *arrangement) byModels(run Slice) error {
	first := a.models[run.Sources[0].Model]
	depth := stacks(first)
	var wrong []error
	for _, info := range first.Stored() {
		t := 0.0
		if stack, index, _, ok := layer(info.Name); ok {
			t = place(index, depth[stack])
		}
		wrong = append(wrong, a.add(run, info.Name, t, func(Source) string { return info.Name }))
	}
	for _, s := range run.Sources[1:] {
		for _, name := range a.models[s.Model].Names() {
			if _, ok := first.Info(name); !ok {
				wrong = append(wrong, fmt.Errorf("merge: %s has the tensor %q, %s has not", s.Model, name, run.Sources[0].Model))
			}
		}
	}
	return fewErrors(wrong)
}

// place is where layer i of n lies, from 0 to 1.
func place(i, n int) float64 {
	if n <= 1 {
		return 1
	}
	return float64(i) / float64(n-1)
}

// bySlices puts layers on top of each other. Tensors of no layer come of the first slice, if they are input embeddings, or of the last.
func (a *arrangement) bySlices(runs []Slice) error {
	depths := stacks(a.models[runs[0].Sources[0].Model])
	if len(depths) != 1 {
		return fmt.Errorf("merge: slices of a model with %d stacks of layers, want one", len(depths))
	}
	stack := slices.Collect(maps.Keys(depths))[0]
	var wrong []error
	for i, run := range runs {
		for k, s := range run.Sources {
			if n := stacks(a.models[s.Model])[stack]; s.LayerRange[1] > n {
				wrong = append(wrong, fmt.Errorf("merge: slices[%d].sources[%d].layer_range is %v, %s has %d layers", i, k, s.LayerRange, s.Model, n))
			}
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	for _, info := range a.models[runs[0].Sources[0].Model].Stored() {
		if _, _, _, ok := layer(info.Name); !ok && isEmbedding(info.Name) {
			wrong = append(wrong, a.add(runs[0], info.Name, 0, func(Source) string { return info.Name }))
		}
	}
	for _, run := range runs {
		wrong = append(wrong, a.addLayers(run, stack)...)
	}
	last := runs[len(runs)-1]
	for _, info := range a.models[last.Sources[0].Model].Stored() {
		if _, _, _, ok := layer(info.Name); !ok && !isEmbedding(info.Name) {
			wrong = append(wrong, a.add(last, info.Name, 0, func(Source) string { return info.Name }))
		}
	}
	return fewErrors(wrong)
}

// addLayers adds the layers of a slice.
func (a *arrangement) addLayers(run Slice, stack string) (wrong []error) {
	first := run.Sources[0]
	n := first.LayerRange[1] - first.LayerRange[0]
	for i := range n {
		for _, info := range a.models[first.Model].Stored() {
			_, index, rest, ok := layer(info.Name)
			if !ok || index != first.LayerRange[0]+i {
				continue
			}
			wrong = append(wrong, a.add(run, inLayer(stack, a.layers, rest), place(i, n), func(s Source) string {
				return inLayer(stack, s.LayerRange[0]+i, rest)
			}))
		}
		a.layers++
	}
	return wrong
}

// fewErrors joins errors, each once, but not hundreds of them.
func fewErrors(all []error) error {
	said := map[string]bool{}
	all = slices.DeleteFunc(all, func(err error) bool {
		again := err == nil || said[err.Error()]
		if err != nil {
			said[err.Error()] = true
		}
		return again
	})
	const few = 5
	if n := len(all); n > few {
		all = append(all[:few:few], fmt.Errorf("merge: and %d more like these", n-few))
	}
	return errors.Join(all...)
}

// add plans one tensor of the output. named gives its name in each source.
func (a *arrangement) add(run Slice, name string, t float64, named func(Source) string) error {
	p := part{name: name}
	var own []Source
	for _, s := range run.Sources {
		f := from{s.Model, named(s)}
		info, ok := a.models[s.Model].Info(f.tensor)
		switch {
		case !ok:
			return fmt.Errorf("merge: %s has no tensor %q", s.Model, f.tensor)
		case p.like.Name == "":
			p.like = info
		case !slices.Equal(info.Shape, p.like.Shape):
			return fmt.Errorf("merge: %q is %v in %s and %v in %s", name, p.like.Shape, run.Sources[0].Model, info.Shape, s.Model)
		case checkpoint.IsFloat(info.DType) != checkpoint.IsFloat(p.like.DType):
			return fmt.Errorf("merge: %q is %s in %s and %s in %s", name, p.like.DType, run.Sources[0].Model, info.DType, s.Model)
		}
		isBase := s.Model == a.BaseModel && a.BaseModel != ""
		if isBase {
			p.like = info // its dtype is the output's
		}
		switch {
		case isBase && a.algorithm.Base >= BaseOptional && p.base == nil:
			p.base = &f
		case isBase && a.algorithm.Base == BaseFirst:
			p.sources, own = slices.Insert(p.sources, 0, f), slices.Insert(own, 0, s)
		default:
			p.sources, own = append(p.sources, f), append(own, s)
		}
	}
	if !checkpoint.IsFloat(p.like.DType) {
		return a.addIntegers(p)
	}
	if err := a.evaluate(&p, run, own, t); err != nil {
		return err
	}
	p.raw = a.algorithm.Name == "passthrough" && p.own[0]["scale"] == 1 && (!a.convert || a.dtype == p.like.DType)
	a.parts = append(a.parts, p)
	return nil
}

// addIntegers copies what is no real number, if all have the same.
func (a *arrangement) addIntegers(p part) error {
	b, err := a.models[p.sources[0].model].Bytes(p.sources[0].tensor)
	if err != nil {
		return err
	}
	for _, f := range p.sources[1:] {
		if other, err := a.models[f.model].Bytes(f.tensor); err != nil || !bytes.Equal(b, other) {
			return fmt.Errorf("merge: %q is %s and differs between %s and %s, which no formula can mend", p.name, p.like.DType, p.sources[0].model, f.model)
		}
	}
	p.raw = true
	a.parts = append(a.parts, p)
	return nil
}

// evaluate finds the parameters of a tensor: of a model in a slice, of the slice, of the recipe, or the default.
func (a *arrangement) evaluate(p *part, run Slice, own []Source, t float64) error {
	p.shared = map[string]float64{}
	for range own {
		p.own = append(p.own, map[string]float64{})
	}
	for _, q := range a.algorithm.Parameters {
		if q.Shared {
			v, ok := firstOf(p.name, t, q, run.Parameters, a.Parameters)
			if !ok {
				return missing(q, "", p.name, run.Parameters, a.Parameters)
			}
			p.shared[q.Name] = v
			continue
		}
		for i, s := range own {
			v, ok := firstOf(p.sources[i].tensor, t, q, s.Parameters, run.Parameters, a.Parameters)
			if !ok {
				return missing(q, " of "+s.Model, p.name, s.Parameters, run.Parameters, a.Parameters)
			}
			p.own[i][q.Name] = v
		}
	}
	return nil
}

// missing reports a parameter that was not given, or not for a tensor.
func missing(q Parameter, of, tensor string, levels ...map[string]Setting) error {
	for _, l := range levels {
		if _, given := l[q.Name]; given {
			return fmt.Errorf("merge: parameters.%s%s is missing for %q, which none of its filters fits", q.Name, of, tensor)
		}
	}
	return fmt.Errorf("merge: parameters.%s%s is missing", q.Name, of)
}

// firstOf is the value of the first settings that have one for the tensor.
func firstOf(tensor string, t float64, q Parameter, levels ...map[string]Setting) (float64, bool) {
	for _, l := range levels {
		if s, ok := l[q.Name]; ok {
			if v, ok := s.at(tensor, t); ok {
				return v, true
			}
		}
	}
	return q.Default, !q.Required
}
