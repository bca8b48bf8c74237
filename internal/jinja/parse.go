package jinja

import (
	"fmt"
	"slices"
	"strconv"
)

// maxNesting bounds how deep expressions and blocks may nest, so that no template uses up the stack of the parser.
const maxNesting = 200

type parser struct {
	tokens []token
	i      int
	depth  int
	marks  bool // a {% generation %} block was seen
}

func (p *parser) cur() token { return p.tokens[p.i] }

func (p *parser) advance() token {
	t := p.tokens[p.i]
	if t.kind != eof {
		p.i++
	}
	return t
}

func (p *parser) errorf(format string, a ...any) error {
	return &Error{p.cur().line, fmt.Errorf(format, a...)}
}

func (p *parser) isOp(s string) bool   { t := p.cur(); return t.kind == operator && t.s == s }
func (p *parser) isName(s string) bool { t := p.cur(); return t.kind == name && t.s == s }

// takeOp steps over the operator s if it is next.
func (p *parser) takeOp(s string) bool {
	if p.isOp(s) {
		p.i++
		return true
	}
	return false
}

func (p *parser) takeName(s string) bool {
	if p.isName(s) {
		p.i++
		return true
	}
	return false
}

func (p *parser) wantOp(s string) error {
	if !p.takeOp(s) {
		return p.errorf("unexpected %s, want %q", p.cur(), s)
	}
	return nil
}

func (p *parser) wantName() (string, error) {
	if p.cur().kind != name {
		return "", p.errorf("unexpected %s, want a name", p.cur())
	}
	return p.advance().s, nil
}

func (p *parser) want(k kind) error {
	if p.cur().kind != k {
		return p.errorf("unexpected %s, want the %s", p.cur(), token{kind: k})
	}
	p.i++
	return nil
}

// enter counts nesting; it is undone by leave.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxNesting {
		return p.errorf("nested deeper than %d", maxNesting)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// body reads statements up to a block that starts with one of ends; that name is stepped over and returned.
func (p *parser) body(ends ...string) ([]statement, string, error) {
	if err := p.enter(); err != nil {
		return nil, "", err
	}
	defer p.leave()
	var out []statement
	for {
		t := p.advance()
		switch t.kind {
		case eof:
			if len(ends) > 0 {
				return nil, "", p.errorf("unexpected end of template, want %q", ends[0])
			}
			return out, "", nil
		case data:
			out = append(out, &textNode{t.s})
		case printBegin:
			e, err := p.tuple(true, false)
			if err == nil {
				err = p.want(printEnd)
			}
			if err != nil {
				return nil, "", err
			}
			out = append(out, &printNode{e, t.line})
		case blockBegin:
			tag, err := p.wantName()
			if err != nil {
				return nil, "", err
			}
			if slices.Contains(ends, tag) {
				return out, tag, nil
			}
			s, err := p.statement(tag, t.line)
			if err != nil {
				return nil, "", err
			}
			if s != nil {
				out = append(out, s)
			}
		}
	}
}

// block reads the end of a tag, the statements after it, and the end of the closing tag.
func (p *parser) block(end string) ([]statement, error) {
	if err := p.want(blockEnd); err != nil {
		return nil, err
	}
	body, _, err := p.body(end)
	if err != nil {
		return nil, err
	}
	return body, p.want(blockEnd)
}

// statement reads the rest of a block whose name is tag.
func (p *parser) statement(tag string, line int) (statement, error) {
	switch tag {
	case "if":
		return p.ifStatement(line)
	case "for":
		return p.forStatement(line)
	case "set":
		return p.setStatement(line)
	case "macro":
		m, err := p.macro(line)
		return m, err
	case "call":
		return p.callStatement(line)
	case "filter":
		f, err := p.filters(nil, true)
		if err != nil {
			return nil, err
		}
		body, err := p.block("endfilter")
		return &filterNode{f, body, line}, err
	case "with":
		return p.with(line)
	case "generation":
		p.marks = true
		body, err := p.block("endgeneration")
		return &generationNode{body, line}, err
	case "break":
		return loopControl{errBreak}, p.want(blockEnd)
	case "continue":
		return loopControl{errContinue}, p.want(blockEnd)
	}
	return nil, &Error{line, fmt.Errorf("unknown tag %q", tag)}
}

