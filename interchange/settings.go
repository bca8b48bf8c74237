package interchange

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/peft"
)

// settle writes the settings of an adapter that came without PEFT's: rank and alpha of most modules, patterns for the others, the
// targets in as few words as say the same.
func (a *Adapter) settle(o Options, dropout float64) error {
	if len(a.Modules) == 0 {
		return errors.New("no lora_A and lora_B in it")
	}
	c := lora.New()
	rank, _ := a.oneScale(func(m *Module) float64 { return float64(m.Rank()) })
	alpha, _ := a.oneScale(alphaOf)
	c.Rank, c.Alpha, c.Dropout, c.BaseModel = int(rank), alpha, dropout, o.BaseName
	for i := range a.Modules {
		m := &a.Modules[i]
		key := "^" + regexp.QuoteMeta(m.Name)
		if m.Rank() != c.Rank {
			c.RankPattern = append(c.RankPattern, peft.NewEntry(key, float64(m.Rank())))
		}
		if v := alphaOf(m); v != c.Alpha {
			c.AlphaPattern = append(c.AlphaPattern, peft.NewEntry(key, v))
		}
		c.FanInFanOut = c.FanInFanOut || storedInOut(m.Name)
		c.UseDoRA = c.UseDoRA || m.Magnitude != nil
	}
	var layers []int
	c.TargetModules.List, layers = a.targets(o)
	c.LayersToTransform = layers
	c.Beside.ModulesToSave = a.saved()
	var err error
	a.Settings, err = objectOf(c)
	return err
}

// saved are modules_to_save: of a head its whole name, which is all that comes before the first point.
func (a *Adapter) saved() (list []string) {
	for _, t := range a.Others {
		module, _, ok := cutLast(t.Name)
		if !ok {
			continue
		}
		if top, _, _ := strings.Cut(module, "."); !slices.ContainsFunc(a.Modules, func(m Module) bool { return strings.HasPrefix(m.Name, top+".") }) {
			module = top
		}
		if !slices.Contains(list, module) {
			list = append(list, module)
		}
	}
	return list
}

func alphaOf(m *Module) float64 { return m.Scale * float64(m.Rank()) }

func cutLast(name string) (module, param string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// storedInOut says that GPT-2 stores the weight [in, out], which PEFT writes down as fan_in_fan_out.
func storedInOut(module string) bool {
	return gpt2Projection.MatchString(module)
}

var gpt2Projection = regexp.MustCompile(`(^|\.)h\.\d+\.(attn|mlp)\.c_(attn|proj|fc)$`)

// targets are target_modules and layers_to_transform. Names stay whole where fewer words would say more than is there.
func (a *Adapter) targets(o Options) (list []string, layers []int) {
	below := map[string][]int{} // layers by the path within a layer
	count := 0
	for _, m := range a.Modules {
		l, path, ok := splitLayer(m.Name)
		if !ok {
			list = append(list, m.Name)
			continue
		}
		below[path] = append(below[path], l)
		count = max(count, l+1)
	}
	if o.Base != nil {
		count = o.Base.NumHiddenLayers
	}
	var first []int
	for _, ls := range below {
		slices.Sort(ls)
		if first == nil {
			first = ls
		}
		if !slices.Equal(first, ls) {
			return a.names(), nil
		}
	}
	for _, path := range slices.Sorted(maps.Keys(below)) {
		list = append(list, shorter(path))
	}
	if len(first) == count {
		return list, nil
	}
	if len(list) > len(below) {
		return a.names(), nil // layers_to_transform would not go with modules outside of layers
	}
	return list, first
}

func (a *Adapter) names() (list []string) {
	for _, m := range a.Modules {
		list = append(list, m.Name)
	}
	return list
}

var layerPath = regexp.MustCompile(`^(?:.*\.)?(?:layers|layer|h|blocks)\.(\d+)\.(.+)$`)

// splitLayer cuts a module's name behind the number of its layer.
func splitLayer(name string) (layer int, path string, ok bool) {
	m := layerPath.FindStringSubmatch(name)
	if m == nil {
		return 0, "", false
	}
	layer, err := strconv.Atoi(m[1])
	return layer, m[2], err == nil
}

// shorter is the last part of a path where no other module of a layer can have the same, as c_proj and dense do.
func shorter(path string) string {
	_, last, ok := cutLast(path)
	if !ok || last == "c_proj" || last == "dense" {
		return path
	}
	return last
}

// text is a setting that is a string.
func (a *Adapter) text(key string) string {
	s, _ := a.Settings[key].(string)
	return s
}

// withoutOthers reports what a format cannot hold beside branches. Copies of the base's own weights are left out.
func (a *Adapter) withoutOthers() error {
	var errs []error
	copies := 0
	for _, t := range a.Others {
		if strings.HasSuffix(t.Name, endBase) {
			copies++
			continue
		}
		errs = append(errs, fmt.Errorf("tensor %q is no lora_A or lora_B, and the format holds nothing else: fold the adapter into its base (graft merge)", t.Name))
	}
	if copies > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("%d copies of the base's own weights are left out", copies))
	}
	return errors.Join(errs...)
}
