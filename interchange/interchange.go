// Package interchange reads and writes LoRA adapters in the file formats of other programs: PEFT's folders, llama.cpp's GGUF, mlx-lm's
// folders, the state dicts of microsoft/LoRA, folders of the library adapters. Between reading and writing an adapter is an Adapter,
// which no format is special to:
//
//	a, from, err := interchange.Read("runs/first/adapter", interchange.Options{})
//	if err != nil {
//		return err
//	}
//	err = interchange.Write("first.gguf", "gguf", a, interchange.Options{Base: config})
//
// A format is a row of Formats, with a file of its own; what the programs refuse of an adapter is a row of Consumers.
//
// # What the formats call the same thing
//
//	              A                        B                        s of y += s·B·A·x
//	peft          X.lora_A.weight [r, in]  X.lora_B.weight [out, r] lora_alpha/r, or /√r; both may differ by module
//	gguf          Y.lora_a [r, in]         Y.lora_b [out, r]        adapter.lora.alpha/r; one alpha for all
//	mlx           X.lora_a [in, r]         X.lora_b [r, out]        lora_parameters.scale; one for all
//	adapters      X.loras.N.lora_A [r, in] X.loras.N.lora_B [out, r] alpha/r; one for all. N is the adapter's name
//	loralib       X.lora_A [r, in]         X.lora_B [out, r]        the reader must know lora_alpha
//
// X is the module's path in Hugging Face's checkpoint, Y llama.cpp's name of its weight (blk.3.attn_q.weight), whose rows are permuted
// for queries and keys of the llama architecture. Where a format has one scale for all, what differs is multiplied into B.
//
// References: huggingface/peft 0.20; llama.cpp convert_lora_to_gguf.py and src/llama-adapter.cpp; mlx-lm tuner/utils.py, tuner/lora.py and
// tuner/dora.py; microsoft/LoRA loralib/layers.py.
package interchange

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// Adapter is a LoRA adapter between formats.
type Adapter struct {
	Modules  []Module
	Others   []Tensor    // tensors that are no branch, by their names in the model: trained heads, biases
	Settings peft.Object // adapter_config.json of PEFT
	BaseHash string      // SHA-256 of the base's tensors; "" = unknown
	Notes    []string    // what the reader or writer decided, in a line each
}

// Module is one adapted projection or embedding: y += s·B·A·x.
type Module struct {
	Name      string
	Embedding bool
	A         kernel.Mat // [r, in]; of an embedding [r, tokens]
	B         kernel.Mat // [out, r]; of an embedding [dim, r]
	Scale     float64    // s
	Magnitude []float32  // of DoRA [out]; nil without
}

// Rank is r.
func (m *Module) Rank() int { return m.A.Rows }

// Tensor is float32 numbers with a name.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// Options are what files do not say.
type Options struct {
	Base     *model.Config // of the base; nil = not known
	BaseName string        // base_model_name_or_path of what is written, unless a file of PEFT has one
	Alpha    float64       // lora_alpha of formats that lack it; 0 = not known
	DType    string        // of what is written: "f32" (or ""), "f16" or "bf16"
	Force    bool          // replace what is there
}

// Format is one file format of adapters.
type Format struct {
	Name   string
	Folder bool // it is a folder, not a file
	Says   string
	// Is tells by a glance at a file or folder.
	Is    func(path string) bool
	Read  func(path string, o Options) (*Adapter, error)
	Write func(path string, a *Adapter, o Options) error
}

// Formats is the table of formats.
var Formats = []Format{
	{Name: "peft", Folder: true, Says: "a folder of PEFT, vLLM and most others", Is: isPEFT, Read: readPEFT, Write: writePEFT},
	{Name: "adapters", Folder: true, Says: "a folder of the library adapters", Is: isAdapters, Read: readAdapters, Write: writeAdapters},
	{Name: "gguf", Says: "a file of llama.cpp", Is: isGGUF, Read: readGGUF, Write: writeGGUF},
	{Name: "mlx", Folder: true, Says: "a folder of mlx-lm", Is: isMLX, Read: readMLX, Write: writeMLX},
	{Name: "loralib", Says: "a state dict of microsoft/LoRA", Is: isLoralib, Read: readLoralib, Write: writeLoralib},
}

// Names lists the formats.
func Names() (list []string) {
	for _, f := range Formats {
		list = append(list, f.Name)
	}
	return list
}

// Lookup finds a format by its name.
func Lookup(name string) (Format, error) {
	for _, f := range Formats {
		if f.Name == name {
			return f, nil
		}
	}
	return Format{}, fmt.Errorf("interchange: format %q, want one of %s", name, strings.Join(Names(), ", "))
}

