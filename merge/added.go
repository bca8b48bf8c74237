package merge

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/graft-ml/graft/checkpoint"
)

// isAdded says that a delta brings the tensor whole.
func (p *plan) isAdded(name string) bool {
	return slices.Contains(p.Added, name) && p.byTarget[name] != nil
}

// added describes a tensor that a delta brings: in the dtype of the base's first real numbers.
func (p *plan) added(d Delta) checkpoint.Info {
	rows, cols := d.Dims()
	info := checkpoint.Info{Name: d.Target(), DType: checkpoint.F32, Shape: []int{rows, cols}}
	if w, ok := d.(*Whole); ok && w.Vector {
		info.Shape = []int{rows}
	}
	for _, i := range p.Base.Stored() {
		if checkpoint.IsFloat(i.DType) {
			info.DType = i.DType
			break
		}
	}
	return info
}

// bytes are what a tensor of the output begins as; one that is added begins as zeros.
func (p *plan) bytes(info checkpoint.Info) ([]byte, error) {
	if p.isAdded(info.Name) {
		return make([]byte, info.Len()*int(info.DType.Size())), nil
	}
	return p.Base.Bytes(p.from(info.Name))
}

// hash begins to hash the tensor of the base that one of the output is made of, if there is one; the function waits for the end.
func (p *plan) hash(ctx context.Context, name string) (wait func() error) {
	if p.isAdded(name) {
		return func() error { return nil }
	}
	return p.hasher.tensor(ctx, p.from(name))
}

// outName is the name of a tensor in the output.
func (p *plan) outName(name string) string {
	if p.Name == nil {
		return name
	}
	return p.Name(name)
}

// setFields sets Job.Fields in a config.json.
func (p *plan) setFields(config []byte) ([]byte, error) {
	for _, key := range slices.Sorted(maps.Keys(p.Fields)) {
		value, err := json.Marshal(p.Fields[key])
		if err != nil {
			return nil, fmt.Errorf("merge: config.json: %s: %w", key, err)
		}
		config = checkpoint.SetConfig(config, key, string(value))
	}
	return config, nil
}
