package jinja

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// holds evaluates one comparison.
func (ev *evaluator) holds(op string, a, b any) (bool, error) {
	m, _ := measure(a)
	n, _ := measure(b)
	if op == "in" || op == "not in" {
		m = n // what is looked through
	}
	if err := ev.spend(min(m, n)); err != nil {
		return false, err
	}
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

// arithmetic evaluates an operator that makes a value of two.
func (ev *evaluator) arithmetic(op string, a, b any) (any, error) {
	v, err := arithmetic(op, a, b)
	if err != nil {
		return nil, err
	}
	return ev.admit(v)
}

func arithmetic(op string, a, b any) (any, error) {
	if op == "~" {
		return toText(a) + toText(b), nil
	}
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
		if op == "*" && yok && yi {
			return repeated(l, j)
		}
	}
	if op == "*" && xok && xi {
		switch r := b.(type) {
		case string:
			return repeat(r, i)
		case *List:
			return repeated(r, i)
		}
	}
	return nil, fmt.Errorf("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
}

func repeat(s string, n int64) (any, error) {
	if n > 4*maxSize/int64(max(len(s), 1)) {
		return nil, fmt.Errorf("a text of %d bytes repeated %d times is too long", len(s), n)
	}
	return strings.Repeat(s, int(max(n, 0))), nil
}

func repeated(l *List, n int64) (any, error) {
	if n > maxItems/int64(max(len(l.Items), 1)) {
		return nil, fmt.Errorf("a list of %d items repeated %d times is too long", len(l.Items), n)
	}
	return &List{Items: slices.Repeat(l.Items, int(max(n, 0))), tuple: l.tuple}, nil
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
