package interchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/peft"
)

// configOf is the object in the adapter_config.json of a folder, which several programs call theirs; nil if there is none.
func configOf(dir string) peft.Object {
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		return nil
	}
	o, err := peft.ParseObject(b)
	if err != nil {
		return nil
	}
	return o
}

// isPEFT is also the answer for a config that nobody can read: the error then says so.
func isPEFT(path string) bool {
	if _, err := os.Stat(filepath.Join(path, peft.ConfigFile)); err != nil {
		return false
	}
	return !isMLX(path) && !isAdapters(path)
}

func isAdapters(path string) bool {
	o := configOf(path)
	_, config := o["config"]
	return o["peft_type"] == nil && config && o["model_type"] != nil
}

// The ends of names in a PEFT file.
const (
	endA, endB                   = ".lora_A.weight", ".lora_B.weight"
	endEmbeddingA, endEmbeddingB = ".lora_embedding_A", ".lora_embedding_B"
	endMagnitude                 = ".lora_magnitude_vector"
	endBase                      = ".base_layer.weight"
)

// factors are the names' ends of pairs.
var factors = []struct {
	end       string
	b         bool
	embedding bool
}{{endA, false, false}, {endB, true, false}, {endEmbeddingA, false, true}, {endEmbeddingB, true, true}}

func readPEFT(dir string, _ Options) (*Adapter, error) {
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		return nil, err
	}
	parsed, err := peft.ParseConfig(b, []peft.Method{lora.Method})
	if err != nil {
		return nil, err
	}
	c := parsed.(*lora.Config)
	if err := c.Validate(); err != nil {
		return nil, err
	}
	file, err := peft.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a := &Adapter{BaseHash: file.Metadata()[peft.BaseKey]}
	if a.Settings, err = objectOf(c); err != nil {
		return nil, err
	}
	p := pairs{file: file}
	for _, key := range file.Names() {
		p.take(key)
	}
	a.Modules, a.Others, err = p.modules()
	return a, errors.Join(err, p.err(), a.scale(c))
}

// objectOf is the config as its file has it.
func objectOf(c *lora.Config) (peft.Object, error) {
	b, err := c.JSON()
	if err != nil {
		return nil, err
	}
	return peft.ParseObject(b)
}

// pairs collects the tensors of a file by module.
type pairs struct {
	file   *checkpoint.Checkpoint
	byName map[string]*Module
	others []Tensor
	errs   []error
}

func (p *pairs) err() error { return errors.Join(p.errs...) }

func (p *pairs) module(name string) *Module {
	if p.byName == nil {
		p.byName = map[string]*Module{}
	}
	if p.byName[name] == nil {
		p.byName[name] = &Module{Name: name}
	}
	return p.byName[name]
}

// take puts a tensor of PEFT's in its place.
func (p *pairs) take(key string) {
	name := strings.TrimPrefix(key, peft.Prefix)
	for _, f := range factors {
		if module, ok := strings.CutSuffix(name, f.end); ok {
			m := p.module(module)
			m.Embedding = f.embedding
			if f.b {
				m.B = p.matrix(key)
			} else {
				m.A = p.matrix(key)
			}
			return
		}
	}
	for _, end := range []string{endMagnitude, endMagnitude + ".weight"} {
		if module, ok := strings.CutSuffix(name, end); ok {
			p.module(module).Magnitude = p.floats(key)
			return
		}
	}
	info, _ := p.file.Info(key)
	p.others = append(p.others, Tensor{Name: name, Shape: info.Shape, Data: p.floats(key)})
}

func (p *pairs) floats(key string) []float32 {
	v, err := p.file.Floats(key)
	if err != nil {
		p.errs = append(p.errs, err)
		return nil
	}
	return slices.Clone(v)
}

// matrix reads a matrix; a third dimension of 1 is that of a convolution, which old PEFTs had.
func (p *pairs) matrix(key string) kernel.Mat {
	info, _ := p.file.Info(key)
	s := info.Shape
	if len(s) == 3 && s[2] == 1 {
		s = s[:2]
	}
	if len(s) != 2 || info.Size == 0 {
		p.errs = append(p.errs, fmt.Errorf("tensor %q is %v, want a matrix with numbers in it", key, info.Shape))
		return kernel.Mat{}
	}
	v := p.floats(key)
	if v == nil {
		return kernel.Mat{}
	}
	return kernel.NewMat(v, s[0], s[1])
}

// modules lists what was collected; every A has its B.
func (p *pairs) modules() (list []Module, others []Tensor, err error) {
	var errs []error
	for name, m := range p.byName {
		for _, f := range []struct {
			what string
			m    kernel.Mat
		}{{"A", m.A}, {"B", m.B}} {
			if f.m.Data == nil && len(p.errs) == 0 {
				errs = append(errs, fmt.Errorf("%q has no lora_%s", name, f.what))
			}
		}
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Module) int { return compareNames(a.Name, b.Name) })
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return list, p.others, errors.Join(errs...)
}

