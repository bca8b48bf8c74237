package interchange

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// fusedAttention are modules that hold queries, keys and values one below the other. The library has an A and a B for each of these
// that is changed, all in two tensors.
var fusedAttention = []string{"c_attn", "qkv_proj", "Wqkv"}

func isFused(module string) bool {
	_, last, _ := cutLast(module)
	return slices.Contains(fusedAttention, last)
}

// readAdapters reads a LoRA of the library `adapters`.
func readAdapters(dir string, o Options) (*Adapter, error) {
	c, plain, err := hubConfig(dir)
	if err != nil {
		return nil, err
	}
	file, err := c.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := pairs{file: file}
	for _, key := range file.Names() {
		p.takeHub(key, c.LoraEnd())
	}
	a := &Adapter{}
	if a.Modules, _, err = p.modules(); err != nil || p.err() != nil {
		return nil, errors.Join(err, p.err())
	}
	if err := a.scaleHub(plain, o.Base); err != nil {
		return nil, err
	}
	if err := a.readHubHead(c, dir); err != nil {
		return nil, err
	}
	if o.BaseName == "" {
		o.BaseName = c.BaseModel
	}
	if err := a.settle(o, plain.Dropout); err != nil {
		return nil, err
	}
	if c.TaskType != "" {
		a.Settings["task_type"] = c.TaskType
	}
	return a, nil
}

// hubConfig reads the settings of a folder of the library, which must be those of a LoRA that others know.
func hubConfig(dir string) (*adapter.HubConfig, adapter.PlainLora, error) {
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		return nil, adapter.PlainLora{}, err
	}
	parsed, err := peft.ParseConfig(b, []peft.Method{adapter.Hub})
	if err != nil {
		return nil, adapter.PlainLora{}, err
	}
	c := parsed.(*adapter.HubConfig)
	if err := c.Validate(); err != nil {
		return nil, adapter.PlainLora{}, err
	}
	plain, err := c.PlainLora()
	return c, plain, err
}

// takeHub puts a tensor in its place.
func (p *pairs) takeHub(key, end string) {
	module, param, ok := strings.Cut(key, end)
	switch {
	case ok && param == "lora_A":
		p.module(module).A = p.matrix(key)
	case ok && param == "lora_B":
		p.module(module).B = p.matrix(key)
	default:
		p.errs = append(p.errs, fmt.Errorf("tensor %q is none of a LoRA, want names that end with %slora_A or %slora_B", key, end, end))
	}
}

// scaleHub gives the modules their scale, and makes one branch of those that share a projection.
func (a *Adapter) scaleHub(plain adapter.PlainLora, base *model.Config) error {
	if len(a.Modules) == 0 {
		return errors.New("no lora_A and lora_B in it")
	}
	var shares []bool
	for _, m := range []string{"q", "k", "v"} {
		shares = append(shares, slices.Contains(plain.Matrices, m))
	}
	wide := 0
	for i := range a.Modules {
		m := &a.Modules[i]
		m.Scale = float64(plain.Alpha) / float64(plain.Rank)
		if !isFused(m.Name) {
			if m.A.Rows != plain.Rank {
				return fmt.Errorf("%q: A is [%d, %d], want rank %d", m.Name, m.A.Rows, m.A.Cols, plain.Rank)
			}
			continue
		}
		if !strings.HasSuffix(m.Name, ".c_attn") && (base == nil || base.NumKeyValueHeads != base.NumAttentionHeads) {
			return fmt.Errorf("%q holds queries, keys and values in one, want a base with as many heads of each (num_key_value_heads)", m.Name)
		}
		if err := m.widen(shares, plain.Rank); err != nil {
			return err
		}
		wide++
	}
	if wide > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("branches of queries, keys and values (%s) of %d modules became one branch with zeros", strings.Join(plain.Matrices, ", "), wide))
	}
	return nil
}

// readHubHead reads the model's own head, if one was saved beside.
func (a *Adapter) readHubHead(c *adapter.HubConfig, dir string) error {
	head, err := c.OpenOwnHead(dir)
	if err != nil || head == nil {
		return err
	}
	defer head.Close()
	p := pairs{file: head}
	for _, key := range head.Names() {
		info, _ := head.Info(key)
		a.Others = append(a.Others, Tensor{Name: key, Shape: info.Shape, Data: p.floats(key)})
	}
	return p.err()
}

