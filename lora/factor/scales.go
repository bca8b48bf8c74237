package factor

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/peft"
)

// IA3 has a vector l for a module instead of factors, by which rows or columns of W are scaled: ΔW = diag(l − 1)·W, or W·diag(l − 1).
// Sums of products are linear in l − 1 then, whatever W is:
//
//	Σ w·ΔW   is that of   l = 1 + Σ w·(l_i − 1)
//
// With weights that sum to one this is Σ w·l_i, which is what PEFT computes whatever the weights are.

// Scales are the vectors of an IA3 adapter.
type Scales struct {
	Name    string // where they came from, for errors
	Tensors []ScaleOf

	config map[string]json.RawMessage
}

// ScaleOf is the vector of a module.
type ScaleOf struct {
	Tensor string // as the file has it
	Shape  []int
	Data   []float32
}

// IsScales tells whether a folder holds an IA3 adapter.
func IsScales(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	var c struct {
		Type string `json:"peft_type"`
	}
	return err == nil && json.Unmarshal(b, &c) == nil && c.Type == "IA3"
}

// OpenScales reads the IA3 adapter of a folder.
func OpenScales(dir string) (*Scales, error) {
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("factor: %w", err)
	}
	s := &Scales{Name: dir}
	if err := json.Unmarshal(b, &s.config); err != nil {
		return nil, fmt.Errorf("factor: %s: %s: %w", dir, peft.ConfigFile, err)
	}
	file, err := peft.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for _, name := range file.Names() {
		info, _ := file.Info(name)
		if filepath.Ext(name) != ".ia3_l" || !checkpoint.IsFloat(info.DType) {
			return nil, fmt.Errorf("factor: %s: tensor %q is no vector of IA3: modules trained in full cannot be combined", dir, name)
		}
		if i, not := file.FirstNonFinite(name); not {
			return nil, fmt.Errorf("factor: %s: tensor %q has at %d no finite number", dir, name, i)
		}
		x, err := file.Floats(name)
		if err != nil {
			return nil, err
		}
		s.Tensors = append(s.Tensors, ScaleOf{name, info.Shape, slices.Clone(x)})
	}
	if len(s.Tensors) == 0 {
		return nil, fmt.Errorf("factor: %s: the file holds no vectors of IA3", dir)
	}
	return s, nil
}

// CombineScales makes one IA3 adapter of several of the same modules.
func CombineScales(list []*Scales, o Options) (*Scales, error) {
	if err := o.checkScales(len(list)); err != nil {
		return nil, err
	}
	sum := &Scales{Name: list[0].Name, config: list[0].config}
	for i, t := range list[0].Tensors {
		x := make([]float64, len(t.Data))
		if o.Compat != CompatPEFT {
			for j := range x {
				x[j] = 1
			}
		}
		for k, s := range list {
			if err := list[0].same(s, i); err != nil {
				return nil, err
			}
			w := 1.0
			if o.Weights != nil {
				w = o.Weights[k]
			}
			for j, v := range s.Tensors[i].Data {
				if o.Compat != CompatPEFT {
					v--
				}
				x[j] += w * float64(v)
			}
		}
		out := ScaleOf{t.Tensor, t.Shape, make([]float32, len(x))}
		for j, v := range x {
			out.Data[j] = float32(v)
		}
		sum.Tensors = append(sum.Tensors, out)
	}
	return sum, nil
}

// checkScales reports options that mean nothing for vectors.
func (o *Options) checkScales(n int) error {
	switch {
	case n == 0:
		return errors.New("factor: no adapters to combine")
	case o.Weights != nil && len(o.Weights) != n:
		return fmt.Errorf("factor: %d weights for %d adapters", len(o.Weights), n)
	case o.Type != "linear" && o.Type != "cat":
		return fmt.Errorf("factor: combination_type is %q, want linear: adapters of IA3 have vectors, which are neither decomposed nor pruned", o.Type)
	case o.Rank != 0 || o.Density != 0 || o.Clamp != 0:
		return errors.New("factor: svd_rank, density and svd_clamp are of factors, which adapters of IA3 have not")
	case o.Compat != "" && o.Compat != CompatPEFT:
		return fmt.Errorf("factor: compat is %q, want %q or nothing", o.Compat, CompatPEFT)
	}
	for _, w := range o.Weights {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return fmt.Errorf("factor: a weight is %g, want a finite number", w)
		}
	}
	return nil
}

// same wants vector i of another adapter to be of the same module and as long.
func (s *Scales) same(o *Scales, i int) error {
	const what = "want IA3 adapters of the same modules"
	switch {
	case len(o.Tensors) != len(s.Tensors):
		return fmt.Errorf("factor: %s has %d vectors and %s %d, %s", s.Name, len(s.Tensors), o.Name, len(o.Tensors), what)
	case o.Tensors[i].Tensor != s.Tensors[i].Tensor:
		return fmt.Errorf("factor: %s has %q where %s has %q, %s", o.Name, o.Tensors[i].Tensor, s.Name, s.Tensors[i].Tensor, what)
	case !slices.Equal(o.Tensors[i].Shape, s.Tensors[i].Shape):
		return fmt.Errorf("factor: %q is %v in %s and %v in %s, want one shape and one set of feedforward_modules", s.Tensors[i].Tensor, s.Tensors[i].Shape, s.Name, o.Tensors[i].Shape, o.Name)
	}
	return nil
}

// Save writes the adapter into a folder that is not there yet, whole or not at all.
func (s *Scales) Save(dir string, replace bool) error {
	config, err := json.MarshalIndent(s.config, "", "  ")
	if err != nil {
		return fmt.Errorf("factor: %s: %w", peft.ConfigFile, err)
	}
	var entries []checkpoint.Entry
	for _, t := range s.Tensors {
		entries = append(entries, checkpoint.FromFloats(t.Tensor, t.Shape, t.Data))
	}
	return atomicfile.WriteDir(dir, replace, func(temp string) error {
		if err := checkpoint.Write(filepath.Join(temp, peft.TensorsFile), entries, nil); err != nil {
			return err
		}
		return atomicfile.WriteBytes(filepath.Join(temp, peft.ConfigFile), config)
	})
}
