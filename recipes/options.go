package recipes

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Options are the keys of [method] that belong to one or a few methods. The tag for says to which: "a b=c" is methods a and b,
// whose adapter_config.json calls the key c; "* -a" is all but "full" and a.
type Options struct {
	Init          string  `toml:"init_weights" for:"lokr miss c3a" choice:"true false lycoris bat mini gaussian kaiming_uniform xavier_uniform" doc:"how the parameters start; lokr: true, false, lycoris; miss: true, false, bat (acts on the weight's own blocks), mini; c3a: xavier_uniform, kaiming_uniform, gaussian, true (zero)"`
	TargetRank    int     `toml:"target_r" for:"adalora" min:"1" doc:"mean rank in the end" syn:"target_rank"`
	TInit         int     `toml:"tinit" for:"adalora" min:"0" doc:"steps before ranks are given up"`
	TFinal        int     `toml:"tfinal" for:"adalora" min:"0" doc:"steps after the last ranks are given up"`
	DeltaT        int     `toml:"deltaT" for:"adalora" min:"1" doc:"ranks are allocated every so many steps"`
	Beta1         float64 `toml:"beta1" for:"adalora" above:"0" below:"1" doc:"smoothing of importance"`
	Beta2         float64 `toml:"beta2" for:"adalora" above:"0" below:"1" doc:"smoothing of its deviation"`
	OrthWeight    float64 `toml:"orth_reg_weight" for:"adalora" min:"0" doc:"weight of the term of the loss that keeps A and B orthonormal" syn:"orth_reg"`
	DInitial      float64 `toml:"d_initial" for:"vera" doc:"initial value of the vector between the shared factors"`
	DecomposeBoth bool    `toml:"decompose_both" for:"lokr" doc:"both Kronecker factors may be of low rank"`
	DecomposeBy   int     `toml:"decompose_factor" for:"lokr" doc:"size of the first Kronecker factor; -1 = as square as possible" syn:"factor"`
	MiniR         int     `toml:"mini_r" for:"miss" min:"1" doc:"columns that are repeated with init_weights \"mini\""`
	ThetaLength   int     `toml:"theta_d_length" for:"unilora" min:"1" doc:"numbers of the vector that all factors are taken from"`
	SparseRate    float64 `toml:"sparse_rate" for:"frod" min:"0" doc:"share of the rotations that are trained"`
	Lambda        float64 `toml:"delora_lambda" for:"delora" min:"0" doc:"strength of the change, which bounds its norm"`
	GraloraK      int     `toml:"gralora_k" for:"gralora" min:"1" doc:"blocks on a side"`
	HybridR       int     `toml:"hybrid_r" for:"gralora" min:"0" doc:"rank of a plain branch beside"`
	NumVectors    int     `toml:"num_vectors" for:"vblora" min:"1" doc:"vectors of the shared bank"`
	VectorLength  int     `toml:"vector_length" for:"vblora" min:"1" doc:"their length, which divides all sides of the targets"`
	TopK          int     `toml:"topk" for:"vblora" min:"1" doc:"vectors that are mixed"`
	BlockSize     int     `toml:"block_size" for:"c3a" min:"1" doc:"size of the circulant blocks, which divides all sides of the targets"`
	Feedforward   Names   `toml:"feedforward_modules" for:"ia3" doc:"target modules whose inputs are scaled; the outputs of the others are" example:"[\"down_proj\"]" syn:"ff_modules"`
	OFTBlockSize  int     `toml:"oft_block_size" for:"oft" min:"0" doc:"size of the rotated blocks; 0 = by r, the number of blocks"`
	COFT          bool    `toml:"coft" for:"oft" doc:"keep the rotations near none"`
	Eps           float64 `toml:"eps" for:"oft" min:"0" doc:"how near, with coft"`
	BlockShare    bool    `toml:"block_share" for:"oft" doc:"one rotation for all blocks"`
	CayleyNeumann bool    `toml:"use_cayley_neumann" for:"oft" doc:"rotations by the first terms of a series instead of an inverse"`
	NeumannTerms  int     `toml:"num_cayley_neumann_terms" for:"oft" min:"1" doc:"how many terms"`
	BOFTBlockSize int     `toml:"boft_block_size" for:"boft" min:"0" doc:"size of the rotated blocks; 0 = by boft_block_num"`
	BOFTBlockNum  int     `toml:"boft_block_num" for:"boft" min:"0" doc:"number of the rotated blocks; 0 = by boft_block_size"`
	GramSchmidt   bool    `toml:"apply_GS" for:"hra" doc:"make the directions orthogonal"`
	Variant       string  `toml:"variant" for:"road" choice:"road_1 road_2 road_4" doc:"how many angles and lengths two outputs have"`
	GroupSize     int     `toml:"group_size" for:"road" min:"2" doc:"outputs of a group, which pair up between its halves; even"`
	FreezeLayers  int     `toml:"trainable_layers" for:"freeze" min:"0" doc:"so many of the last layers are trained; 2 if nothing is said" syn:"freeze_trainable_layers num_layer_trainable"`
	FreezeHead    bool    `toml:"trainable_head" for:"freeze" doc:"the head, too; with trainable_layers = 0 it alone"`
	TokensToTrain []int   `toml:"token_indices" for:"trainable_tokens" doc:"ids of the tokens" example:"[32000, 32001]"`
}

