package jinja

import (
	"fmt"
	"slices"
)

// maxNesting bounds how deep expressions and blocks may nest, so that no template uses up the stack of the parser.
const maxNesting = 200

type parser struct {
	tokens []token
	i      int
	depth  int
	marks  bool            // a {% generation %} block was seen
	loops  int             // around the statement at hand
	names  map[string]bool // that the macro at hand reads
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
func (p *parser) body(ends ...string) ([]step, string, error) {
	if err := p.enter(); err != nil {
		return nil, "", err
	}
	defer p.leave()
	var out []step
	for {
		from, t := p.i, p.advance()
		switch t.kind {
		case eof:
			if len(ends) > 0 {
				return nil, "", p.errorf("unexpected end of template, want %q", ends[0])
			}
			return out, "", nil
		case data:
			out = append(out, step{&textNode{t.s}, 1})
		case printBegin:
			e, err := p.tuple(true, false)
			if err == nil {
				err = p.want(printEnd)
			}
			if err != nil {
				return nil, "", err
			}
			out = append(out, step{&printNode{e, t.line}, p.i - from})
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
			out = append(out, step{s, p.i - from})
		}
	}
}

// block reads the end of a tag, the statements after it, and the end of the closing tag.
func (p *parser) block(end string) ([]step, error) {
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
		return &generationNode{body}, err
	case "break", "continue":
		if p.loops == 0 {
			return nil, &Error{line, fmt.Errorf("%s outside a loop", tag)}
		}
		return loopControl{map[string]error{"break": errBreak, "continue": errContinue}[tag]}, p.want(blockEnd)
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
	from := p.i
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
	n.cost = p.i - from
	if err := p.want(blockEnd); err != nil {
		return nil, err
	}
	p.loops++
	body, end, err := p.body("else", "endfor")
	p.loops--
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
	from := p.i
	var err error
	if n.name, err = p.wantName(); err != nil {
		return nil, err
	}
	if n.params, err = p.signature(); err != nil {
		return nil, err
	}
	n.cost = p.i - from
	return n, p.macroBody(n, "endmacro")
}

// macroBody reads the body of a macro, and which of the special names it uses.
func (p *parser) macroBody(n *macroNode, end string) (err error) {
	loops, names := p.loops, p.names
	p.loops, p.names = 0, map[string]bool{}
	n.body, err = p.block(end)
	n.varargs, n.kwargs, n.caller = p.names["varargs"], p.names["kwargs"], p.names["caller"]
	p.loops, p.names = loops, names
	return err
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
	return n, p.macroBody(n.macro, "endcall")
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
