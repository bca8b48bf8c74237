package jinja

import (
	"errors"
	"fmt"
	"math"
	"strings"
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
	return l, nil
}

func (x *dictExpr) eval(ev *evaluator) (any, error) {
	d := NewDict()
	for i := range x.keys {
		k, err := x.keys[i].eval(ev)
		if err != nil {
			return nil, err
		}
		v, err := x.values[i].eval(ev)
		if err != nil {
			return nil, err
		}
		if !hashable(k) {
			return nil, fmt.Errorf("unhashable type: '%s'", typeName(k))
		}
		d.Set(k, v)
	}
	return d, nil
}

func (x *attrExpr) eval(ev *evaluator) (any, error) {
	of, err := x.of.eval(ev)
	if err != nil {
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
		if x, ok := v.Get(name); ok {
			return x, nil
		}
	case *cycler:
		return v.attribute(name), nil
	}
	if m := method(v, name); m != nil {
		return m, nil
	}
	if d, ok := v.(*Dict); ok {
		if x, ok := d.Get(name); ok {
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
	return item(of, key)
}

// item is v[key]; where there is no such item, a string also finds an attribute.
func item(v, key any) (any, error) {
	if u, ok := v.(Undefined); ok {
		return nil, u.err()
	}
	if d, ok := v.(*Dict); ok {
		if x, ok := d.Get(key); ok {
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
		ok, err := holds(op, left, right)
		if err != nil || !ok {
			return false, err
		}
		left = right
	}
	return true, nil
}

// holds evaluates one comparison.
func holds(op string, a, b any) (bool, error) {
	switch op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	case "in", "not in":
		ok, err := contains(b, a)
		return ok == (op == "in"), err
	}
	c, err := compare(a, b, op)
	switch op {
	case "<":
		return c < 0, err
	case "<=":
		return c <= 0, err
	case ">":
		return c > 0, err
	}
	return c >= 0, err
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
	if x.op == "~" {
		return toText(a) + toText(b), nil
	}
	return arithmetic(x.op, a, b)
}

// maxText bounds what repetition may build.
const maxText = 1 << 26

func arithmetic(op string, a, b any) (any, error) {
	for _, v := range []any{a, b} {
		if u, ok := v.(Undefined); ok {
			return nil, u.err()
		}
	}
	x, i, xi, xok := number(a)
	y, j, yi, yok := number(b)
	if xok && yok {
		if xi && yi {
			return whole(op, i, j)
		}
		return fractional(op, x, y)
	}
	switch l := a.(type) {
	case string:
		switch {
		case op == "%":
			return format(l, b)
		case op == "*" && yok && yi:
			return repeat(l, j)
		case op == "+":
			if s, ok := b.(string); ok {
				return l + s, nil
			}
			return nil, fmt.Errorf("can only concatenate str (not \"%s\") to str", typeName(b))
		}
	case *List:
		if op == "+" {
			if r, ok := b.(*List); ok && l.tuple == r.tuple {
				return &List{Items: append(append([]any{}, l.Items...), r.Items...), tuple: l.tuple}, nil
			}
			return nil, fmt.Errorf("can only concatenate %s (not \"%s\") to %[1]s", typeName(a), typeName(b))
		}
		if op == "*" && yok && yi && j*int64(len(l.Items)) < 1<<20 {
			out := &List{tuple: l.tuple}
			for range j {
				out.Items = append(out.Items, l.Items...)
			}
			return out, nil
		}
	}
	if s, ok := b.(string); ok && op == "*" && xok && xi {
		return repeat(s, i)
	}
	return nil, fmt.Errorf("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
}

func repeat(s string, n int64) (any, error) {
	if n > 0 && n > maxText/int64(max(len(s), 1)) {
		return nil, fmt.Errorf("a text of %d bytes repeated %d times is too long", len(s), n)
	}
	return strings.Repeat(s, int(max(n, 0))), nil
}

func whole(op string, i, j int64) (any, error) {
	switch op {
	case "+":
		return i + j, nil
	case "-":
		return i - j, nil
	case "*":
		return i * j, nil
	case "**":
		if j < 0 {
			return math.Pow(float64(i), float64(j)), nil
		}
		out := int64(1)
		for ; j > 0; j >>= 1 {
			if j&1 == 1 {
				out *= i
			}
			i *= i
		}
		return out, nil
	}
	if j == 0 {
		return nil, errors.New("division by zero")
	}
	switch op {
	case "/":
		return float64(i) / float64(j), nil
	case "//":
		q := i / j
		if i%j != 0 && (i < 0) != (j < 0) {
			q--
		}
		return q, nil
	}
	m := i % j
	if m != 0 && (m < 0) != (j < 0) {
		m += j
	}
	return m, nil
}

func fractional(op string, x, y float64) (any, error) {
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "**":
		return math.Pow(x, y), nil
	}
	if y == 0 {
		return nil, errors.New("float division by zero")
	}
	switch op {
	case "/":
		return x / y, nil
	case "//":
		return math.Floor(x / y), nil
	}
	return x - y*math.Floor(x/y), nil
}

// args are the arguments of a call.
type args struct {
	pos   []any
	names []string // of keyword arguments, in order
	kw    map[string]any
}

// get is an argument by its place or its name.
func (a *args) get(i int, name string, otherwise any) any {
	if i >= 0 && i < len(a.pos) {
		return a.pos[i]
	}
	if v, ok := a.kw[name]; ok {
		return v
	}
	return otherwise
}

// set adds a keyword argument.
func (a *args) set(name string, v any) {
	if a.kw == nil {
		a.kw = map[string]any{}
	}
	if _, ok := a.kw[name]; !ok {
		a.names = append(a.names, name)
	}
	a.kw[name] = v
}

// arguments evaluates the arguments of a call behind those of first.
func (x *callExpr) arguments(ev *evaluator, first ...any) (*args, error) {
	a := &args{pos: first}
	if x == nil {
		return a, nil
	}
	for _, e := range x.args {
		v, err := e.eval(ev)
		if err != nil {
			return nil, err
		}
		a.pos = append(a.pos, v)
	}
	if x.star != nil {
		v, err := x.star.eval(ev)
		if err != nil {
			return nil, err
		}
		more, err := items(v)
		if err != nil {
			return nil, err
		}
		a.pos = append(a.pos, more...)
	}
	for i, e := range x.values {
		v, err := e.eval(ev)
		if err != nil {
			return nil, err
		}
		a.set(x.names[i], v)
	}
	if x.starStar != nil {
		v, err := x.starStar.eval(ev)
		if err != nil {
			return nil, err
		}
		d, ok := v.(*Dict)
		if !ok {
			return nil, typeError("argument after ** must be a mapping, not %s", v)
		}
		for _, k := range d.keys {
			a.set(toText(k), d.values[k])
		}
	}
	return a, nil
}

func (x *callExpr) eval(ev *evaluator) (any, error) {
	f, err := x.f.eval(ev)
	if err != nil {
		return nil, err
	}
	a, err := x.arguments(ev)
	if err != nil {
		return nil, err
	}
	v, err := ev.call(f, a)
	return v, at(x.line, err)
}

// maxCalls bounds recursion: a template that calls itself for ever ends in an error, not in a full stack.
const maxCalls = 200

func (ev *evaluator) call(f any, a *args) (any, error) {
	if ev.calls++; ev.calls > maxCalls {
		return nil, fmt.Errorf("calls nested deeper than %d", maxCalls)
	}
	defer func() { ev.calls-- }()
	switch f := f.(type) {
	case *Func:
		return f.call(ev, a)
	case *loop:
		if f.node.recursive && len(a.pos) == 1 {
			return ev.capture(func() error { return f.node.run(ev, f.outer, a.pos[0], f.depth+1) })
		}
		return nil, errors.New("the loop is not recursive")
	case Undefined:
		return nil, f.err()
	}
	return nil, fmt.Errorf("'%s' object is not callable", typeName(f))
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
	out, err := f(ev, a)
	return out, at(x.line, err)
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
	ok, err := runTest(x.name, v, a)
	return ok != x.not, at(x.line, err)
}