// CalledBy is the key's name in adapter_config.json of a method, "" if the method has no such key.
func (k Key) CalledBy(method string) string {
	name := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
	found := ""
	for _, f := range k.For {
		kind, as, renamed := strings.Cut(f, "=")
		switch {
		case kind == method && renamed:
			return as
		case kind == method, kind == "*" && method != "full":
			found = name
		case kind == "-"+method:
			return ""
		}
	}
	return found
}

// ours are keys of [method] that are no settings of a method.
var ours = []string{"method.type", "method.adapter", "method.init_values"}

// Settings are the keys of adapter_config.json that the recipe sets, as JSON. Of lora they are all, with graft's defaults; of
// other methods only those that were given, and target_modules.
func (r *Recipe) Settings() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	v := reflect.ValueOf(r).Elem()
	for _, k := range Keys() {
		if !strings.HasPrefix(k.Path, "method.") || slices.Contains(ours, k.Path) {
			continue
		}
		name := k.CalledBy(r.Method.Type)
		f := v.FieldByIndex(k.field)
		if name == "" || !r.sets(k, f) {
			continue
		}
		out[name] = jsonOf(f.Interface())
	}
	return out
}

// ownTargets are methods for which "all-linear" is not what is meant where nothing is said: PEFT's choice is.
var ownTargets = []string{"ia3", "beft", "ln_tuning"}

// sets says whether a key's value goes to the method.
func (r *Recipe) sets(k Key, f reflect.Value) bool {
	switch {
	case r.given[k.Path]:
		return true
	case r.Method.Type == "lora":
		return !f.IsZero() || k.Default != ""
	}
	return k.Path == "method.target_modules" && !slices.Contains(ownTargets, r.Method.Type)
}

// jsonOf writes a value of a field as JSON.
func jsonOf(v any) json.RawMessage {
	var b []byte
	var err error
	switch v := v.(type) {
	case Names:
		if v.Pattern != "" {
			b, err = json.Marshal(v.Pattern)
		} else {
			b, err = json.Marshal(v.List)
		}
	case Indices:
		if v.ByName != nil {
			b, err = json.Marshal(v.ByName)
		} else {
			b, err = json.Marshal(v.List)
		}
	case Pattern: // the order counts
		b = []byte("{" + strings.Join(each(v, func(e Entry) string {
			key, _ := json.Marshal(e.Key) // strings always marshal
			return string(key) + ":" + strconv.FormatFloat(e.Value, 'f', -1, 64)
		}), ",") + "}")
	default:
		b, err = json.Marshal(v)
	}
	if err != nil {
		panic("recipes: " + err.Error()) // strings and numbers always marshal
	}
	return b
}

// meaningless reports keys that the method does not have.
func (d *decoder) meaningless() {
	method := d.recipe.Method.Type
	for _, k := range Keys() {
		if d.recipe.given[k.Path] && k.For != nil && k.CalledBy(method) == "" {
			d.bad(strings.Split(k.Path, "."), "%s means nothing for method.type %q%s", k.Path, method, k.instead(method))
		}
	}
}

// instead suggests a key that the method has.
func (k Key) instead(method string) string {
	last := func(k Key) string { return k.Path[strings.LastIndexByte(k.Path, '.')+1:] }
	var names []string
	for _, other := range Keys() {
		if other.For == nil || other.CalledBy(method) == "" {
			continue
		}
		if slices.Contains(other.Synonyms, last(k)) {
			return " (did you mean " + other.Path + "?)"
		}
		names = append(names, last(other))
	}
	if n := nearest(last(k), names); n != "" {
		return " (did you mean method." + n + "?)"
	}
	return ""
}