// Read reads an adapter of whatever format, and says which it was.
func Read(path string, o Options) (*Adapter, Format, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, Format{}, fmt.Errorf("interchange: %w", err)
	}
	for _, f := range Formats {
		if !f.Is(path) {
			continue
		}
		a, err := f.Read(path, o)
		if err != nil {
			return nil, f, fmt.Errorf("interchange: %s: %w", path, err)
		}
		return a, f, a.check(path)
	}
	return nil, Format{}, fmt.Errorf("interchange: %s: no adapter in it, want a folder with %s, a GGUF file or a state dict of microsoft/LoRA", path, peft.ConfigFile)
}

// Write writes an adapter in a format.
func Write(path, format string, a *Adapter, o Options) error {
	f, err := Lookup(format)
	if err != nil {
		return err
	}
	if st, err := os.Stat(path); err == nil && (st.IsDir() != f.Folder || !o.Force) {
		return fmt.Errorf("interchange: %s: %w", path, fs.ErrExist)
	}
	if err := f.Write(path, a, o); err != nil {
		return fmt.Errorf("interchange: %s: as %s: %w", path, format, err)
	}
	return nil
}

// check holds what was read to what every writer relies on.
func (a *Adapter) check(path string) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("interchange: %s: "+format, append([]any{path}, args...)...))
	}
	if len(a.Modules) == 0 {
		bad("no lora_A and lora_B in it")
	}
	for _, m := range a.Modules {
		if m.A.Rows != m.B.Cols || m.A.Rows == 0 {
			bad("%q: A is [%d, %d] and B [%d, %d], want one rank", m.Name, m.A.Rows, m.A.Cols, m.B.Rows, m.B.Cols)
		}
		if m.Magnitude != nil && len(m.Magnitude) != m.B.Rows {
			bad("%q: %d magnitudes, want %d", m.Name, len(m.Magnitude), m.B.Rows)
		}
		for _, x := range [][]float32{m.A.Data, m.B.Data, m.Magnitude} {
			if i := slices.IndexFunc(x, func(v float32) bool { return v-v != 0 }); i >= 0 {
				bad("%q has no finite number at %d", m.Name, i)
				break
			}
		}
	}
	slices.SortFunc(a.Modules, func(x, y Module) int { return compareNames(x.Name, y.Name) })
	slices.SortFunc(a.Others, func(x, y Tensor) int { return compareNames(x.Name, y.Name) })
	return errors.Join(errs...)
}

// compareNames orders names part by part, numbers by value.
func compareNames(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, e1 := strconv.Atoi(x[i])
		n, e2 := strconv.Atoi(y[i])
		c := cmp.Compare(x[i], y[i])
		if e1 == nil && e2 == nil {
			c = cmp.Compare(m, n)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// NumParams counts the numbers of the adapter.
func (a *Adapter) NumParams() (n int64) {
	for _, m := range a.Modules {
		n += int64(len(m.A.Data) + len(m.B.Data) + len(m.Magnitude))
	}
	for _, t := range a.Others {
		n += int64(len(t.Data))
	}
	return n
}

// isDoRA says that all modules have magnitudes, and reports that only some have.
func (a *Adapter) isDoRA() (bool, error) {
	n := 0
	for _, m := range a.Modules {
		if m.Magnitude != nil {
			n++
		}
	}
	if n > 0 && n < len(a.Modules) {
		return false, fmt.Errorf("%d of %d modules have magnitudes of DoRA, want all or none", n, len(a.Modules))
	}
	return n > 0, nil
}

// oneScale is the alpha or scale that most modules have, by value, and the factors of B that give each its own.
func (a *Adapter) oneScale(of func(m *Module) float64) (common float64, factors []float64) {
	count, most := map[float64]int{}, 0
	for i := range a.Modules {
		v := of(&a.Modules[i])
		if count[v]++; count[v] > most {
			common, most = v, count[v]
		}
	}
	for i := range a.Modules {
		f := 1.0
		if v := of(&a.Modules[i]); v != common && common != 0 {
			f = v / common
		}
		factors = append(factors, f)
	}
	return common, factors
}

// noteFactors says how many modules had their scale multiplied into B.
func (a *Adapter) noteFactors(factors []float64) {
	n := 0
	for _, f := range factors {
		if f != 1 {
			n++
		}
	}
	if n > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("the format has one scale for all: it is multiplied into B of %d modules", n))
	}
}

// times is m·f.
func times(m kernel.Mat, f float64) kernel.Mat {
	if f == 1 {
		return m
	}
	c := kernel.NewMat(make([]float32, len(m.Data)), m.Rows, m.Cols)
	for i, v := range m.Data {
		c.Data[i] = float32(float64(v) * f)
	}
	return c
}

// transposed is mᵀ.
func transposed(m kernel.Mat) kernel.Mat {
	t := kernel.NewMat(make([]float32, len(m.Data)), m.Cols, m.Rows)
	for i := range m.Rows {
		for j, v := range m.Row(i) {
			t.Data[j*m.Rows+i] = v
		}
	}
	return t
}
