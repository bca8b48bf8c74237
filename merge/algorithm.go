package merge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Algorithm is one way to make one checkpoint of several: a value of merge_method.
type Algorithm struct {
	Name       string
	Does       string // one line
	Base       BaseUse
	Sources    [2]int // how many models it takes beside an origin, at least and at most; 0: any number
	Parameters []Parameter

	open opener
}

// opener learns what must be known of a whole tensor before its first number can be written. grain is in what blocks the result
// is to be made.
type opener func(m *mixture) (mix mixer, grain int, err error)

// BaseUse says what base_model means to an algorithm.
type BaseUse int

// Uses of base_model.
const (
	BaseFiles    BaseUse = iota // only its config and tokenizer are taken
	BaseFirst                   // one of the models, the one to begin at
	BaseOptional                // if given, the origin from which the models differ
	BaseNeeded                  // the origin
)

// Parameter is a key of the parameters of a recipe.
type Parameter struct {
	Name     string
	Does     string
	Shared   bool    // of a tensor; otherwise of a model in it
	Required bool    // has no default
	Default  float64 // switches are 0 and 1
	Switch   bool
	Min, Max float64 // both 0: any
}

// Parameters of many algorithms.
var (
	weight     = Parameter{Name: "weight", Does: "factor of the model", Required: true}
	density    = Parameter{Name: "density", Does: "share of the differences that is kept", Default: 1, Min: 0, Max: 1}
	gamma      = Parameter{Name: "gamma", Does: "share of the largest differences that is dropped", Default: 0.01, Min: 0, Max: 1}
	epsilon    = Parameter{Name: "epsilon", Does: "how far the probability of being kept goes around density", Default: 0.15, Min: 0, Max: 0.5}
	lambda     = Parameter{Name: "lambda", Does: "factor of the sum of differences", Shared: true, Default: 1}
	int8Mask   = Parameter{Name: "int8_mask", Does: "has no effect: nothing of a mask is stored", Shared: true, Switch: true}
	filterWise = Parameter{Name: "filter_wise", Does: "angles are those of rows", Shared: true, Switch: true}
)

// normalize and rescale have defaults by method.
func normalize(on float64) Parameter {
	return Parameter{Name: "normalize", Does: "divide by the sum of the weights", Shared: true, Switch: true, Default: on}
}

func rescale(on float64) Parameter {
	return Parameter{Name: "rescale", Does: "scale what is kept to the sum of sizes that there was", Shared: true, Switch: true, Default: on}
}

