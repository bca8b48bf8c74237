package jinja

import (
	"errors"
	"fmt"
)

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
		for i, k := range d.keys {
			a.set(toText(k), d.values[i])
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

func (ev *evaluator) call(f any, a *args) (any, error) {
	if ev.calls++; ev.calls > maxDepth {
		return nil, fmt.Errorf("calls nested deeper than %d", maxDepth)
	}
	defer func() { ev.calls-- }()
	v, err := ev.callee(f, a)
	if err != nil {
		return nil, err
	}
	return ev.admit(v)
}

func (ev *evaluator) callee(f any, a *args) (any, error) {
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
