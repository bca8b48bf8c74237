package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// TokenIndices are the rows of embeddings that trainable_token_indices names: of the input embedding, or by the ends of names
// of modules. The zero value is null.
type TokenIndices struct {
	List     []int
	ByModule map[string][]int // if not nil, List is
}

// IsNull says that nothing was named.
func (t TokenIndices) IsNull() bool { return t.List == nil && t.ByModule == nil }

// UnmarshalJSON implements json.Unmarshaler.
func (t *TokenIndices) UnmarshalJSON(b []byte) error {
	*t = TokenIndices{}
	if string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, &t.List) == nil {
		return nil
	}
	t.List = nil
	return json.Unmarshal(b, &t.ByModule)
}

// Value is the JSON value; unlike names, indices keep their order, which is that of the rows in the file.
func (t TokenIndices) Value() any {
	ints := func(l []int) any {
		out := make([]any, len(l))
		for i := range l {
			out[i] = l[i]
		}
		return out
	}
	switch {
	case t.ByModule != nil:
		m := map[string]any{}
		for name, l := range t.ByModule {
			m[name] = ints(l)
		}
		return m
	case t.List != nil:
		return ints(t.List)
	}
	return nil
}

// lists yields the lists with the key that errors call them by.
func (t TokenIndices) lists() iter.Seq2[string, []int] {
	return func(yield func(string, []int) bool) {
		if t.List != nil && !yield("trainable_token_indices", t.List) {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(t.ByModule)) {
			if !yield(fmt.Sprintf("trainable_token_indices %q", name), t.ByModule[name]) {
				return
			}
		}
	}
}

func (t TokenIndices) validate() error {
	var errs []error
	for key, list := range t.lists() {
		seen := map[int]bool{}
		if len(list) == 0 {
			errs = append(errs, fmt.Errorf("peft: %s is empty, want ids of tokens", key))
		}
		for _, id := range list {
			if id < 0 || seen[id] {
				errs = append(errs, fmt.Errorf("peft: %s has %d, want every id once and none below 0", key, id))
			}
			seen[id] = true
		}
	}
	return errors.Join(errs...)
}

// tokenPlan is one slot with its rows.
type tokenPlan struct {
	slot *layer.Slot
	ids  []int
}

// trainTokens plans the rows. A head that shares the embedding's weight follows it, unless rows of its own are named.
func (b Beside) trainTokens(c *Companions, m layer.Model, targets []*layer.Slot) error {
	plans, err := b.TokenIndices.plan(m)
	if err != nil {
		return err
	}
	own := map[*layer.Slot]bool{}
	for _, p := range plans {
		own[p.slot] = true
	}
	var errs []error
	for _, p := range plans {
		rows := p.slot.Base.W.Rows
		for _, id := range p.ids {
			if id >= rows {
				errs = append(errs, fmt.Errorf("peft: trainable_token_indices has %d, want below %d, the rows of %q", id, rows, p.slot.Name))
			}
		}
		if slices.Contains(targets, p.slot) || c.saved[p.slot] {
			errs = append(errs, fmt.Errorf("peft: trainable_token_indices means rows of %q, which target_modules or modules_to_save train, too; want one of them", p.slot.Name))
		}
		x := &tokenRows{slot: p.slot, ids: p.ids}
		if t := twin(m, p.slot); t != nil && !own[t] && !c.saved[t] && !slices.Contains(targets, t) {
			x.twin = t
		}
		c.list = append(c.list, x)
	}
	return errors.Join(errs...)
}

// plan finds the slots. Where embedding and head share a weight and both are named with the same rows, the embedding stands for
// both.
func (t TokenIndices) plan(m layer.Model) (plans []tokenPlan, err error) {
	for slot := range m.Slots() {
		ids := t.List
		if t.List == nil || slot.Kind != layer.Embedding {
			if ids, err = t.of(slot); err != nil {
				return nil, err
			}
		}
		if ids == nil {
			continue
		}
		other := twin(m, slot)
		if slices.ContainsFunc(plans, func(p tokenPlan) bool { return p.slot == other && slices.Equal(p.ids, ids) }) {
			continue
		}
		plans = append(plans, tokenPlan{slot, ids})
		if t.List != nil {
			return plans, nil // the input embedding comes first
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.ByModule)) {
		if !slices.ContainsFunc(slices.Collect(m.Slots()), func(s *layer.Slot) bool { return strings.HasSuffix(s.Name, name) }) {
			return nil, fmt.Errorf("peft: trainable_token_indices: %q matches no module%s", name, hint([]string{name}, m))
		}
	}
	if t.List != nil && len(plans) == 0 {
		return nil, errors.New("peft: trainable_token_indices: the model has no embedding")
	}
	return plans, nil
}

// of are the rows that a table names for a slot.
func (t TokenIndices) of(slot *layer.Slot) (ids []int, err error) {
	for _, name := range slices.Sorted(maps.Keys(t.ByModule)) {
		if !strings.HasSuffix(slot.Name, name) {
			continue
		}
		if slot.Base == nil || slot.Base.Transposed {
			return nil, fmt.Errorf("peft: trainable_token_indices: %q is %q, which has no rows of tokens", name, slot.Name)
		}
		if ids != nil && !slices.Equal(ids, t.ByModule[name]) {
			return nil, fmt.Errorf("peft: trainable_token_indices names %q twice with other tokens", slot.Name)
		}
		ids = t.ByModule[name]
	}
	return ids, nil
}

// tokenRows replaces some rows of an embedding, and of a head that shares its weight, by trained ones. PEFT calls them a delta,
// but they are the rows themselves.
type tokenRows struct {
	slot, twin *layer.Slot
	ids        []int

	rows   *nn.Param // [len(ids), dim]
	at     map[int32]int
	before [2]holding
}

