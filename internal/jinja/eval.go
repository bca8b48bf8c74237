package jinja

import (
	"errors"
	"fmt"
	"slices"
)

// expr is an expression.
type expr interface {
	eval(ev *evaluator) (any, error)
}

type (
	constExpr struct{ v any }
	nameExpr  struct{ name string }
	listExpr  struct {
		items []expr
		tuple bool
	}
	dictExpr struct{ keys, values []expr }
	attrExpr struct {
		of   expr
		name string
	}
	itemExpr  struct{ of, key expr }
	sliceExpr struct {
		of    expr
		parts [3]expr // start, stop, step; nil where absent
	}
	negExpr   struct{ e expr }
	notExpr   struct{ e expr }
	logicExpr struct {
		left, right expr
		or          bool
	}
	condExpr   struct{ yes, cond, no expr }
	binaryExpr struct {
		op          string
		left, right expr
	}
	compareExpr struct {
		first expr
		ops   []string
		rest  []expr
	}
	callExpr struct {
		f              expr
		args           []expr
		names          []string
		values         []expr
		star, starStar expr
		line           int
	}
	filterExpr struct {
		e    expr // nil: the text of the block
		name string
		call *callExpr // arguments, or nil
		line int
	}
	testExpr struct {
		e    expr
		name string
		not  bool
		args []expr
		line int
	}
)

func (x *constExpr) eval(*evaluator) (any, error) { return x.v, nil }

func (x *nameExpr) eval(ev *evaluator) (any, error) { return ev.lookup(x.name), nil }

func (x *listExpr) eval(ev *evaluator) (any, error) {
	l := &List{tuple: x.tuple, Items: make([]any, 0, len(x.items))}
	for _, e := range x.items {
		v, err := e.eval(ev)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, v)
	}
	return ev.admit(l)
}

func (x *dictExpr) eval(ev *evaluator) (any, error) {
	d := newDict()
	for i := range x.keys {
		k, err := x.keys[i].eval(ev)
		if err != nil {
			return nil, err
		}
		v, err := x.values[i].eval(ev)
		if err != nil {
			return nil, err
		}
		if err := d.set(k, v); err != nil {
			return nil, err
		}
	}
	return ev.admit(d)
}

func (x *attrExpr) eval(ev *evaluator) (any, error) {
	of, err := x.of.eval(ev)
	if err != nil {
		return nil, err
	}
	// A method may read all of the value.
	if err := ev.spend(width(of)); err != nil {
		return nil, err
	}
	return attribute(of, x.name)
}

// attribute is v.name: methods come before keys, as in Python.
func attribute(v any, name string) (any, error) {
	switch v := v.(type) {
	case Undefined:
		return nil, v.err()
	case *loop:
		return v.attribute(name), nil
	case *namespace:
		if x, ok := v.get(name); ok {
			return x, nil
		}
	case *cycler:
		return v.attribute(name), nil
	case *List:
		if i := slices.Index(v.names, name); i >= 0 {
			return v.Items[i], nil
		}
	}
	if m := method(v, name); m != nil {
		return m, nil
	}
	if d, ok := v.(*Dict); ok {
		if x, ok := d.get(name); ok {
			return x, nil
		}
	}
	what := fmt.Sprintf("'%s object'", typeName(v))
	if v == nil {
		what = "'None'"
	}
	return Undefined{fmt.Sprintf("%s has no attribute '%s'", what, name)}, nil
}

func (x *itemExpr) eval(ev *evaluator) (any, error) {
	of, err := x.of.eval(ev)
	if err != nil {
		return nil, err
	}
	key, err := x.key.eval(ev)
	if err != nil {
		return nil, err
	}
	if s, ok := of.(string); ok {
		if err := ev.spend(len(s) / 4); err != nil {
			return nil, err
		}
	}
	return item(of, key)
}

// item is v[key]; where there is no such item, a string also finds an attribute.
func item(v, key any) (any, error) {
	if u, ok := v.(Undefined); ok {
		return nil, u.err()
	}
	if d, ok := v.(*Dict); ok {
		if x, ok := d.get(key); ok {
			return x, nil
		}
	}
	if _, i, isInt, ok := number(key); ok && isInt {
		switch v := v.(type) {
		case *List:
			if i < 0 {
				i += int64(len(v.Items))
			}
			if i >= 0 && i < int64(len(v.Items)) {
				return v.Items[i], nil
			}
		case string:
			r := []rune(v)
			if i < 0 {
				i += int64(len(r))
			}
			if i >= 0 && i < int64(len(r)) {
				return string(r[i]), nil
			}
		}
		return Undefined{fmt.Sprintf("%s object has no element %d", typeName(v), i)}, nil
	}
	if s, ok := key.(string); ok {
		if _, isDict := v.(*Dict); !isDict || method(v, s) != nil {
			return attribute(v, s)
		}
		return Undefined{fmt.Sprintf("'dict object' has no attribute '%s'", s)}, nil
	}
	return Undefined{fmt.Sprintf("%s object has no element %s", typeName(v), repr(key))}, nil
}

