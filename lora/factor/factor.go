// Package factor makes LoRA adapters of others, and of the difference of two checkpoints, by their factors alone. It needs
// no model and no base:
//
//	a, err := factor.Open("runs/english/adapter")
//	b, err := factor.Open("runs/code/adapter")
//	sum, report, err := factor.Combine([]*factor.Adapter{a, b}, factor.Options{Type: "cat", Weights: []float64{0.7, 0.3}})
//	err = sum.Save("both")
//
// Words: a module's product is ΔW = s·B·A with A [r, in], B [out, r] and the scaling s of adapter_config.json. For
// embeddings in is the number of rows, so ΔW is the transpose of what the checkpoint stores; so it is for Conv1D. Nothing here
// depends on that.
package factor

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/peft"
)

// Adapter is a LoRA adapter as its file holds it.
type Adapter struct {
	Name    string // where it came from, for errors
	Config  *lora.Config
	Modules []Module           // by name
	Rest    []checkpoint.Entry // what the file holds beside factors, by name
}

// Module holds the factors of one module.
type Module struct {
	Name      string     // of the module
	Embedding bool       // the factors are stored as lora_embedding_A and _B
	A         kernel.Mat // [r, in]
	B         kernel.Mat // [out, r]
	Scale     float64    // s
}

// kinds are the ends of the names of factors.
var kinds = []struct {
	a, b      string
	embedding bool
}{
	{".lora_A.weight", ".lora_B.weight", false},
	{".lora_embedding_A", ".lora_embedding_B", true},
}

// baseWeight ends the name of a copy of the base's weight that PEFT puts beside the factors of embeddings and heads.
const baseWeight = ".base_layer.weight"