func (x *tokenRows) attach() {
	w := x.slot.Base.W
	data := make([]float32, len(x.ids)*w.Cols)
	x.at = map[int32]int{}
	for k, id := range x.ids {
		w.Row(data[k*w.Cols:(k+1)*w.Cols], id)
		x.at[int32(id)] = k
	}
	x.rows = op.NewParam(data, len(x.ids), w.Cols)
	x.before[0] = held(x.slot)
	x.wrap(x.slot)
	if x.twin != nil {
		x.before[1] = held(x.twin)
		x.wrap(x.twin)
	}
}

func (x *tokenRows) wrap(s *layer.Slot) {
	if s.Kind == layer.Embedding {
		s.Lookup = &tokenLookup{Lookup: s.Lookup, x: x}
	} else {
		s.Projection = &tokenHead{Projection: s.Projection, x: x}
	}
}

func (x *tokenRows) detach() {
	x.before[0].restore(x.slot)
	if x.twin != nil {
		x.before[1].restore(x.twin)
	}
}

func (x *tokenRows) own() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) { yield("token_adapter.trainable_tokens_delta", x.rows) }
}

func (x *tokenRows) params() iter.Seq2[string, *nn.Param] {
	return under(Prefix+x.slot.Name+".", x.own())
}

func (x *tokenRows) deltas() []merge.Delta {
	w := x.slot.Base.W
	return []merge.Delta{&merge.Rows{Tensor: x.slot.Tensor("weight"), Rows: w.Rows, Cols: w.Cols, IDs: x.ids, Data: op.Data(x.rows), BothEnds: x.twin != nil}}
}

func (x *tokenRows) extras() []Extra { return nil }

// TiedTokens are the second names of trained rows, those of heads that follow, as TRAINABLE_TOKENS alone stores them.
func (c *Companions) TiedTokens() (list []Extra) {
	for _, y := range c.list {
		if x, ok := y.(*tokenRows); ok && x.twin != nil {
			list = append(list, Extra{Name: Prefix + x.twin.Name + ".trainable_tokens_delta", Of: x.slot.Name, DType: checkpoint.F32,
				Shape: op.FileShape(x.rows), Row: rowsOf(op.Of(x.rows).View()), Written: true})
		}
	}
	return list
}

func (x *tokenRows) idle() bool {
	w, m := x.slot.Base.W, op.Of(x.rows).View()
	row := make([]float32, w.Cols)
	for k, id := range x.ids {
		if w.Row(row, id); !slices.Equal(row, m.Row(k)) {
			return false
		}
	}
	return true
}

// tokenLookup is an embedding with trained rows.
type tokenLookup struct {
	op.Lookup
	x *tokenRows
}

// Look implements op.Lookup.
func (l *tokenLookup) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	l.Lookup.Look(p, y, ids)
	rows := op.Of(l.x.rows).View()
	for t, id := range ids {
		if k, ok := l.x.at[id]; ok {
			copy(y.Row(t), rows.Row(k))
		}
	}
}

// LookBackward implements op.Lookup: a trained row gains the gradients of the places where its token is, in their order.
func (l *tokenLookup) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {
	l.Lookup.LookBackward(p, dy, ids)
	g := kernel.NewMat(op.GradOf(l.x.rows), len(l.x.ids), dy.Cols)
	for t, id := range ids {
		if k, ok := l.x.at[id]; ok {
			kernel.Add(g.Row(k), dy.Row(t))
		}
	}
}

// Params implements op.Lookup.
func (l *tokenLookup) Params() iter.Seq2[string, *nn.Param] { return l.x.own() }

// tokenHead is a head whose scores of some tokens come from trained rows.
type tokenHead struct {
	op.Projection
	x *tokenRows
}

// Forward implements op.Projection: y = base(x), and y[t, id] = x[t]·row of id.
func (h *tokenHead) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	saved := h.Projection.Forward(p, y, x)
	rows := op.Of(h.x.rows).View()
	s := kernel.NewMat(p.Arena.Get(x.Rows*rows.Rows), x.Rows, rows.Rows)
	defer p.Arena.Put(s.Data)
	kernel.MatMul(s, x.Mat, rows, kernel.MatMulOpts{TransB: true})
	for t := range x.Rows {
		for k, id := range h.x.ids {
			y.Row(t)[id] = s.Row(t)[k]
		}
	}
	return saved
}

// Backward implements op.Projection: the columns of trained rows give their gradient to these, the others to the base.
func (h *tokenHead) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	rows := op.Of(h.x.rows).View()
	s := kernel.NewMat(p.Arena.Get(dy.Rows*rows.Rows), dy.Rows, rows.Rows)
	defer p.Arena.Put(s.Data)
	move := func(take bool) {
		for t := range dy.Rows {
			for k, id := range h.x.ids {
				if take {
					s.Row(t)[k], dy.Row(t)[id] = dy.Row(t)[id], 0
				} else {
					dy.Row(t)[id] = s.Row(t)[k]
				}
			}
		}
	}
	move(true)
	h.Projection.Backward(p, dx, dy, x, saved)
	kernel.MatMul(kernel.NewMat(op.GradOf(h.x.rows), rows.Rows, rows.Cols), s, x.Mat, kernel.MatMulOpts{TransA: true, Add: true})
	if dx.Rows > 0 {
		kernel.MatMul(dx, s, rows, kernel.MatMulOpts{Add: true})
	}
	move(false)
}

// Params implements op.Projection.
func (h *tokenHead) Params() iter.Seq2[string, *nn.Param] { return h.x.own() }
