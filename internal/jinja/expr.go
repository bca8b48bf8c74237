package jinja

import (
	"fmt"
	"slices"
	"strconv"
)

// tuple reads one expression, or several with commas between, which make a tuple. plain leaves out "a if b", for loops.
func (p *parser) tuple(multiple, plain bool) (expr, error) {
	one := p.expression
	if plain {
		one = p.or
	}
	e, err := one()
	if err != nil || !p.isOp(",") || !multiple && !plain {
		return e, err
	}
	l := &listExpr{items: []expr{e}, tuple: true}
	for p.takeOp(",") {
		if k := p.cur().kind; k == blockEnd || k == printEnd || p.isOp(")") {
			break
		}
		if e, err = one(); err != nil {
			return nil, err
		}
		l.items = append(l.items, e)
	}
	return l, nil
}

// expression is: or [if or [else expression]].
func (p *parser) expression() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	e, err := p.or()
	for err == nil && p.takeName("if") {
		c := &condExpr{yes: e}
		if c.cond, err = p.or(); err != nil {
			return nil, err
		}
		if p.takeName("else") {
			if c.no, err = p.expression(); err != nil {
				return nil, err
			}
		}
		e = c
	}
	return e, err
}

func (p *parser) or() (expr, error) {
	e, err := p.and()
	for err == nil && p.takeName("or") {
		var right expr
		right, err = p.and()
		e = &logicExpr{e, right, true}
	}
	return e, err
}

func (p *parser) and() (expr, error) {
	e, err := p.not()
	for err == nil && p.takeName("and") {
		var right expr
		right, err = p.not()
		e = &logicExpr{e, right, false}
	}
	return e, err
}

func (p *parser) not() (expr, error) {
	n := 0
	for p.takeName("not") {
		n++
	}
	e, err := p.comparison()
	if n > 0 && err == nil {
		if n%2 == 0 {
			e = &notExpr{e}
		}
		e = &notExpr{e}
	}
	return e, err
}

func (p *parser) comparison() (expr, error) {
	first, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := &compareExpr{first: first}
	for {
		op := ""
		switch t := p.cur(); {
		case t.kind == operator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.s):
			op = t.s
			p.i++
		case p.takeName("in"):
			op = "in"
		case p.isName("not") && p.tokens[p.i+1].kind == name && p.tokens[p.i+1].s == "in":
			op = "not in"
			p.i += 2
		}
		if op == "" {
			break
		}
		e, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, e)
	}
	if len(c.ops) == 0 {
		return first, nil
	}
	return c, nil
}

// chain reads operands of next with one of ops between, from the left.
func (p *parser) chain(next func() (expr, error), ops ...string) (expr, error) {
	e, err := next()
	for err == nil && p.cur().kind == operator && slices.Contains(ops, p.cur().s) {
		op := p.advance().s
		var right expr
		right, err = next()
		e = &binaryExpr{op, e, right}
	}
	return e, err
}