// scale gives every module the scale of its settings, and holds its rank to them.
func (a *Adapter) scale(c *lora.Config) error {
	shares, err := c.Shares()
	if err != nil {
		return err
	}
	branches, err := c.Branches()
	if err != nil {
		return err
	}
	var errs []error
	for i := range a.Modules {
		m := &a.Modules[i]
		rank, scale, err := branches(m.Name)
		if err != nil {
			return err
		}
		m.Scale = scale
		if shares != nil && m.A.Data != nil && m.B.Data != nil {
			errs = append(errs, m.widen(shares, rank))
			continue
		}
		if m.A.Data != nil && m.A.Rows != rank {
			errs = append(errs, fmt.Errorf("%q: A is [%d, %d], want rank %d", m.Name, m.A.Rows, m.A.Cols, rank))
		}
	}
	if shares != nil {
		a.widened(shares)
	}
	return errors.Join(errs...)
}

// widen makes one branch of a branch for each enabled share of the outputs: A stays, B has zeros where a share has none of its own.
//
//	A [g·r, in], B [g·share, r]  ->  A [g·r, in], B [n·share, g·r]
func (m *Module) widen(shares []bool, rank int) error {
	g := 0
	for _, on := range shares {
		if on {
			g++
		}
	}
	if m.A.Rows != g*rank || m.B.Cols != rank || m.B.Rows%g != 0 {
		return fmt.Errorf("%q: A is [%d, %d] and B [%d, %d], want ranks %d and %d of %d shares", m.Name, m.A.Rows, m.A.Cols, m.B.Rows, m.B.Cols, g*rank, rank, g)
	}
	share := m.B.Rows / g
	wide := kernel.NewMat(make([]float32, len(shares)*share*g*rank), len(shares)*share, g*rank)
	i := 0
	for at, on := range shares {
		if !on {
			continue
		}
		for o := range share {
			copy(wide.Row(at*share + o)[i*rank:(i+1)*rank], m.B.Row(i*share+o))
		}
		i++
	}
	m.B = wide
	return nil
}

// widened are the settings after widen: as many times the rank, at the same scale.
func (a *Adapter) widened(shares []bool) {
	g := 0
	for _, on := range shares {
		if on {
			g++
		}
	}
	r, _ := json.Number(fmt.Sprint(a.Settings["r"])).Int64() // checked by Validate
	alpha, _ := json.Number(fmt.Sprint(a.Settings["lora_alpha"])).Float64()
	a.Settings["r"], a.Settings["lora_alpha"] = int(r)*g, number(alpha*float64(g))
	delete(a.Settings, "enable_lora")
	delete(a.Settings, "merge_weights")
	a.Notes = append(a.Notes, fmt.Sprintf("branches of %d of %d shares of the outputs became one branch with zeros (enable_lora)", g, len(shares)))
}

// number is a number as Python writes it: whole ones without a point.
func number(v float64) any {
	if v == float64(int(v)) {
		return int(v)
	}
	return v
}

func writePEFT(dir string, a *Adapter, o Options) error {
	if a.Settings["base_model_name_or_path"] == nil && o.BaseName != "" {
		a.Settings["base_model_name_or_path"] = o.BaseName
	}
	config, err := peft.PythonJSON(a.Settings)
	if err != nil {
		return err
	}
	d, err := dtypeOf(o.DType)
	if err != nil {
		return err
	}
	var list []checkpoint.Entry
	add := func(name string, shape []int, x []float32) {
		list = append(list, entry(peft.Prefix+name, shape, x, d))
	}
	for _, m := range a.Modules {
		ends := [2]string{endA, endB}
		if m.Embedding {
			ends = [2]string{endEmbeddingA, endEmbeddingB}
		}
		add(m.Name+ends[0], []int{m.A.Rows, m.A.Cols}, m.A.Data)
		add(m.Name+ends[1], []int{m.B.Rows, m.B.Cols}, m.B.Data)
		if m.Magnitude != nil {
			add(m.Name+endMagnitude, []int{len(m.Magnitude)}, m.Magnitude)
		}
	}
	for _, t := range a.Others {
		add(t.Name, t.Shape, t.Data)
	}
	meta := map[string]string{"format": "pt"}
	if a.BaseHash != "" {
		meta[peft.BaseKey] = a.BaseHash
	}
	return atomicfile.WriteDir(dir, o.Force, func(temp string) error {
		return errors.Join(checkpoint.Write(filepath.Join(temp, peft.TensorsFile), list, meta), atomicfile.WriteBytes(filepath.Join(temp, peft.ConfigFile), config))
	})
}

// dtypes by their names in options.
var dtypes = map[string]checkpoint.DType{"": checkpoint.F32, "f32": checkpoint.F32, "f16": checkpoint.F16, "bf16": checkpoint.BF16}

func dtypeOf(name string) (checkpoint.DType, error) {
	d, ok := dtypes[name]
	if !ok {
		return d, fmt.Errorf("dtype is %q, want f32, f16 or bf16", name)
	}
	return d, nil
}

// entry is a tensor to be written in a dtype.
func entry(name string, shape []int, x []float32, d checkpoint.DType) checkpoint.Entry {
	b := make([]byte, len(x)*int(d.Size()))
	checkpoint.Encode(b, x, d)
	return checkpoint.FromBytes(name, d, shape, b)
}

// BaseName is the base that an adapter's folder names, of PEFT, the library adapters or mlx-lm; "" if none.
func BaseName(path string) string {
	o := configOf(path)
	for _, key := range []string{"base_model_name_or_path", "model_name", "model"} {
		if s, ok := o[key].(string); ok {
			return s
		}
	}
	return ""
}
