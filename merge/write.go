package merge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
)

// write makes the output folder.
func (p *plan) write(ctx context.Context) (*Report, error) {
	r := &Report{Out: p.Out}
	err := atomicfile.WriteDir(p.Out, p.Force, func(dir string) error {
		if err := p.writeWeights(ctx, dir, r); err != nil {
			return err
		}
		if !p.AllowNothing && !slices.ContainsFunc(r.Changed, func(c Change) bool { return c.MaxDelta > 0 }) {
			return errors.New("merge: the adapter changes nothing: every delta is zero")
		}
		if err := p.copyFiles(ctx, dir, r); err != nil {
			return err
		}
		if p.Check != nil {
			var err error
			if r.Checked, err = p.Check(dir, r); err != nil {
				return err
			}
		}
		return p.writeRecord(ctx, dir, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// writeWeights writes the tensors in the order in which the base stores them.
func (p *plan) writeWeights(ctx context.Context, dir string, r *Report) error {
	var entries []checkpoint.Entry
	var done atomic.Int64
	progress := func(n int) {
		if d := done.Add(int64(n)); p.Progress != nil {
			p.Progress(d, r.Bytes)
		}
	}
	pool := &sync.Pool{New: func() any { return new(scratch) }}
	whole := &Folded{p: p, pool: sync.Pool{New: func() any { return new(scratch) }}}
	for _, info := range p.tensors() {
		if p.Pack != nil && p.Pack(info.Name) {
			list, err := p.packed(info, whole)
			if err != nil {
				return err
			}
			for _, e := range list {
				r.Bytes += sizeOf(e)
			}
			entries = append(entries, list...)
			continue
		}
		src, err := p.bytes(info)
		if err != nil {
			return err
		}
		w := &work{info: info, src: src, out: info.DType, delta: p.byTarget[info.Name]}
		if p.convert && checkpoint.IsFloat(info.DType) {
			w.out = p.dtype
		}
		e := checkpoint.Entry{Name: p.outName(info.Name), DType: w.out, Shape: info.Shape}
		e.Fill = func(to checkpoint.Section) error {
			wait := p.hash(ctx, info.Name)
			t, err := w.fill(ctx, pool, progress, to)
			if hashed := wait(); err == nil {
				err = hashed
			}
			if err == nil && w.delta != nil {
				r.Changed = append(r.Changed, w.change(t))
			}
			return err
		}
		entries = append(entries, e)
		r.Bytes += int64(info.Len()) * int64(w.out.Size())
	}
	files, err := checkpoint.WriteShards(dir, entries, checkpoint.ShardOptions{MaxShardSize: p.MaxShardSize})
	r.Untied = slices.Sorted(maps.Keys(p.origin))
	r.Files, r.Tensors = append(r.Files, files...), len(entries)
	slices.SortFunc(r.Changed, func(a, b Change) int { return strings.Compare(a.Tensor, b.Tensor) })
	return err
}

// change is the report's line about a tensor.
func (w *work) change(t tally) Change {
	c := Change{Tensor: w.info.Name, DType: w.out.String(), Shape: w.info.Shape, MaxDelta: t.max, Norm: math.Sqrt(t.norm)}
	if n := w.info.Len(); n > 0 {
		c.Share = float64(t.changed) / float64(n)
	}
	if t.norm > 0 {
		c.Lost = math.Sqrt(t.lost / t.norm)
	}
	return c
}

// folded is the content of RecordFile.
type folded struct {
	Tool    string  `json:"tool"`
	Version string  `json:"version,omitempty"`
	Formula string  `json:"formula"`
	Inputs  []Input `json:"inputs"`
	Adapter any     `json:"adapter,omitempty"`
	Result  *Report `json:"result"`
}

// writeRecord says what the output was made of.
func (p *plan) writeRecord(ctx context.Context, dir string, r *Report) error {
	base, err := p.hasher.input(ctx, p.Base.Path())
	if err != nil {
		return err
	}
	base.Unpacked = p.Unpacked
	r.Files = append(r.Files, RecordFile)
	slices.Sort(r.Files)
	result := *r
	result.Out = "" // the folder may move
	b, err := json.MarshalIndent(folded{"graft", p.Version, "base + ΔW, rounded once", []Input{base}, p.Adapter, &result}, "", "  ")
	if err != nil {
		return fmt.Errorf("merge: %s: %w", RecordFile, err)
	}
	_, err = writeFiles(ctx, dir, map[string][]byte{RecordFile: b})
	return err
}