func (p *parser) ifStatement(line int) (statement, error) {
	n := &ifNode{line: line}
	for {
		cond, err := p.tuple(false, false)
		if err != nil {
			return nil, err
		}
		if err := p.want(blockEnd); err != nil {
			return nil, err
		}
		body, end, err := p.body("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		n.conds, n.bodies = append(n.conds, cond), append(n.bodies, body)
		switch end {
		case "elif":
			continue
		case "else":
			n.otherwise, err = p.block("endif")
			return n, err
		}
		return n, p.want(blockEnd)
	}
}

func (p *parser) forStatement(line int) (statement, error) {
	n := &forNode{line: line}
	var err error
	if n.target, err = p.target(); err != nil {
		return nil, err
	}
	if !p.takeName("in") {
		return nil, p.errorf("unexpected %s, want \"in\"", p.cur())
	}
	if n.over, err = p.tuple(false, true); err != nil {
		return nil, err
	}
	if p.takeName("if") {
		if n.filter, err = p.expression(); err != nil {
			return nil, err
		}
	}
	n.recursive = p.takeName("recursive")
	if err := p.want(blockEnd); err != nil {
		return nil, err
	}
	body, end, err := p.body("else", "endfor")
	if err != nil {
		return nil, err
	}
	n.body = body
	if end == "else" {
		n.otherwise, err = p.block("endfor")
		return n, err
	}
	return n, p.want(blockEnd)
}

// target reads what an assignment assigns to: names, or an attribute of a namespace.
func (p *parser) target() (*target, error) {
	t := &target{}
	paren := p.takeOp("(")
	for {
		s, err := p.wantName()
		if err != nil {
			return nil, err
		}
		t.names = append(t.names, s)
		if len(t.names) == 1 && p.takeOp(".") {
			t.attr, err = p.wantName()
			return t, err
		}
		if !p.takeOp(",") {
			break
		}
		t.tuple = true
		if p.cur().kind != name || p.isName("in") {
			break
		}
	}
	if paren {
		return t, p.wantOp(")")
	}
	return t, nil
}

func (p *parser) setStatement(line int) (statement, error) {
	t, err := p.target()
	if err != nil {
		return nil, err
	}
	if p.takeOp("=") {
		v, err := p.tuple(true, false)
		if err != nil {
			return nil, err
		}
		return &setNode{t, v, line}, p.want(blockEnd)
	}
	n := &setBlockNode{target: t, line: line}
	if p.isOp("|") {
		if n.filter, err = p.filters(nil, false); err != nil {
			return nil, err
		}
	}
	n.body, err = p.block("endset")
	return n, err
}

// signature reads (a, b=1).
func (p *parser) signature() (params []param, err error) {
	if err := p.wantOp("("); err != nil {
		return nil, err
	}
	for !p.takeOp(")") {
		if len(params) > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
		}
		var q param
		if q.name, err = p.wantName(); err != nil {
			return nil, err
		}
		if p.takeOp("=") {
			if q.value, err = p.expression(); err != nil {
				return nil, err
			}
		}
		params = append(params, q)
	}
	return params, nil
}

func (p *parser) macro(line int) (*macroNode, error) {
	n := &macroNode{line: line}
	var err error
	if n.name, err = p.wantName(); err != nil {
		return nil, err
	}
	if n.params, err = p.signature(); err != nil {
		return nil, err
	}
	n.body, err = p.block("endmacro")
	return n, err
}

func (p *parser) callStatement(line int) (statement, error) {
	n := &callBlockNode{macro: &macroNode{name: "caller", line: line}, line: line}
	var err error
	if p.isOp("(") {
		if n.macro.params, err = p.signature(); err != nil {
			return nil, err
		}
	}
	e, err := p.expression()
	if err != nil {
		return nil, err
	}
	call, ok := e.(*callExpr)
	if !ok {
		return nil, &Error{line, fmt.Errorf("want a call after {%% call")}
	}
	n.call = call
	n.macro.body, err = p.block("endcall")
	return n, err
}

func (p *parser) with(line int) (statement, error) {
	n := &withNode{line: line}
	for p.cur().kind != blockEnd {
		if len(n.names) > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
		}
		s, err := p.wantName()
		if err == nil {
			err = p.wantOp("=")
		}
		if err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		n.names, n.values = append(n.names, s), append(n.values, v)
	}
	body, err := p.block("endwith")
	n.body = body
	return n, err
}

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
			if p.takeOp(")") {
				return &listExpr{tuple: true}, nil
			}
			e, err := p.tuple(true, false)
			if err != nil {
				return nil, err
			}
			return e, p.wantOp(")")
		case "[":
			l := &listExpr{}
			for !p.takeOp("]") {
				if len(l.items) > 0 {
					if err := p.wantOp(","); err != nil {
						return nil, err
					}
					if p.takeOp("]") {
						break
					}
				}
				e, err := p.expression()
				if err != nil {
					return nil, err
				}
				l.items = append(l.items, e)
			}
			return l, nil
		case "{":
			return p.dict()
		}
	}
	return nil, &Error{t.line, fmt.Errorf("unexpected %s", t)}
}

func (p *parser) dict() (expr, error) {
	d := &dictExpr{}
	for !p.takeOp("}") {
		if len(d.keys) > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
			if p.takeOp("}") {
				break
			}
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
		if n > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
			if p.takeOp(")") {
				break
			}
		}
		var err error
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