// hubPlaces are what the library calls projections, by the ends of their names within a layer. In a gated MLP "intermediate" is what
// writes the branch, and "output" what is gated.
var hubPlaces = []struct {
	kind string
	ends []string
}{
	{"q", []string{".query", ".q_proj", ".q_lin", ".query_proj"}},
	{"k", []string{".key", ".k_proj", ".k_lin", ".key_proj"}},
	{"v", []string{".value", ".v_proj", ".v_lin", ".value_proj"}},
	{"intermediate", []string{".intermediate.dense", ".mlp.c_fc", ".mlp.fc_in", ".fc1", ".ffn.lin1", ".mlp.down_proj"}},
	{"output", []string{".output.dense", ".mlp.c_proj", ".mlp.fc_out", ".fc2", ".ffn.lin2", ".mlp.up_proj"}},
}

// hubPlace is the layer of a module and what the library calls it there: "qkv" of all three in one; "" = it has no word for it.
func hubPlace(module string) (layer int, kind string) {
	parts := strings.Split(module, ".")
	n := len(parts) - 1
	for ; n >= 0; n-- {
		if i, err := strconv.Atoi(parts[n]); err == nil {
			layer = i
			break
		}
	}
	if n < 0 {
		return 0, ""
	}
	rest := "." + strings.Join(parts[n+1:], ".")
	if isFused(module) {
		return layer, "qkv"
	}
	for _, p := range hubPlaces {
		for _, end := range p.ends {
			if strings.HasSuffix(rest, end) && !strings.Contains(rest, "attention.output.") {
				return layer, p.kind
			}
		}
	}
	return layer, ""
}

// writeAdapters writes a folder of the library `adapters`.
func writeAdapters(dir string, a *Adapter, o Options) error {
	if o.Base == nil {
		return errors.New("the library's settings count the layers: the base's config.json is needed")
	}
	dora, err := a.isDoRA()
	if dora {
		err = errors.New("DoRA of the library scales biases, too, and leaves alpha/r out of the lengths")
	}
	d, err2 := dtypeOf(o.DType)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	plain, err := a.hubSettings(o.Base)
	if err != nil {
		return err
	}
	class := ""
	if len(o.Base.Architectures) > 0 {
		class = o.Base.Architectures[0]
	}
	c := adapter.NewPlainLora(plain, class, o.Base.ModelType, o.Base.HiddenSize)
	c.BaseModel, _ = a.Settings["base_model_name_or_path"].(string)
	if c.BaseModel == "" {
		c.BaseModel = o.BaseName
	}
	c.TaskType, _ = a.Settings["task_type"].(string)
	list, err := a.hubTensors(plain, o.Base, c.LoraEnd(), d)
	if err != nil {
		return err
	}
	head, err := a.hubHead(d)
	if err != nil {
		return err
	}
	return atomicfile.WriteDir(dir, o.Force, func(temp string) error { return c.WritePlain(temp, list, head) })
}

// hubSettings are the settings that say the adapter, which must change the same projections in every layer that it changes at all.
func (a *Adapter) hubSettings(base *model.Config) (p adapter.PlainLora, err error) {
	if base.HeadKind() == model.TargetToken {
		return p, fmt.Errorf("model_type %q has two stacks, whose layers leave_out does not tell apart", base.ModelType)
	}
	kinds := map[int][]string{} // of each layer
	var errs []error
	for i := range a.Modules {
		m := &a.Modules[i]
		layer, kind := hubPlace(m.Name)
		if kind == "" || m.Embedding || layer >= base.NumHiddenLayers {
			errs = append(errs, fmt.Errorf("%q: the library has no LoRA there: it knows queries, keys, values and two projections of plain MLPs", m.Name))
			continue
		}
		kinds[layer] = append(kinds[layer], kind)
		p.Rank = max(p.Rank, m.Rank())
	}
	if err := errors.Join(errs...); err != nil {
		return p, err
	}
	var first []string
	for l := range base.NumHiddenLayers {
		slices.Sort(kinds[l])
		switch {
		case kinds[l] == nil:
			p.LeaveOut = append(p.LeaveOut, l)
		case first == nil:
			first = kinds[l]
		case !slices.Equal(kinds[l], first):
			return p, fmt.Errorf("layer %d has LoRA on %s, a layer before on %s; the library wants the same everywhere, or none (leave_out)",
				l, strings.Join(kinds[l], ", "), strings.Join(first, ", "))
		}
	}
	if p.LeaveOut == nil {
		p.LeaveOut = []int{}
	}
	p.Matrices = a.hubMatrices(first, base)
	p.Attention, p.Intermediate, p.Output = len(p.Matrices) > 0, slices.Contains(first, "intermediate"), slices.Contains(first, "output")
	common, _ := a.oneScale(func(m *Module) float64 { return m.Scale })
	p.Alpha = max(1, int(math.Round(common*float64(p.Rank)))) // a whole number; what it lacks is multiplied into B
	p.Dropout = numberOf(a.Settings["lora_dropout"])
	return p, nil
}

