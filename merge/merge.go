// Package merge writes a new checkpoint from an old one and what is to be added to it, or from several. It needs no model, only tensors:
// each is read from the mapping, computed in float32, rounded once and written, a block of rows at a time, so memory stays
// small whatever the model's size. The output folder is complete (config, tokenizer, weights, index) and appears whole or
// not at all.
//
//	report, err := merge.Fold(ctx, merge.Job{
//		Base:   base,                   // *checkpoint.Checkpoint of a folder
//		Deltas: []merge.Delta{lowRank}, // what an adapter adds, from lora
//		Out:    "models/mine",
//	})
//
// Combine makes one checkpoint of several in the same way, by a row of the table Algorithms and a Recipe; Diff compares two.
//
// Words: a target is the checkpoint's tensor that a delta ΔW is added to; what survives is the part of ΔW that rounding
// to the stored dtype leaves.
package merge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
)

// Delta is what an adapter does to one tensor. It is an Adder, a Setter or a Changer, whose methods must be safe for
// concurrent use.
type Delta interface {
	// Target is the tensor's name in the checkpoint.
	Target() string
	// Dims is the shape of the tensor as the checkpoint stores it; a vector of n is [n, 1].
	Dims() (rows, cols int)
}

// Adder is a delta that is added: rows lo to hi of ΔW to dst [hi-lo, cols].
type Adder interface {
	AddTo(lo, hi int, dst []float32)
}

// Setter is a delta that replaces: it writes rows lo to hi of the new tensor to dst [hi-lo, cols].
type Setter interface {
	SetTo(lo, hi int, dst []float32)
}

// Changer is a delta that depends on what was there: it writes rows lo to hi of the new tensor to dst [hi-lo, cols], given
// those of the base.
type Changer interface {
	Change(lo, hi int, base, dst []float32)
}

// Checker is a delta that can tell beforehand what is wrong with its numbers.
type Checker interface{ Check() error }

// Job is what to merge and where to.
type Job struct {
	Base   *checkpoint.Checkpoint
	Deltas []Delta
	Out    string // the folder to be written

	// DType is the dtype of the output's real numbers: "f32", "f16" or "bf16"; empty keeps every tensor's own.
	DType string
	// MaxShardSize is the size in bytes from which weights are split; 0 means checkpoint.DefaultShardSize.
	MaxShardSize int64
	// Force replaces an existing model folder.
	Force bool
	// AllowNothing accepts deltas that are all zero.
	AllowNothing bool
	// Ties are the weights that the model uses in two places, embedding and head. A delta for one of them unties: the output
	// has both, and config.json says so. Deltas for a weight that config.json ties and that is not named here are refused.
	Ties []Tie
	// Added are tensors that the base lacks, or has for other labels, and that deltas bring whole: the head of a task.
	Added []string
	// Name gives the name in the output of a tensor of the base: a bare model gains its prefix with a head. Nil changes none.
	Name func(string) string
	// Fields are set in config.json: what it must say for the model to be loaded with its head.
	Fields map[string]any
	// Files are written into the output beside, or instead of, those copied from the base's folder.
	Files map[string][]byte
	// Keep says which files of the base's folder are copied, of those that are no weights; nil copies all.
	Keep func(name string) bool
	// Adapter is what the record says about where the deltas came from.
	Adapter any
	// Pack tells the matrices that are written in eight bits a number, as bitsandbytes has them (checkpoint/bnb); nil means none.
	Pack func(tensor string) bool
	// Unpacked says that Base stands for packed weights, for the record.
	Unpacked *Unpacked
	// NoHash leaves the hash of the base out of the record, which takes a pass over all its bytes.
	NoHash bool
	// Version is the program's, for the record.
	Version string
	// Check, if set, looks at the finished folder before it gets its name; the record keeps what it found. Its error undoes the merge.
	Check func(dir string, r *Report) (found any, err error)
	// Progress, if set, is told how much of the weights is written. It is called from several goroutines.
	Progress func(done, total int64)
}

// Report says what was written and what survived.
type Report struct {
	Out     string   `json:"out,omitempty"`
	Bytes   int64    `json:"bytes"` // of all tensors
	Tensors int      `json:"tensors"`
	Changed []Change `json:"changed"`            // by name
	Files   []string `json:"files"`              // sorted
	Checked any      `json:"verified,omitempty"` // what Job.Check found
	Untied  []string `json:"untied,omitempty"`   // weights that the base stores as those of another
}

// Change says what became of one tensor's delta.
type Change struct {
	Tensor   string  `json:"tensor"`
	DType    string  `json:"dtype"` // as written
	Shape    []int   `json:"shape"`
	MaxDelta float64 `json:"max_delta"` // max |ΔW|
	Norm     float64 `json:"norm"`      // ‖ΔW‖
	Share    float64 `json:"share"`     // of the elements, those whose stored value changed
	Lost     float64 `json:"lost"`      // ‖rounded ΔW − ΔW‖ / ‖ΔW‖
}

