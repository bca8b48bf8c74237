package interchange

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/interchange/llamacpp"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// Keys of an adapter's GGUF file.
const (
	keyKind  = "adapter.type" // "lora"
	keyAlpha = "adapter.lora.alpha"
)

func isGGUF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(gguf.Magic))
	_, err = f.Read(b)
	return err == nil && string(b) == gguf.Magic
}

// fileTypes are the dtypes that adapters are written in.
var fileTypes = map[string]struct {
	typ  gguf.Type
	file uint32
}{"": {gguf.F32, 0}, "f32": {gguf.F32, 0}, "f16": {gguf.F16, 1}, "bf16": {gguf.BF16, 32}}

func writeGGUF(path string, a *Adapter, o Options) error {
	f, err := encodeGGUF(a, o)
	if err != nil {
		return err
	}
	return f.WriteFile(path)
}

// encodeGGUF is the adapter as llama.cpp's file.
func encodeGGUF(a *Adapter, o Options) (*gguf.File, error) {
	if o.Base == nil {
		return nil, errors.New("names and the order of rows depend on the base: want its config.json")
	}
	arch, err := llamacpp.ArchOf(o.Base)
	if err != nil {
		return nil, err
	}
	dora, err := a.isDoRA()
	if dora {
		err = errors.New("llama.cpp has no DoRA: fold the adapter into its base (graft merge)")
	}
	typ, ok := fileTypes[o.DType]
	if !ok {
		err = errors.Join(err, fmt.Errorf("dtype is %q, want f32, f16 or bf16", o.DType))
	}
	if err := errors.Join(err, a.withoutOthers()); err != nil {
		return nil, err
	}
	alpha, factors := a.oneScale(alphaOf)
	a.noteFactors(factors)
	f := &gguf.File{Pairs: []gguf.Pair{{Key: llamacpp.KeyArch, Value: arch.Name}, {Key: llamacpp.KeyType, Value: "adapter"}, {Key: keyKind, Value: "lora"},
		{Key: keyAlpha, Value: float32(alpha)}, {Key: llamacpp.KeyFile, Value: typ.file}}}
	if base := a.text("base_model_name_or_path"); base != "" {
		f.Pairs = append(f.Pairs, gguf.Pair{Key: llamacpp.KeyBases, Value: uint32(1)}, gguf.Pair{Key: llamacpp.KeyBase, Value: base})
	}
	if a.BaseHash != "" {
		f.Pairs = append(f.Pairs, gguf.Pair{Key: peft.BaseKey, Value: a.BaseHash})
	}
	var errs []error
	for i := range a.Modules {
		list, err := factorTensors(arch, &a.Modules[i], factors[i], o.Base, typ.typ)
		f.Tensors, errs = append(f.Tensors, list...), append(errs, err)
	}
	return f, errors.Join(errs...)
}

// factorTensors are the pair of a module.
func factorTensors(x *llamacpp.Arch, m *Module, factor float64, base *model.Config, typ gguf.Type) ([]gguf.Tensor, error) {
	name, err := x.ToGGUF(m.Name)
	if err != nil {
		return nil, err
	}
	if tied := base.TieWordEmbeddings; tied && (name == llamacpp.TokenEmbedding || name == "output") {
		return nil, fmt.Errorf("%q: embedding and head of the base are one tensor, of which llama.cpp cannot adapt one end", m.Name)
	}
	A, B := m.A, times(m.B, factor)
	if name == llamacpp.TokenEmbedding {
		A = transposed(A)
	}
	if heads := x.Heads(name, base); heads > 0 {
		if B.Rows%(2*heads) != 0 {
			return nil, fmt.Errorf("%q: B has %d rows, which %d heads of even size do not share", m.Name, B.Rows, heads)
		}
		B = permuted(B, heads, false)
	}
	a, err1 := gguf.NewTensor(name+".weight.lora_a", typ, []int{A.Rows, A.Cols}, A.Data)
	b, err2 := gguf.NewTensor(name+".weight.lora_b", typ, []int{B.Rows, B.Cols}, B.Data)
	return []gguf.Tensor{a, b}, errors.Join(err1, err2)
}