// hubMatrices is attn_matrices: of what holds all three in one, those whose part of B is not all zero somewhere.
func (a *Adapter) hubMatrices(kinds []string, base *model.Config) []string {
	list := []string{}
	for i, name := range []string{"q", "k", "v"} {
		used := slices.Contains(kinds, name)
		for k := range a.Modules {
			m := &a.Modules[k]
			if lo, hi, ok := fusedPart(m, base, i); isFused(m.Name) && ok {
				used = used || slices.ContainsFunc(m.B.Data[lo*m.B.Stride:hi*m.B.Stride], func(v float32) bool { return v != 0 })
			}
		}
		if used {
			list = append(list, name)
		}
	}
	return list
}

// fusedPart are the rows of B that are part i of queries, keys and values.
func fusedPart(m *Module, base *model.Config, i int) (lo, hi int, ok bool) {
	at := 0
	for k, heads := range []int{base.NumAttentionHeads, base.NumKeyValueHeads, base.NumKeyValueHeads} {
		n := heads * base.HeadDim
		if k == i {
			lo, hi = at, at+n
		}
		at += n
	}
	return lo, hi, at == m.B.Rows
}

// numberOf is a JSON number; 0 of anything else.
func numberOf(v any) float64 {
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		return 0
	}
	return f
}

// hubTensors are the tensors of the modules, all of one rank.
func (a *Adapter) hubTensors(p adapter.PlainLora, base *model.Config, end string, d checkpoint.DType) (list []checkpoint.Entry, err error) {
	padded := 0
	factors := make([]float64, len(a.Modules))
	for i := range a.Modules {
		m := &a.Modules[i]
		if factors[i] = m.Scale * float64(p.Rank) / float64(p.Alpha); math.Abs(factors[i]-1) < 1e-12 { // the rounding of the product
			factors[i] = 1
		}
		if m.Rank() < p.Rank {
			padded++
		}
		x, y := resized(m.A, p.Rank, m.A.Cols), resized(times(m.B, factors[i]), m.B.Rows, p.Rank)
		if isFused(m.Name) {
			if x, y, err = fused(m, x, y, p, base); err != nil {
				return nil, err
			}
		}
		list = append(list, entry(m.Name+end+"lora_A", []int{x.Rows, x.Cols}, x.Data, d), entry(m.Name+end+"lora_B", []int{y.Rows, y.Cols}, y.Data, d))
	}
	a.noteFactors(factors)
	if padded > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("the library has one rank for all: %d modules got zeros up to rank %d", padded, p.Rank))
	}
	return list, nil
}

// fused are A once for each part that is changed, and the rows of B of these parts.
func fused(m *Module, a, b kernel.Mat, p adapter.PlainLora, base *model.Config) (x, y kernel.Mat, err error) {
	var as, bs []float32
	rows := 0
	for i, name := range []string{"q", "k", "v"} {
		lo, hi, ok := fusedPart(m, base, i)
		if !ok {
			return x, y, fmt.Errorf("%q: B is [%d, %d], want the rows of queries, keys and values of num_attention_heads %d and num_key_value_heads %d", m.Name, b.Rows, b.Cols, base.NumAttentionHeads, base.NumKeyValueHeads)
		}
		if !slices.Contains(p.Matrices, name) {
			continue
		}
		as, rows = append(as, a.Data...), rows+hi-lo
		for r := lo; r < hi; r++ {
			bs = append(bs, b.Row(r)...)
		}
	}
	return kernel.NewMat(as, len(as)/a.Cols, a.Cols), kernel.NewMat(bs, rows, b.Cols), nil
}

// resized is m with zeros beyond its own size.
func resized(m kernel.Mat, rows, cols int) kernel.Mat {
	out := kernel.NewMat(make([]float32, rows*cols), rows, cols)
	for i := range m.Rows {
		copy(out.Row(i), m.Row(i))
	}
	return out
}

// hubHead are the tensors of a head, which lie outside of what the modules lie in; the library keeps no others.
func (a *Adapter) hubHead(d checkpoint.DType) (list []checkpoint.Entry, err error) {
	for _, t := range a.Others {
		top, _, _ := strings.Cut(t.Name, ".")
		if slices.ContainsFunc(a.Modules, func(m Module) bool { return strings.HasPrefix(m.Name, top+".") }) {
			return nil, fmt.Errorf("tensor %q is neither of a LoRA nor of a head, and the library keeps no others", t.Name)
		}
		list = append(list, entry(t.Name, t.Shape, t.Data, d))
	}
	return list, nil
}
