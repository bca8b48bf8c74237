package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// statement is a part of a template that writes or assigns.
type statement interface {
	exec(ev *evaluator) error
}

var (
	errBreak    = errors.New("break outside a loop")
	errContinue = errors.New("continue outside a loop")
)

// Error is an error at a line of a template.
type Error struct {
	Line int
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// at puts a line on an error that has none yet.
func at(line int, err error) error {
	var have *Error
	if err == nil || errors.As(err, &have) || err == errBreak || err == errContinue {
		return err
	}
	return &Error{line, err}
}

// scope holds the variables of a block.
type scope struct {
	vars  map[string]any
	outer *scope
}

func (s *scope) set(name string, v any) {
	if s.vars == nil {
		s.vars = map[string]any{}
	}
	s.vars[name] = v
}

// evaluator is one rendering.
type evaluator struct {
	scope    *scope
	out      *strings.Builder
	captured int    // captures around the output at hand; 0 writes to the result
	block    string // the text that the filters of a block work on
	calls    int    // around the statement at hand
	work     int    // done so far
	spans    []Span
	lost     bool // a generation block wrote to a text whose place in the result is not known
	filters  map[string]filterFunc
	now      time.Time
}

// step is a statement with the work that it is: its tokens.
type step struct {
	statement
	cost int
}

func (ev *evaluator) run(body []step) error {
	for _, s := range body {
		if err := ev.spend(s.cost); err != nil {
			return err
		}
		if err := s.exec(ev); err != nil {
			return err
		}
	}
	return nil
}

// inside runs f in a new scope under outer.
func (ev *evaluator) inside(outer *scope, f func() error) error {
	saved := ev.scope
	ev.scope = &scope{outer: outer}
	defer func() { ev.scope = saved }()
	return f()
}

// capture returns what f writes.
func (ev *evaluator) capture(f func() error) (string, error) {
	saved := ev.out
	ev.out = &strings.Builder{}
	ev.captured++
	defer func() { ev.out = saved; ev.captured-- }()
	err := f()
	return ev.out.String(), err
}

func (ev *evaluator) lookup(name string) any {
	for s := ev.scope; s != nil; s = s.outer {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	if f, ok := globals[name]; ok {
		return f
	}
	if name == "strftime_now" && !ev.now.IsZero() {
		return &Func{name, strftimeNow}
	}
	return Undefined{fmt.Sprintf("'%s' is undefined", name)}
}

type (
	textNode  struct{ s string }
	printNode struct {
		e    expr
		line int
	}
	ifNode struct {
		conds     []expr
		bodies    [][]step
		otherwise []step
		line      int
	}
	forNode struct {
		target          *target
		over, filter    expr
		recursive       bool
		cost            int // of the header
		body, otherwise []step
		line            int
	}
	target struct {
		names []string
		tuple bool
		attr  string // of the namespace names[0]
	}
	setNode struct {
		target *target
		v      expr
		line   int
	}
	setBlockNode struct {
		target *target
		filter expr
		body   []step
		line   int
	}
	param struct {
		name  string
		value expr // or nil
	}
	macroNode struct {
		name   string
		params []param
		body   []step
		line   int
		cost   int // of the header

		varargs, kwargs, caller bool // the body reads these names
	}
	callBlockNode struct {
		macro *macroNode
		call  *callExpr
		line  int
	}
	filterNode struct {
		filter expr
		body   []step
		line   int
	}
	withNode struct {
		names  []string
		values []expr
		body   []step
		line   int
	}
	generationNode struct{ body []step }
	loopControl    struct{ err error }
)

func (n *textNode) exec(ev *evaluator) error {
	return ev.write(n.s)
}

func (n *printNode) exec(ev *evaluator) error {
	v, err := n.e.eval(ev)
	if err != nil {
		return at(n.line, err)
	}
	return at(n.line, ev.write(toText(v)))
}

func (n loopControl) exec(*evaluator) error { return n.err }

func (n *ifNode) exec(ev *evaluator) error {
	for i, c := range n.conds {
		v, err := c.eval(ev)
		if err != nil {
			return at(n.line, err)
		}
		if truth(v) {
			return ev.run(n.bodies[i])
		}
	}
	return ev.run(n.otherwise)
}

// assign binds a value; a tuple takes it apart.
func (t *target) assign(ev *evaluator, v any) error {
	if t.attr != "" {
		ns, ok := ev.lookup(t.names[0]).(*namespace)
		if !ok {
			return errors.New("cannot assign attribute on non-namespace object")
		}
		ns.name(t.attr, v)
		return nil
	}
	if !t.tuple {
		ev.scope.set(t.names[0], v)
		return nil
	}
	parts, err := items(v)
	if err != nil {
		return err
	}
	if len(parts) != len(t.names) {
		return fmt.Errorf("%d values to unpack, want %d", len(parts), len(t.names))
	}
	for i, s := range t.names {
		ev.scope.set(s, parts[i])
	}
	return nil
}

func (n *setNode) exec(ev *evaluator) error {
	v, err := n.v.eval(ev)
	if err == nil {
		err = n.target.assign(ev, v)
	}
	return at(n.line, err)
}

func (n *setBlockNode) exec(ev *evaluator) error {
	s, err := ev.capture(func() error { return ev.inside(ev.scope, func() error { return ev.run(n.body) }) })
	if err != nil {
		return err
	}
	var v any = s
	if n.filter != nil {
		if v, err = ev.filtered(n.filter, s); err != nil {
			return at(n.line, err)
		}
	}
	return at(n.line, n.target.assign(ev, v))
}

// filtered applies the filters of a block to its text.
func (ev *evaluator) filtered(f expr, s string) (any, error) {
	saved := ev.block
	ev.block = s
	defer func() { ev.block = saved }()
	return f.eval(ev)
}

func (n *filterNode) exec(ev *evaluator) error {
	s, err := ev.capture(func() error { return ev.inside(ev.scope, func() error { return ev.run(n.body) }) })
	if err != nil {
		return err
	}
	v, err := ev.filtered(n.filter, s)
	if err != nil {
		return at(n.line, err)
	}
	return at(n.line, ev.write(toText(v)))
}

func (n *withNode) exec(ev *evaluator) error {
	values := make([]any, len(n.values))
	for i, e := range n.values {
		v, err := e.eval(ev)
		if err != nil {
			return at(n.line, err)
		}
		values[i] = v
	}
	return ev.inside(ev.scope, func() error {
		for i, s := range n.names {
			ev.scope.set(s, values[i])
		}
		return ev.run(n.body)
	})
}

// exec marks what the assistant writes.
func (n *generationNode) exec(ev *evaluator) error {
	ev.lost = ev.lost || ev.captured > 0
	start := ev.out.Len()
	if err := ev.inside(ev.scope, func() error { return ev.run(n.body) }); err != nil {
		return err
	}
	ev.spans = append(ev.spans, Span{start, ev.out.Len()})
	return nil
}

func (n *forNode) exec(ev *evaluator) error {
	v, err := n.over.eval(ev)
	if err != nil {
		return at(n.line, err)
	}
	return n.run(ev, ev.scope, v, 0)
}

// run loops over v in scopes under outer.
func (n *forNode) run(ev *evaluator, outer *scope, v any, depth int) error {
	all, err := items(v)
	if err != nil {
		return at(n.line, err)
	}
	if n.filter != nil {
		if all, err = n.choose(ev, outer, all); err != nil {
			return at(n.line, err)
		}
	}
	if len(all) == 0 {
		return ev.inside(outer, func() error { return ev.run(n.otherwise) })
	}
	l := &loop{node: n, outer: outer, items: all, depth: depth}
	for l.i = range all {
		if err := ev.spend(iteration); err != nil {
			return at(n.line, err)
		}
		err := ev.inside(outer, func() error {
			ev.scope.set("loop", l)
			if err := n.target.assign(ev, all[l.i]); err != nil {
				return at(n.line, err)
			}
			return ev.run(n.body)
		})
		if err == errBreak {
			break
		}
		if err != nil && err != errContinue {
			return err
		}
	}
	return nil
}

// choose keeps the items for which the loop's condition holds.
func (n *forNode) choose(ev *evaluator, outer *scope, all []any) ([]any, error) {
	var kept []any
	for _, x := range all {
		if err := ev.spend(iteration + n.cost); err != nil {
			return nil, err
		}
		err := ev.inside(outer, func() error {
			if err := n.target.assign(ev, x); err != nil {
				return err
			}
			v, err := n.filter.eval(ev)
			if truth(v) {
				kept = append(kept, x)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// loop is the variable loop.
type loop struct {
	node    *forNode
	outer   *scope
	items   []any
	i       int
	depth   int
	changed []any
	asked   bool // loop.changed was called
}

func (l *loop) attribute(name string) any {
	i, n := int64(l.i), int64(len(l.items))
	switch name {
	case "index":
		return i + 1
	case "index0":
		return i
	case "revindex":
		return n - i
	case "revindex0":
		return n - i - 1
	case "first":
		return i == 0
	case "last":
		return i == n-1
	case "length":
		return n
	case "depth":
		return int64(l.depth) + 1
	case "depth0":
		return int64(l.depth)
	case "previtem":
		if i > 0 {
			return l.items[i-1]
		}
		return Undefined{"there is no previous item"}
	case "nextitem":
		if i+1 < n {
			return l.items[i+1]
		}
		return Undefined{"there is no next item"}
	case "cycle":
		return newFunc("cycle", func(a []any) (any, error) {
			if len(a) == 0 {
				return nil, errors.New("no items for cycling given")
			}
			return a[l.i%len(a)], nil
		})
	case "changed":
		return newFunc("changed", func(a []any) (any, error) {
			same := l.asked && equal(&List{Items: l.changed}, &List{Items: a})
			l.changed, l.asked = a, true
			return !same, nil
		})
	}
	return Undefined{fmt.Sprintf("'LoopContext object' has no attribute '%s'", name)}
}

func (n *macroNode) exec(ev *evaluator) error {
	ev.scope.set(n.name, n.function(ev.scope))
	return nil
}

// function is the macro as a value; it sees the variables around its definition.
func (n *macroNode) function(outer *scope) *Func {
	return &Func{n.name, func(ev *evaluator, a *args) (any, error) {
		return ev.capture(func() error {
			return ev.inside(outer, func() error {
				if err := n.bind(ev, a); err != nil {
					return at(n.line, err)
				}
				return ev.run(n.body)
			})
		})
	}}
}

// bind sets the parameters; what is left over goes to varargs and kwargs.
func (n *macroNode) bind(ev *evaluator, a *args) error {
	if err := ev.spend(calling + n.cost + len(a.pos) + len(a.names)); err != nil {
		return err
	}
	used := map[string]bool{"caller": n.caller}
	for i, p := range n.params {
		var v any = Undefined{fmt.Sprintf("parameter '%s' was not provided", p.name)}
		kw, named := a.kw[p.name]
		switch {
		case i < len(a.pos):
			v = a.pos[i]
		case named:
			v = kw
		case p.value != nil:
			var err error
			if v, err = p.value.eval(ev); err != nil {
				return err
			}
		}
		used[p.name] = true
		ev.scope.set(p.name, v)
	}
	rest := &List{tuple: true}
	if len(a.pos) > len(n.params) {
		if !n.varargs {
			return fmt.Errorf("macro '%s' takes not more than %d argument(s)", n.name, len(n.params))
		}
		rest.Items = a.pos[len(n.params):]
	}
	extra := newDict()
	for _, s := range a.names {
		if used[s] {
			continue
		}
		if !n.kwargs {
			return fmt.Errorf("macro '%s' takes no keyword argument '%s'", n.name, s)
		}
		extra.name(s, a.kw[s])
	}
	for name, v := range map[string]any{"varargs": rest, "kwargs": extra} {
		if _, err := ev.admit(v); err != nil {
			return err
		}
		ev.scope.set(name, v)
	}
	if c, ok := a.kw["caller"]; ok {
		ev.scope.set("caller", c)
	}
	return nil
}

func (n *callBlockNode) exec(ev *evaluator) error {
	f, err := n.call.f.eval(ev)
	if err != nil {
		return at(n.line, err)
	}
	a, err := n.call.arguments(ev)
	if err != nil {
		return at(n.line, err)
	}
	a.set("caller", n.macro.function(ev.scope))
	v, err := ev.call(f, a)
	if err != nil {
		return at(n.line, err)
	}
	return at(n.line, ev.write(toText(v)))
}
