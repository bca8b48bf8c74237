package interchange

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
)

// sharesOf are the enabled thirds of a MergedLinear by their number: the files do not say which, but microsoft/LoRA's own models
// adapt queries and values.
var sharesOf = map[int][]bool{2: {true, false, true}, 3: {true, true, true}}

// isLoralib tells a state dict by its names: PEFT's begin or end otherwise.
func isLoralib(path string) bool {
	if st, err := os.Stat(path); err != nil || st.IsDir() || isGGUF(path) {
		return false
	}
	return true // whatever it is, the error about it is the most telling
}

func readLoralib(path string, o Options) (*Adapter, error) {
	file, err := checkpoint.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := pairs{file: file}
	for _, key := range file.Names() {
		p.takeLoralib(key)
	}
	a := &Adapter{}
	if a.Modules, a.Others, err = p.modules(); err != nil || p.err() != nil {
		return nil, errors.Join(err, p.err())
	}
	if len(a.Modules) == 0 {
		return nil, fmt.Errorf("none of its %d tensors is a lora_A or lora_B", len(file.Names()))
	}
	if o.Alpha == 0 {
		return nil, errors.New("a state dict of microsoft/LoRA does not say lora_alpha: want it")
	}
	merged := 0
	for i := range a.Modules {
		m := &a.Modules[i]
		rank := m.B.Cols
		m.Scale = o.Alpha / float64(rank)
		if g := m.A.Rows / rank; g > 1 {
			shares, ok := sharesOf[g]
			if !ok {
				return nil, fmt.Errorf("%q: A is [%d, %d] and B [%d, %d]: %d shares of the outputs are not known", m.Name, m.A.Rows, m.A.Cols, m.B.Rows, m.B.Cols, g)
			}
			if err := m.widen(shares, rank); err != nil {
				return nil, err
			}
			merged++
		}
	}
	if merged > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("%d modules are MergedLinear: branches of queries and values became one branch with zeros", merged))
	}
	return a, a.settle(o, 0)
}

// takeLoralib puts a tensor in its place.
func (p *pairs) takeLoralib(key string) {
	module, param, _ := cutLast(strings.TrimSuffix(key, ".weight"))
	switch param {
	case "lora_A", "lora_B":
		m := p.module(module)
		m.Embedding = isEmbedding(module)
		if x := p.matrix(key); param == "lora_A" {
			m.A = x
		} else {
			m.B = x
		}
	default:
		info, _ := p.file.Info(key)
		p.others = append(p.others, Tensor{Name: key, Shape: info.Shape, Data: p.floats(key)})
	}
}

func writeLoralib(path string, a *Adapter, o Options) error {
	dora, err := a.isDoRA()
	if dora {
		err = errors.New("loralib has no DoRA")
	}
	d, err2 := dtypeOf(o.DType)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	rank := a.Modules[0].Rank()
	alpha, factors := a.oneScale(alphaOf)
	a.noteFactors(factors)
	var list []checkpoint.Entry
	for i := range a.Modules {
		m := &a.Modules[i]
		if m.Rank() != rank {
			return fmt.Errorf("%q has rank %d and %q rank %d, want one", m.Name, m.Rank(), a.Modules[0].Name, rank)
		}
		b := times(m.B, factors[i])
		list = append(list, entry(m.Name+".lora_A", []int{m.A.Rows, m.A.Cols}, m.A.Data, d), entry(m.Name+".lora_B", []int{b.Rows, b.Cols}, b.Data, d))
	}
	for _, t := range a.Others {
		list = append(list, entry(t.Name, t.Shape, t.Data, d))
	}
	a.Notes = append(a.Notes, fmt.Sprintf("the file does not say it: r is %d and lora_alpha %g", rank, alpha))
	return checkpoint.WriteTorch(path, list)
}