// Fold adds every delta to its target.
func Fold(ctx context.Context, j Job) (*Report, error) {
	p, err := newPlan(j)
	if err != nil {
		return nil, err
	}
	return p.write(ctx)
}

// plan is a checked job.
type plan struct {
	Job
	convert  bool // to dtype
	dtype    checkpoint.DType
	byTarget map[string]Delta
	sources  []string // names of the files to copy
	config   []byte
	origin   map[string]string // of weights that the base does not store: the one that has their numbers
	hasher   *hasher
	loosen   bool // config.json must say that embedding and head differ
}

// newPlan checks all that can be checked before a byte is written, and reports it together.
func newPlan(j Job) (*plan, error) {
	p := &plan{Job: j, byTarget: map[string]Delta{}, origin: map[string]string{}, hasher: newHasher(j.Base, j.NoHash)}
	if err := p.checkFolders(); err != nil {
		return nil, err
	}
	if err := clean(j.Files); err != nil {
		return nil, err
	}
	if err := p.parseDType(); err != nil {
		return nil, err
	}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	var err error
	if p.sources, err = companions(p.Base.Folder()); p.Keep != nil {
		p.sources = slices.DeleteFunc(p.sources, func(name string) bool { return !p.Keep(name) })
	}
	return p, err
}

// prepare checks the deltas against the base and finds what they untie.
func (p *plan) prepare() (err error) {
	if p.config, err = p.Base.ReadFile("config.json"); err != nil {
		return fmt.Errorf("merge: the base has no config.json, so the output would be no model: %w", err)
	}
	tied, err := p.ties()
	if err != nil {
		return err
	}
	if len(p.Deltas) == 0 && !p.AllowNothing {
		return errors.New("merge: there is nothing to add: no deltas")
	}
	p.untie()
	var wrong []string
	for _, d := range p.Deltas {
		if err := p.checkDelta(d, tied); err != nil {
			wrong = append(wrong, err.Error())
		}
		p.byTarget[d.Target()] = d
	}
	p.spread()
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("merge: %s: %s", p.Base.Path(), strings.Join(wrong, "; "))
	}
	return nil
}

// dtypes are the values of Job.DType.
var dtypes = map[string]checkpoint.DType{"f32": checkpoint.F32, "f16": checkpoint.F16, "bf16": checkpoint.BF16}

// DTypes lists the values of Job.DType but "".
func DTypes() []string { return slices.Sorted(maps.Keys(dtypes)) }

func (p *plan) parseDType() error {
	if p.DType == "" {
		return nil
	}
	var ok bool
	if p.dtype, ok = dtypes[p.DType]; !ok {
		return fmt.Errorf("merge: dtype is %q, want one of %s", p.DType, strings.Join(DTypes(), ", "))
	}
	p.convert = true
	return nil
}

// checkDelta compares a delta with its target.
func (p *plan) checkDelta(d Delta, tied map[string]string) error {
	name := d.Target()
	rows, cols := d.Dims()
	if why, ok := tied[name]; ok && !p.named(name) {
		return fmt.Errorf("%q is input embedding and head at once (%s), so changing it would change both", name, why)
	}
	if _, ok := p.byTarget[name]; ok {
		return fmt.Errorf("%q is changed twice", name)
	}
	info, ok := p.Base.Info(p.from(name))
	if _, whole := d.(Setter); whole && slices.Contains(p.Added, name) {
		info, ok = p.added(d), true
	}
	absent, explains := d.(interface{ Absent() string })
	switch {
	case !ok && explains:
		return fmt.Errorf("no tensor %q: %s", name, absent.Absent())
	case !ok:
		return fmt.Errorf("no tensor %q, want one of [%d, %d]", name, rows, cols)
	case !fits(info.Shape, rows, cols):
		return fmt.Errorf("tensor %q is %v, but its delta is [%d, %d]", name, info.Shape, rows, cols)
	case info.DType != checkpoint.F32 && info.DType != checkpoint.F16 && info.DType != checkpoint.BF16:
		return fmt.Errorf("tensor %q is %s, want F32, F16 or BF16", name, info.DType)
	}
	if is[Adder](d)+is[Setter](d)+is[Changer](d) != 1 {
		panic(fmt.Sprintf("merge: %T is not one of Adder, Setter, Changer", d))
	}
	if c, ok := d.(Checker); ok {
		if err := c.Check(); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// is counts 1 if the delta has the methods of T.
func is[T any](d Delta) int {
	if _, ok := d.(T); ok {
		return 1
	}
	return 0
}

// fits tells whether a tensor is the matrix [rows, cols], or the vector [rows] if cols is 1.
func fits(shape []int, rows, cols int) bool {
	return slices.Equal(shape, []int{rows, cols}) || cols == 1 && slices.Equal(shape, []int{rows})
}
