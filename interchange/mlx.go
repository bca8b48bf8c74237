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
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// mlxTensors is the file of mlx-lm's tensors; its config has PEFT's name.
const mlxTensors = "adapters.safetensors"

// mlxConfig is what mlx-lm reads of adapter_config.json.
type mlxConfig struct {
	FineTuneType string  `json:"fine_tune_type"` // "lora", "dora" or "full"; absent = lora
	Model        *string `json:"model,omitempty"`
	NumLayers    int     `json:"num_layers"` // from the last one; -1 = all
	Parameters   struct {
		Rank    int      `json:"rank"`
		Scale   *float64 `json:"scale"`
		Dropout float64  `json:"dropout"`
		Keys    []string `json:"keys,omitempty"`
	} `json:"lora_parameters"`
}

func isMLX(path string) bool {
	o := configOf(path)
	return o["peft_type"] == nil && (o["lora_parameters"] != nil || o["fine_tune_type"] != nil)
}

// mlxName is what mlx-lm calls a module: as Hugging Face does, but for GPT-2.
func mlxName(module string) (string, error) {
	if strings.HasPrefix(module, "model.") || module == "lm_head" {
		return module, nil
	}
	if rest, ok := strings.CutPrefix(module, "transformer."); ok && (storedInOut(module) || rest == "wte") {
		return "model." + rest, nil
	}
	return "", fmt.Errorf("%q has no name in mlx-lm that is known", module)
}

// fromMLX undoes mlxName.
func fromMLX(name string) string {
	if rest, ok := strings.CutPrefix(name, "model."); ok && (storedInOut(name) || rest == "wte") {
		return "transformer." + rest
	}
	return name
}

func writeMLX(dir string, a *Adapter, o Options) error {
	dora, err := a.isDoRA()
	d, err2 := dtypeOf(o.DType)
	if err := errors.Join(err, err2, a.withoutOthers()); err != nil {
		return err
	}
	scale, factors := a.oneScale(func(m *Module) float64 { return m.Scale })
	a.noteFactors(factors)
	c := mlxConfig{FineTuneType: "lora", NumLayers: -1}
	if dora {
		c.FineTuneType = "dora"
	}
	if base := a.text("base_model_name_or_path"); base != "" {
		c.Model = &base
	}
	for i := range a.Modules {
		c.Parameters.Rank = max(c.Parameters.Rank, a.Modules[i].Rank())
	}
	c.Parameters.Scale = &scale
	if v, ok := a.Settings["lora_dropout"].(json.Number); ok {
		c.Parameters.Dropout, _ = v.Float64()
	}
	var list []checkpoint.Entry
	var errs []error
	for i := range a.Modules {
		m := &a.Modules[i]
		name, err := mlxName(m.Name)
		errs = append(errs, err, m.checkMLX(o.Base))
		key := name
		if _, path, ok := splitLayer(name); ok {
			key = path
		}
		if !slices.Contains(c.Parameters.Keys, key) {
			c.Parameters.Keys = append(c.Parameters.Keys, key)
		}
		list = append(list, m.mlxEntries(name, c.Parameters.Rank, factors[i], d)...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	config, err := json.MarshalIndent(c, "", "    ")
	if err != nil {
		return err
	}
	meta := map[string]string{"format": "mlx"}
	if a.BaseHash != "" {
		meta[peft.BaseKey] = a.BaseHash
	}
	return atomicfile.WriteDir(dir, o.Force, func(temp string) error {
		return errors.Join(checkpoint.Write(filepath.Join(temp, mlxTensors), list, meta), atomicfile.WriteBytes(filepath.Join(temp, peft.ConfigFile), config))
	})
}

// checkMLX reports what mlx-lm would compute otherwise. Its DoRA of an embedding has a length for each token, PEFT's one for each
// dimension; and a LoRA on an embedding changes the head, too, where these are one tensor.
func (m *Module) checkMLX(base *model.Config) error {
	if m.Embedding && m.Magnitude != nil {
		return fmt.Errorf("%q: DoRA of an embedding is another thing in mlx-lm", m.Name)
	}
	if base != nil && base.TieWordEmbeddings && (m.Embedding || m.Name == "lm_head") {
		return fmt.Errorf("%q: embedding and head of the base are one tensor, of which mlx-lm cannot adapt one end", m.Name)
	}
	return nil
}

// mlxEntries are the transposed factors, filled up with zeros to the one rank that the format has.
func (m *Module) mlxEntries(name string, rank int, factor float64, d checkpoint.DType) []checkpoint.Entry {
	a := kernel.NewMat(make([]float32, rank*m.A.Cols), rank, m.A.Cols)
	copy(a.Data, m.A.Data)
	b := kernel.NewMat(make([]float32, m.B.Rows*rank), m.B.Rows, rank)
	from := times(m.B, factor)
	for i := range b.Rows {
		copy(b.Row(i), from.Row(i))
	}
	a, b = transposed(a), transposed(b) // [r, in] -> [in, r], [out, r] -> [r, out]
	list := []checkpoint.Entry{entry(name+".lora_a", []int{a.Rows, a.Cols}, a.Data, d), entry(name+".lora_b", []int{b.Rows, b.Cols}, b.Data, d)}
	if m.Magnitude != nil {
		list = append(list, entry(name+".m", []int{len(m.Magnitude)}, m.Magnitude, d))
	}
	return list
}

func readMLX(dir string, o Options) (*Adapter, error) {
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		return nil, err
	}
	var c mlxConfig
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s: lora_parameters are not mlx-lm's: %w", peft.ConfigFile, jsonKind(err))
	}
	if c.FineTuneType == "full" {
		return nil, errors.New("fine_tune_type is \"full\": it holds whole weights, not an adapter")
	}
	if c.Parameters.Scale == nil {
		return nil, fmt.Errorf("%s: lora_parameters has no scale", peft.ConfigFile)
	}
	file, err := checkpoint.OpenFile(filepath.Join(dir, mlxTensors))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := pairs{file: file}
	for _, key := range file.Names() {
		p.takeMLX(key)
	}
	a := &Adapter{BaseHash: file.Metadata()[peft.BaseKey]}
	if a.Modules, a.Others, err = p.modules(); err != nil || p.err() != nil {
		return nil, errors.Join(err, p.err())
	}
	for i := range a.Modules {
		a.Modules[i].Scale = *c.Parameters.Scale
	}
	if o.BaseName == "" && c.Model != nil {
		o.BaseName = *c.Model
	}
	return a, a.settle(o, c.Parameters.Dropout)
}

// jsonKind keeps Go's types out of messages.
func jsonKind(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("%s is a JSON %s", kind.Field, kind.Value)
	}
	return err
}

// takeMLX puts a tensor of mlx-lm's in its place.
func (p *pairs) takeMLX(key string) {
	module, param, _ := cutLast(key)
	switch param {
	case "lora_a", "lora_b":
		m := p.module(fromMLX(module))
		m.Embedding = isEmbedding(m.Name)
		x := p.matrix(key)
		if x.Data == nil {
			return
		}
		if x = transposed(x); param == "lora_a" {
			m.A = x
		} else {
			m.B = x
		}
	case "m":
		p.module(fromMLX(module)).Magnitude = p.floats(key)
	default:
		p.errs = append(p.errs, fmt.Errorf("tensor %q is no lora_a, lora_b or m", key))
	}
}

// isEmbedding tells by its name, where a format does not say, that a module is an embedding.
func isEmbedding(module string) bool {
	_, last, _ := cutLast(module)
	return slices.Contains([]string{"embed_tokens", "wte", "word_embeddings", "tok_embeddings"}, last)
}