// Algorithms is the table of ways of merging checkpoints. Names and parameters are mergekit's.
var Algorithms = []Algorithm{
	{Name: "linear", Does: "Σ w·x, by default divided by Σ w", Parameters: []Parameter{weight, normalize(1)}, open: constant(linear)},
	{Name: "slerp", Does: "along the great circle from base_model to the other", Base: BaseFirst, Sources: [2]int{2, 2},
		Parameters: []Parameter{{Name: "t", Does: "0 is base_model, 1 the other", Shared: true, Required: true}}, open: spanned(nil, slerp)},
	{Name: "nuslerp", Does: "slerp of two by weights, around base_model if there is one", Base: BaseOptional, Sources: [2]int{2, 2},
		Parameters: []Parameter{weight, {Name: "nuslerp_flatten", Does: "one angle for the whole tensor", Shared: true, Switch: true, Default: 1},
			{Name: "nuslerp_row_wise", Does: "without nuslerp_flatten: angles of columns instead of rows, as in mergekit", Shared: true, Switch: true}},
		open: spanned(nuslerpGroups, nuslerp)},
	{Name: "multislerp", Does: "weighted mean of directions on the sphere, around base_model if there is one", Base: BaseOptional, Sources: [2]int{2, 0},
		Parameters: []Parameter{weight, {Name: "normalize_weights", Does: "divide weights by their sum", Shared: true, Switch: true, Default: 1},
			{Name: "eps", Does: "keeps lengths from dividing by zero", Shared: true, Default: 1e-8, Min: 0, Max: 1}}, open: spanned(nil, multislerp)},
	{Name: "karcher", Does: "mean of directions on the sphere, by iteration",
		Parameters: []Parameter{{Name: "max_iter", Does: "iterations at most", Shared: true, Default: 10, Min: 0, Max: 1e6}, {Name: "tol", Does: "angle that counts as none", Shared: true, Default: 1e-5, Min: 0, Max: 1}},
		open:       spanned(nil, karcher)},
	{Name: "model_stock", Does: "from base_model towards the mean, the further the more the models agree", Base: BaseNeeded, Sources: [2]int{2, 0},
		Parameters: []Parameter{filterWise}, open: spanned(modelStockGroups, modelStock)},
	{Name: "task_arithmetic", Does: "base_model + Σ w·δ", Base: BaseNeeded, Parameters: []Parameter{weight, normalize(0), lambda, int8Mask}, open: tasks(nil, false)},
	{Name: "ties", Does: "the largest differences, where most signs agree", Base: BaseNeeded, Parameters: []Parameter{weight, density, normalize(1), rescale(0), lambda, int8Mask},
		open: tasks(&sparsifier{ranks: largestOf}, true)},
	{Name: "dare_linear", Does: "random differences, scaled up", Base: BaseNeeded, Parameters: []Parameter{weight, density, normalize(0), rescale(1), lambda, int8Mask},
		open: tasks(&sparsifier{chance: (*keeper).random}, false)},
	{Name: "dare_ties", Does: "random differences, where most signs agree", Base: BaseNeeded, Parameters: []Parameter{weight, density, normalize(0), rescale(1), lambda, int8Mask},
		open: tasks(&sparsifier{chance: (*keeper).random}, true)},
	{Name: "della_linear", Does: "random differences, the larger the likelier", Base: BaseNeeded, Parameters: []Parameter{weight, density, epsilon, normalize(0), rescale(1), lambda, int8Mask},
		open: tasks(&sparsifier{chance: (*keeper).byRank}, false)},
	{Name: "della", Does: "random differences, the larger the likelier, where most signs agree", Base: BaseNeeded,
		Parameters: []Parameter{weight, density, epsilon, normalize(1), rescale(1), lambda, int8Mask}, open: tasks(&sparsifier{chance: (*keeper).byRank}, true)},
	{Name: "breadcrumbs", Does: "differences without the largest and the smallest", Base: BaseNeeded, Parameters: []Parameter{weight, density, gamma, normalize(0), rescale(0), lambda, int8Mask},
		open: tasks(&sparsifier{ranks: withoutOutliers}, false)},
	{Name: "breadcrumbs_ties", Does: "differences without the largest and the smallest, where most signs agree", Base: BaseNeeded,
		Parameters: []Parameter{weight, density, gamma, normalize(0), rescale(0), lambda, int8Mask}, open: tasks(&sparsifier{ranks: withoutOutliers}, true)},
	{Name: "sce", Does: "the elements in which models differ most, weighted by their squares", Base: BaseNeeded,
		Parameters: []Parameter{{Name: "select_topk", Does: "share of the elements that is kept", Shared: true, Default: 1, Min: 0, Max: 1}, int8Mask}, open: openSCE},
	{Name: "passthrough", Does: "layers of models as they are, in any order", Sources: [2]int{1, 1},
		Parameters: []Parameter{{Name: "scale", Does: "factor of a tensor", Default: 1}}, open: constant(passthrough)},
}

// lookup finds the row of a merge_method.
func lookup(name string) (*Algorithm, error) {
	i := slices.IndexFunc(Algorithms, func(a Algorithm) bool { return a.Name == name })
	if i >= 0 {
		return &Algorithms[i], nil
	}
	var names []string
	for _, a := range Algorithms {
		names = append(names, a.Name)
	}
	if name == "" {
		return nil, fmt.Errorf("merge: merge_method is missing, want one of %s", strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("merge: merge_method is %q, want one of %s", name, strings.Join(names, ", "))
}

// parameter finds a parameter by its name.
func (a *Algorithm) parameter(name string) (Parameter, bool) {
	i := slices.IndexFunc(a.Parameters, func(p Parameter) bool { return p.Name == name })
	if i < 0 {
		return Parameter{}, false
	}
	return a.Parameters[i], true
}

// check reports settings that the algorithm cannot have. own says that they are of one model.
func (a *Algorithm) check(where string, settings map[string]Setting, own bool) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		s := settings[name]
		p, ok := a.parameter(name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("merge: %s%s: %s has no such parameter, want one of %s", where, name, a.Name, strings.Join(a.names(), ", ")))
			continue
		case own && p.Shared:
			errs = append(errs, fmt.Errorf("merge: %s%s: is for all models, not for one", where, name))
		}
		for _, v := range s.values() {
			switch {
			case v-v != 0:
				errs = append(errs, fmt.Errorf("merge: %s%s is %g, want finite numbers", where, name, v))
			case p.Switch && v != 0 && v != 1:
				errs = append(errs, fmt.Errorf("merge: %s%s is %g, want true or false", where, name, v))
			case (p.Min != 0 || p.Max != 0) && (v < p.Min || v > p.Max):
				errs = append(errs, fmt.Errorf("merge: %s%s is %g, want %g to %g", where, name, v, p.Min, p.Max))
			}
		}
	}
	return errs
}

func (a *Algorithm) names() (list []string) {
	for _, p := range a.Parameters {
		list = append(list, p.Name)
	}
	return list
}