func (x *sliceExpr) eval(ev *evaluator) (any, error) {
	of, err := x.of.eval(ev)
	if err != nil {
		return nil, err
	}
	var at [3]*int64
	for k, e := range x.parts {
		if e == nil {
			continue
		}
		v, err := e.eval(ev)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		_, i, isInt, ok := number(v)
		if !ok || !isInt {
			return nil, fmt.Errorf("slice indices must be integers or None, not %s", typeName(v))
		}
		at[k] = &i
	}
	if err := ev.spend(width(of)); err != nil {
		return nil, err
	}
	switch v := of.(type) {
	case *List:
		picked, err := slice(v.Items, at)
		return &List{Items: picked, tuple: v.tuple}, err
	case string:
		picked, err := slice([]rune(v), at)
		return string(picked), err
	case Undefined:
		return nil, v.err()
	}
	return Undefined{fmt.Sprintf("'%s' object is not subscriptable", typeName(of))}, nil
}

// slice is s[start:stop:step].
func slice[E any](s []E, at [3]*int64) ([]E, error) {
	n, step := int64(len(s)), int64(1)
	if at[2] != nil {
		step = *at[2]
	}
	if step == 0 {
		return nil, errors.New("slice step cannot be zero")
	}
	low, high := int64(0), n // where a bound may lie
	if step < 0 {
		low, high = -1, n-1
	}
	bound := func(p *int64, otherwise int64) int64 {
		if p == nil {
			return otherwise
		}
		i := *p
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	start, stop := bound(at[0], low), bound(at[1], high)
	if step < 0 {
		start, stop = bound(at[0], high), bound(at[1], low)
	}
	out := []E{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		out = append(out, s[i])
		if step > n || step < -n {
			break
		}
	}
	return out, nil
}

func (x *negExpr) eval(ev *evaluator) (any, error) {
	v, err := x.e.eval(ev)
	if err != nil {
		return nil, err
	}
	f, i, isInt, ok := number(v)
	switch {
	case !ok:
		return nil, typeError("bad operand type for unary -: '%s'", v)
	case isInt:
		return -i, nil
	}
	return -f, nil
}

// typeError says what is wrong with the type of a value; for undefined ones, why they are.
func typeError(format string, v any) error {
	if u, ok := v.(Undefined); ok {
		return u.err()
	}
	return fmt.Errorf(format, typeName(v))
}

func (x *notExpr) eval(ev *evaluator) (any, error) {
	v, err := x.e.eval(ev)
	return !truth(v), err
}

func (x *logicExpr) eval(ev *evaluator) (any, error) {
	v, err := x.left.eval(ev)
	if err != nil || truth(v) == x.or {
		return v, err
	}
	return x.right.eval(ev)
}

func (x *condExpr) eval(ev *evaluator) (any, error) {
	c, err := x.cond.eval(ev)
	switch {
	case err != nil:
		return nil, err
	case truth(c):
		return x.yes.eval(ev)
	case x.no != nil:
		return x.no.eval(ev)
	}
	return Undefined{"the inline if-expression evaluated to false and no else section was defined"}, nil
}

func (x *compareExpr) eval(ev *evaluator) (any, error) {
	left, err := x.first.eval(ev)
	if err != nil {
		return nil, err
	}
	for i, op := range x.ops {
		right, err := x.rest[i].eval(ev)
		if err != nil {
			return nil, err
		}
		ok, err := ev.holds(op, left, right)
		if err != nil || !ok {
			return false, err
		}
		left = right
	}
	return true, nil
}

func (x *binaryExpr) eval(ev *evaluator) (any, error) {
	a, err := x.left.eval(ev)
	if err != nil {
		return nil, err
	}
	b, err := x.right.eval(ev)
	if err != nil {
		return nil, err
	}
	return ev.arithmetic(x.op, a, b)
}

func (x *filterExpr) eval(ev *evaluator) (any, error) {
	var v any = ev.block
	if x.e != nil {
		var err error
		if v, err = x.e.eval(ev); err != nil {
			return nil, err
		}
	}
	f, ok := ev.filters[x.name]
	if !ok {
		return nil, &Error{x.line, fmt.Errorf("no filter named %q", x.name)}
	}
	a, err := x.call.arguments(ev, v)
	if err != nil {
		return nil, err
	}
	out, err := ev.filter(f, a)
	return out, at(x.line, err)
}

// filter applies a filter. Filters may read all of the value in front of the bar.
func (ev *evaluator) filter(f filterFunc, a *args) (any, error) {
	if err := ev.spend(width(a.pos[0])); err != nil {
		return nil, err
	}
	v, err := f(ev, a)
	if err != nil {
		return nil, err
	}
	return ev.admit(v)
}

func (x *testExpr) eval(ev *evaluator) (any, error) {
	v, err := x.e.eval(ev)
	if err != nil {
		return nil, err
	}
	a := []any{}
	for _, e := range x.args {
		y, err := e.eval(ev)
		if err != nil {
			return nil, err
		}
		a = append(a, y)
	}
	ok, err := ev.test(x.name, v, a)
	return ok != x.not, at(x.line, err)
}