func (p *parser) sum() (expr, error)     { return p.chain(p.concat, "+", "-") }
func (p *parser) concat() (expr, error)  { return p.chain(p.product, "~") }
func (p *parser) product() (expr, error) { return p.chain(p.power, "*", "/", "//", "%") }
func (p *parser) power() (expr, error) {
	return p.chain(func() (expr, error) { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	var e expr
	var err error
	switch {
	case p.takeOp("-"):
		e, err = p.unary(false)
		e = &negExpr{e}
	case p.takeOp("+"):
		e, err = p.unary(false)
	default:
		e, err = p.primary()
	}
	if err == nil {
		e, err = p.postfix(e)
	}
	if err == nil && filters {
		e, err = p.filters(e, false)
	}
	return e, err
}

func (p *parser) primary() (expr, error) {
	t := p.advance()
	switch t.kind {
	case name:
		switch t.s {
		case "true", "True":
			return &constExpr{true}, nil
		case "false", "False":
			return &constExpr{false}, nil
		case "none", "None":
			return &constExpr{nil}, nil
		}
		if p.names != nil {
			p.names[t.s] = true
		}
		return &nameExpr{t.s}, nil
	case text:
		s := t.s
		for p.cur().kind == text {
			s += p.advance().s
		}
		return &constExpr{s}, nil
	case integer:
		i, err := strconv.ParseInt(t.s, 10, 64)
		if err != nil {
			return nil, &Error{t.line, fmt.Errorf("integer %s is too large", t.s)}
		}
		return &constExpr{i}, nil
	case float:
		f, err := strconv.ParseFloat(t.s, 64)
		if err != nil {
			return nil, &Error{t.line, fmt.Errorf("number %s is too large", t.s)}
		}
		return &constExpr{f}, nil
	case operator:
		switch t.s {
		case "(":
			return p.parentheses()
		case "[":
			return p.list()
		case "{":
			return p.dict()
		}
	}
	return nil, &Error{t.line, fmt.Errorf("unexpected %s", t)}
}

func (p *parser) parentheses() (expr, error) {
	if p.takeOp(")") {
		return &listExpr{tuple: true}, nil
	}
	e, err := p.tuple(true, false)
	if err != nil {
		return nil, err
	}
	return e, p.wantOp(")")
}

// comma steps over the comma before all elements but the first; last means that the closing bracket follows it.
func (p *parser) comma(first bool, closing string) (last bool, err error) {
	if first {
		return false, nil
	}
	if err := p.wantOp(","); err != nil {
		return false, err
	}
	return p.takeOp(closing), nil
}

func (p *parser) list() (expr, error) {
	l := &listExpr{}
	for !p.takeOp("]") {
		last, err := p.comma(len(l.items) == 0, "]")
		if last || err != nil {
			return l, err
		}
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, e)
	}
	return l, nil
}

func (p *parser) dict() (expr, error) {
	d := &dictExpr{}
	for !p.takeOp("}") {
		last, err := p.comma(len(d.keys) == 0, "}")
		if last || err != nil {
			return d, err
		}
		k, err := p.expression()
		if err == nil {
			err = p.wantOp(":")
		}
		if err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		d.keys, d.values = append(d.keys, k), append(d.values, v)
	}
	return d, nil
}

// postfix reads attributes, subscripts and calls.
func (p *parser) postfix(e expr) (expr, error) {
	for {
		var err error
		switch {
		case p.takeOp("."):
			switch t := p.advance(); t.kind {
			case name:
				e = &attrExpr{e, t.s}
			case integer:
				i, _ := strconv.ParseInt(t.s, 10, 64) // too large a number finds nothing, as it should
				e = &itemExpr{e, &constExpr{i}}
			default:
				return nil, &Error{t.line, fmt.Errorf("unexpected %s, want a name", t)}
			}
		case p.takeOp("["):
			e, err = p.subscript(e)
		case p.isOp("("):
			e, err = p.call(e)
		default:
			return e, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) subscript(of expr) (expr, error) {
	var parts [3]expr
	n := 0
	for n < 3 && !p.isOp("]") {
		if p.takeOp(":") {
			n++
			continue
		}
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		parts[n] = e
		if n == 0 && p.takeOp("]") {
			return &itemExpr{of, e}, nil
		}
		if !p.isOp(":") {
			break
		}
	}
	if n == 0 {
		return nil, p.errorf("unexpected %s, want a subscript", p.cur())
	}
	return &sliceExpr{of, parts}, p.wantOp("]")
}

func (p *parser) call(f expr) (expr, error) {
	c := &callExpr{f: f, line: p.cur().line}
	if err := p.wantOp("("); err != nil {
		return nil, err
	}
	for n := 0; !p.takeOp(")"); n++ {
		last, err := p.comma(n == 0, ")")
		if last || err != nil {
			return c, err
		}
		switch {
		case p.takeOp("*"):
			c.star, err = p.expression()
		case p.takeOp("**"):
			c.starStar, err = p.expression()
		case p.cur().kind == name && p.tokens[p.i+1].kind == operator && p.tokens[p.i+1].s == "=":
			key := p.advance().s
			p.i++
			var v expr
			v, err = p.expression()
			c.names, c.values = append(c.names, key), append(c.values, v)
		default:
			var v expr
			v, err = p.expression()
			c.args = append(c.args, v)
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// filters reads "| filter" and "is test" behind e. A filter block starts with the name itself.
func (p *parser) filters(e expr, bare bool) (expr, error) {
	for {
		switch {
		case bare, p.takeOp("|"):
			bare = false
			f := &filterExpr{e: e, line: p.cur().line}
			var err error
			if f.name, err = p.dotted(); err != nil {
				return nil, err
			}
			if p.isOp("(") {
				c, err := p.call(nil)
				if err != nil {
					return nil, err
				}
				f.call = c.(*callExpr)
			}
			e = f
		case e != nil && p.takeName("is"):
			t, err := p.test(e)
			if err != nil {
				return nil, err
			}
			e = t
		case e != nil && p.isOp("("):
			c, err := p.call(e)
			if err != nil {
				return nil, err
			}
			e = c
		default:
			return e, nil
		}
	}
}

func (p *parser) dotted() (string, error) {
	s, err := p.wantName()
	for err == nil && p.takeOp(".") {
		var more string
		more, err = p.wantName()
		s += "." + more
	}
	return s, err
}

// test reads what follows "is"; one argument may stand without parentheses.
func (p *parser) test(e expr) (expr, error) {
	t := &testExpr{e: e, not: p.takeName("not"), line: p.cur().line}
	var err error
	if t.name, err = p.dotted(); err != nil {
		return nil, err
	}
	if p.isOp("(") {
		c, err := p.call(nil)
		if err != nil {
			return nil, err
		}
		t.args = c.(*callExpr).args
		return t, nil
	}
	cur := p.cur()
	starts := cur.kind == text || cur.kind == integer || cur.kind == float || p.isOp("[") || p.isOp("{") ||
		cur.kind == name && !slices.Contains([]string{"else", "or", "and", "if", "is", "in", "not", "recursive"}, cur.s)
	if !starts {
		return t, nil
	}
	a, err := p.primary()
	if err == nil {
		a, err = p.postfix(a)
	}
	t.args = []expr{a}
	return t, err
}