// permuted is a matrix with its rows in the order that llama.cpp wants, or back: see llamacpp.Permute.
func permuted(m kernel.Mat, heads int, back bool) kernel.Mat {
	p := kernel.NewMat(make([]float32, len(m.Data)), m.Rows, m.Cols)
	llamacpp.Permute(p.Data, m.Data, heads, m.Cols, back)
	return p
}

func readGGUF(path string, o Options) (*Adapter, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeGGUF(data, o)
}

// decodeGGUF reads an adapter out of a file's bytes.
func decodeGGUF(data []byte, o Options) (*Adapter, error) {
	f, err := gguf.Parse(data)
	if err != nil {
		return nil, err
	}
	for _, want := range [][2]string{{llamacpp.KeyType, "adapter"}, {keyKind, "lora"}} {
		if got, err := f.String(want[0]); err != nil || got != want[1] {
			return nil, errors.Join(err, fmt.Errorf("%s is %q, want %q", want[0], got, want[1]))
		}
	}
	name, err := f.String(llamacpp.KeyArch)
	if err != nil {
		return nil, err
	}
	x, err := llamacpp.ArchNamed(name, o.Base)
	if err != nil {
		return nil, err
	}
	alpha, err := f.Float(keyAlpha)
	if err != nil {
		return nil, err
	}
	a := &Adapter{}
	a.BaseHash, _ = valueText(f, peft.BaseKey)
	if base, ok := valueText(f, llamacpp.KeyBase); ok && o.BaseName == "" {
		o.BaseName = base
	}
	if a.Modules, err = modules(f, x, o.Base, float64(alpha)); err != nil {
		return nil, err
	}
	return a, a.settle(o, 0)
}

func valueText(f *gguf.File, key string) (string, bool) {
	v, _ := f.Get(key)
	s, ok := v.(string)
	return s, ok
}

// modules puts the tensors of a file in pairs.
func modules(f *gguf.File, x *llamacpp.Arch, base *model.Config, alpha float64) ([]Module, error) {
	byName := map[string]*Module{}
	var order []string
	var errs []error
	for i := range f.Tensors {
		t := &f.Tensors[i]
		stem, isA := strings.CutSuffix(t.Name, ".weight.lora_a")
		stem, isB := strings.CutSuffix(stem, ".weight.lora_b")
		if !isA && !isB {
			errs = append(errs, fmt.Errorf("tensor %q is no lora_a or lora_b", t.Name))
			continue
		}
		if byName[stem] == nil {
			hf, err := x.ToHF(stem)
			errs = append(errs, err)
			byName[stem] = &Module{Name: hf, Embedding: stem == llamacpp.TokenEmbedding}
			order = append(order, stem)
		}
		v, err := t.Floats()
		if err == nil && (len(t.Shape) != 2 || len(v) == 0) {
			err = fmt.Errorf("tensor %q is %v, want a matrix with numbers in it", t.Name, t.Shape)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m := kernel.NewMat(v, t.Shape[0], t.Shape[1])
		if isA {
			byName[stem].A = m
		} else {
			byName[stem].B = m
		}
	}
	var list []Module
	for _, stem := range order {
		m := byName[stem]
		errs = append(errs, finish(m, x, stem, base, alpha))
		list = append(list, *m)
	}
	return list, errors.Join(slices.DeleteFunc(errs, func(e error) bool { return e == nil })...)
}

// finish brings a pair into Hugging Face's order.
func finish(m *Module, x *llamacpp.Arch, stem string, base *model.Config, alpha float64) error {
	if m.A.Data == nil || m.B.Data == nil {
		return fmt.Errorf("%q lacks its lora_a or lora_b", stem)
	}
	if m.Embedding {
		m.A = transposed(m.A)
	}
	m.Scale = alpha / float64(m.A.Rows)
	if alpha == 0 {
		m.Scale = 1 // what llama.cpp makes of it
	}
	heads := x.Heads(stem, base)
	switch {
	case heads < 0:
		return fmt.Errorf("%q: its rows are permuted by head: want the base's config.json", stem)
	case heads > 0 && m.B.Rows%(2*heads) != 0:
		return fmt.Errorf("%q: lora_b has %d rows, which %d heads of even size do not share", stem, m.B.Rows, heads)
	case heads > 0:
		m.B = permuted(m.B, heads, true)
	}
	return nil
}