// Open reads the adapter of a folder.
func Open(dir string) (*Adapter, error) {
	config, err := peft.ReadConfig(dir, []peft.Method{lora.Method})
	if err != nil {
		return nil, err
	}
	file, err := peft.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a, err := Read(config.(*lora.Config), file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	a.Name = dir
	return a, nil
}

// Read takes an adapter out of its files. What it returns does not alias them.
func Read(c *lora.Config, file *checkpoint.Checkpoint) (*Adapter, error) {
	if err := errors.Join(c.Validate(), c.Factored()); err != nil {
		return nil, err
	}
	scale, err := c.Scales()
	if err != nil {
		return nil, err
	}
	a := &Adapter{Name: file.Path(), Config: c}
	var errs []error
	for _, name := range file.Names() {
		m, ok, err := module(file, name)
		if ok && err == nil {
			m.Scale, err = scale(m.Name, m.A.Rows)
			a.Modules = append(a.Modules, m)
		}
		if !ok && err == nil {
			err = a.keep(file, name)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(a.Modules) == 0 {
		return nil, errors.New("factor: the file holds no factors of LoRA")
	}
	slices.SortFunc(a.Modules, func(x, y Module) int { return strings.Compare(x.Name, y.Name) })
	return a, nil
}

// module reads the module whose first factor a tensor is; ok says that it is one.
func module(file *checkpoint.Checkpoint, name string) (m Module, ok bool, err error) {
	for _, k := range kinds {
		stem, found := strings.CutSuffix(name, k.a)
		if !found {
			continue
		}
		m = Module{Name: strings.TrimPrefix(stem, peft.Prefix), Embedding: k.embedding}
		var e1, e2 error
		m.A, e1 = matrix(file, name)
		m.B, e2 = matrix(file, stem+k.b)
		if err := errors.Join(e1, e2); err != nil {
			return m, true, err
		}
		if m.A.Rows != m.B.Cols {
			return m, true, fmt.Errorf("factor: %q: lora_A is [%d, %d] and lora_B [%d, %d], want one rank", m.Name, m.A.Rows, m.A.Cols, m.B.Rows, m.B.Cols)
		}
		return m, true, nil
	}
	return m, false, nil
}

// matrix reads a factor as float32.
func matrix(file *checkpoint.Checkpoint, name string) (kernel.Mat, error) {
	info, ok := file.Info(name)
	switch {
	case !ok:
		return kernel.Mat{}, fmt.Errorf("factor: tensor %q is missing", name)
	case len(info.Shape) != 2 || info.Len() == 0:
		return kernel.Mat{}, fmt.Errorf("factor: tensor %q is %v, want a matrix", name, info.Shape)
	case !checkpoint.IsFloat(info.DType):
		return kernel.Mat{}, fmt.Errorf("factor: tensor %q is %s, want F32, F16 or BF16", name, info.DType)
	}
	if i, not := file.FirstNonFinite(name); not {
		return kernel.Mat{}, fmt.Errorf("factor: tensor %q has at %d no finite number", name, i)
	}
	v, err := file.Floats(name)
	if err != nil {
		return kernel.Mat{}, err
	}
	return kernel.NewMat(slices.Clone(v), info.Shape[0], info.Shape[1]), nil
}

// keep puts a tensor that is no first factor with the rest, unless it is a second one.
func (a *Adapter) keep(file *checkpoint.Checkpoint, name string) error {
	for _, k := range kinds {
		stem, second := strings.CutSuffix(name, k.b)
		if !second {
			continue
		}
		if _, ok := file.Info(stem + k.a); !ok {
			return fmt.Errorf("factor: tensor %q is missing", stem+k.a)
		}
		return nil
	}
	info, _ := file.Info(name)
	b, err := file.Bytes(name)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(name, peft.Prefix) {
		name = peft.Prefix + name
	}
	a.Rest = append(a.Rest, checkpoint.FromBytes(name, info.DType, info.Shape, slices.Clone(b)))
	return nil
}

// Save writes the adapter into a folder that is not there yet, whole or not at all.
func (a *Adapter) Save(dir string, replace bool) error {
	config, err := a.Config.JSON()
	if err != nil {
		return err
	}
	return atomicfile.WriteDir(dir, replace, func(temp string) error {
		if err := checkpoint.Write(filepath.Join(temp, peft.TensorsFile), a.entries(), nil); err != nil {
			return err
		}
		return atomicfile.WriteBytes(filepath.Join(temp, peft.ConfigFile), config)
	})
}

// entries are the tensors of the file.
func (a *Adapter) entries() []checkpoint.Entry {
	list := slices.Clone(a.Rest)
	for _, m := range a.Modules {
		k := kinds[0]
		if m.Embedding {
			k = kinds[1]
		}
		list = append(list, checkpoint.FromFloats(peft.Prefix+m.Name+k.a, []int{m.A.Rows, m.A.Cols}, m.A.Data),
			checkpoint.FromFloats(peft.Prefix+m.Name+k.b, []int{m.B.Rows, m.B.Cols}, m.B.Data))
	}
	return list
}

// find is the adapter's module of a name, or nil.
func (a *Adapter) find(name string) *Module {
	i, ok := slices.BinarySearchFunc(a.Modules, name, func(m Module, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return nil
	}
	return &a.Modules[i]
}

// Delta is ΔW [out, in].
func (m *Module) Delta() kernel.Mat {
	w := kernel.NewMat(make([]float32, m.B.Rows*m.A.Cols), m.B.Rows, m.A.Cols)
	if m.Scale != 0 { // to MatMul a factor of 0 means none
		kernel.MatMul(w, m.B, m.A, kernel.MatMulOpts{Alpha: float32(m.Scale)})
	}
	return w
}

// norm is ‖ΔW‖ by the factors: √⟨BᵀB, A·Aᵀ⟩·|s|.
func (m *Module) norm() float64 {
	sum := 0.0
	for k := range m.A.Rows {
		for l := range m.A.Rows {
			b := 0.0
			for i := range m.B.Rows {
				row := m.B.Row(i)
				b += float64(row[k]) * float64(row[l])
			}
			a := 0.0
			for j, v := range m.A.Row(k) {
				a += float64(v) * float64(m.A.Row(l)[j])
			}
			sum += a * b
		}
	}
	return math.Sqrt(max(0, sum)) * math.Abs(m.Scale)
}
