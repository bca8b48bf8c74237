package jinja

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

type filterFunc func(ev *evaluator, a *args) (any, error)

// filterTable is the table of filters; a.pos[0] is the value in front of the bar. Filters that look up others find it
// in the evaluator.
var filterTable = map[string]filterFunc{
	"abs": absFilter, "attr": attrFilter, "batch": batchFilter, "capitalize": stringFilter("capitalize"),
	"center": stringFilter("center"), "count": lengthFilter, "d": defaultFilter, "default": defaultFilter,
	"dictsort": dictsortFilter, "e": escapeFilter, "escape": escapeFilter, "first": firstFilter, "float": floatFilter,
	"forceescape": escapeFilter, "format": formatFilter, "groupby": groupbyFilter, "indent": indentFilter, "int": intFilter,
	"items": itemsFilter, "join": joinFilter, "last": lastFilter, "length": lengthFilter, "list": listFilter,
	"lower": stringFilter("lower"), "map": mapFilter, "max": extremeFilter(1), "min": extremeFilter(-1),
	"reject": selectFilter(false, false), "rejectattr": selectFilter(false, true), "replace": stringFilter("replace"),
	"reverse": reverseFilter, "round": roundFilter, "safe": stringFilter(""), "select": selectFilter(true, false),
	"selectattr": selectFilter(true, true), "slice": sliceFilter, "sort": sortFilter, "string": stringFilter(""),
	"sum": sumFilter, "title": titleFilter, "tojson": toJSON, "trim": stringFilter("strip"),
	"truncate": truncateFilter, "unique": uniqueFilter, "upper": stringFilter("upper"), "urlencode": urlencodeFilter,
	"wordcount": wordcountFilter,
}

// stringFilter is a method of strings, for anything that prints; "" is the text itself.
func stringFilter(method string) filterFunc {
	return func(_ *evaluator, a *args) (any, error) {
		s := toText(a.pos[0])
		if method == "" {
			return s, nil
		}
		rest := *a
		rest.pos = a.pos[1:]
		if method == "center" && len(rest.pos) == 0 {
			rest.pos = []any{a.get(1, "width", int64(80))}
		}
		if method == "replace" && len(rest.pos) == 3 && rest.pos[2] == nil {
			rest.pos = rest.pos[:2]
		}
		return stringMethods[method](s, &rest)
	}
}

// iterate lists the value in front of the bar.
func iterate(a *args) ([]any, error) { return items(a.pos[0]) }

// iterateAll is iterate for filters that compare the items.
func iterateAll(ev *evaluator, a *args) ([]any, error) {
	if err := ev.spendAll(a.pos[0]); err != nil {
		return nil, err
	}
	return items(a.pos[0])
}

func absFilter(_ *evaluator, a *args) (any, error) {
	f, i, isInt, ok := number(a.pos[0])
	switch {
	case !ok:
		return nil, typeError("bad operand type for abs(): '%s'", a.pos[0])
	case isInt && i < 0:
		return -i, nil
	case isInt:
		return i, nil
	}
	return math.Abs(f), nil
}

func attrFilter(_ *evaluator, a *args) (any, error) {
	if _, isDict := a.pos[0].(*Dict); isDict && method(a.pos[0], toText(a.get(1, "name", ""))) == nil {
		return Undefined{fmt.Sprintf("'dict object' has no attribute %s", repr(a.get(1, "name", "")))}, nil
	}
	return attribute(a.pos[0], toText(a.get(1, "name", "")))
}

// chunk is a whole number of at least 1 given as an argument.
func chunk(a *args, name string) (int, error) {
	_, n, isInt, ok := number(a.get(1, name, nil))
	if !ok || !isInt || n < 1 {
		return 0, fmt.Errorf("%s is %s, want a whole number of at least 1", name, repr(a.get(1, name, nil)))
	}
	return int(min(n, maxRange)), nil
}

func batchFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil {
		return nil, err
	}
	n, err := chunk(a, "linecount")
	if err != nil {
		return nil, err
	}
	fill := a.get(2, "fill_with", nil)
	out := &List{}
	for i := 0; i < len(list); i += n {
		row := append([]any{}, list[i:min(i+n, len(list))]...)
		for fill != nil && len(row) < n {
			row = append(row, fill)
		}
		out.Items = append(out.Items, &List{Items: row})
	}
	return out, nil
}

func sliceFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil {
		return nil, err
	}
	n, err := chunk(a, "slices")
	if err != nil {
		return nil, err
	}
	fill := a.get(2, "fill_with", nil)
	out, at := &List{}, 0
	for i := range n {
		size := len(list) / n
		if i < len(list)%n {
			size++
		}
		row := append([]any{}, list[at:at+size]...)
		at += size
		if fill != nil && len(list)%n > 0 && i >= len(list)%n {
			row = append(row, fill)
		}
		out.Items = append(out.Items, &List{Items: row})
	}
	return out, nil
}

func lengthFilter(_ *evaluator, a *args) (any, error) {
	n, err := length(a.pos[0])
	return n, err
}

func defaultFilter(_ *evaluator, a *args) (any, error) {
	_, missing := a.pos[0].(Undefined)
	if missing || truth(a.get(2, "boolean", false)) && !truth(a.pos[0]) {
		return a.get(1, "default_value", ""), nil
	}
	return a.pos[0], nil
}

func itemsFilter(_ *evaluator, a *args) (any, error) {
	switch v := a.pos[0].(type) {
	case Undefined:
		return &List{}, nil
	case *Dict:
		return v.pairs(), nil
	}
	return nil, errors.New("Can only get item pairs from a mapping.") //nolint:staticcheck // templates show this text
}

// pairs lists the items of a dict as tuples.
func (d *Dict) pairs() *List {
	l := &List{Items: make([]any, len(d.keys))}
	for i, k := range d.keys {
		l.Items[i] = &List{Items: []any{k, d.values[i]}, tuple: true}
	}
	return l
}

func dictsortFilter(ev *evaluator, a *args) (any, error) {
	if err := ev.spendAll(a.pos[0]); err != nil {
		return nil, err
	}
	d, ok := a.pos[0].(*Dict)
	if !ok {
		return nil, typeError("'%s' object has no attribute 'items'", a.pos[0])
	}
	by := getter(int64(0), nil)
	if toText(a.get(2, "by", "key")) == "value" {
		by = getter(int64(1), nil)
	}
	list, err := sortedBy(d.pairs().Items, folding(by, truth(a.get(1, "case_sensitive", false))), truth(a.get(3, "reverse", false)))
	return &List{Items: list}, err
}

func escapeFilter(_ *evaluator, a *args) (any, error) {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;").Replace(toText(a.pos[0])), nil
}

func firstFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil || len(list) == 0 {
		return Undefined{"No first item, sequence was empty."}, err
	}
	return list[0], nil
}

func lastFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil || len(list) == 0 {
		return Undefined{"No last item, sequence was empty."}, err
	}
	return list[len(list)-1], nil
}

func floatFilter(_ *evaluator, a *args) (any, error) {
	if f, _, _, ok := number(a.pos[0]); ok {
		return f, nil
	}
	if s, ok := a.pos[0].(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f, nil
		}
	}
	return a.get(1, "default", 0.0), nil
}

func intFilter(_ *evaluator, a *args) (any, error) {
	f, i, isInt, ok := number(a.pos[0])
	if ok && isInt {
		return i, nil
	}
	if s, isText := a.pos[0].(string); isText {
		_, base, _, _ := number(a.get(2, "base", int64(10)))
		s = strings.TrimSpace(s)
		if prefix := map[int64]string{16: "0x", 8: "0o", 2: "0b"}[base]; prefix != "" {
			s = strings.TrimPrefix(strings.ToLower(s), prefix)
		}
		if n, err := strconv.ParseInt(s, int(base), 64); err == nil {
			return n, nil
		}
		var err error
		f, err = strconv.ParseFloat(s, 64)
		ok = err == nil
	}
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return a.get(1, "default", int64(0)), nil
	}
	return int64(f), nil
}

func formatFilter(_ *evaluator, a *args) (any, error) {
	if len(a.names) > 0 {
		d := newDict()
		for _, s := range a.names {
			d.name(s, a.kw[s])
		}
		return format(toText(a.pos[0]), d)
	}
	return format(toText(a.pos[0]), &List{Items: a.pos[1:], tuple: true})
}

func groupbyFilter(ev *evaluator, a *args) (any, error) {
	list, err := iterateAll(ev, a)
	if err != nil {
		return nil, err
	}
	get := getter(a.get(1, "attribute", nil), a.get(2, "default", nil))
	key := folding(get, truth(a.get(3, "case_sensitive", false)))
	if list, err = sortedBy(list, key, false); err != nil {
		return nil, err
	}
	out := &List{}
	var group *List
	var last any
	for _, v := range list {
		k, err := key(v)
		if err != nil {
			return nil, err
		}
		if group == nil || !equal(k, last) {
			shown, err := get(v)
			if err != nil {
				return nil, err
			}
			group = &List{}
			out.Items = append(out.Items, &List{Items: []any{shown, group}, tuple: true, names: []string{"grouper", "list"}})
		}
		group.Items = append(group.Items, v)
		last = k
	}
	return out, nil
}

func indentFilter(_ *evaluator, a *args) (any, error) {
	s := toText(a.pos[0])
	pad := "    "
	switch w := a.get(1, "width", int64(4)).(type) {
	case int64:
		pad = strings.Repeat(" ", int(min(max(w, 0), 1000)))
	case string:
		pad = w
	}
	first, blank := truth(a.get(2, "first", false)), truth(a.get(3, "blank", false))
	lines, total := strings.Split(s, "\n"), 0
	for i := range lines {
		if i == 0 && !first || i > 0 && lines[i] == "" && !blank {
			continue
		}
		lines[i] = pad + lines[i]
		if total += len(lines[i]); total > 4*maxSize {
			return nil, errors.New("indent: text is too long")
		}
	}
	return strings.Join(lines, "\n"), nil
}

func joinFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil {
		return nil, err
	}
	get := getter(a.get(2, "attribute", nil), nil)
	parts := make([]string, len(list))
	for i, v := range list {
		x, err := get(v)
		if err != nil {
			return nil, err
		}
		parts[i] = toText(x)
	}
	return joined(parts, toText(a.get(1, "d", "")))
}

func listFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	return &List{Items: append([]any{}, list...)}, err
}

func mapFilter(ev *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil {
		return nil, err
	}
	out := &List{Items: make([]any, len(list))}
	f := func(v any) (any, error) { return v, nil }
	if path, ok := a.kw["attribute"]; ok {
		f = getter(path, a.get(-1, "default", nil))
	} else if len(a.pos) > 1 {
		filter, ok := ev.filters[toText(a.pos[1])]
		if !ok {
			return nil, fmt.Errorf("no filter named %q", toText(a.pos[1]))
		}
		f = func(v any) (any, error) {
			return ev.filter(filter, &args{pos: append([]any{v}, a.pos[2:]...), names: a.names, kw: a.kw})
		}
	} else {
		return nil, errors.New("map requires a filter argument")
	}
	for i, v := range list {
		if out.Items[i], err = f(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// extremeFilter is max (sign 1) or min (sign -1).
func extremeFilter(sign int) filterFunc {
	return func(ev *evaluator, a *args) (any, error) {
		list, err := iterateAll(ev, a)
		if err != nil || len(list) == 0 {
			return Undefined{"No aggregated item, sequence was empty."}, err
		}
		key := folding(getter(a.get(2, "attribute", nil), nil), truth(a.get(1, "case_sensitive", false)))
		best := list[0]
		top, err := key(best)
		for _, v := range list[1:] {
			if err != nil {
				break
			}
			var k any
			if k, err = key(v); err != nil {
				break
			}
			var c int
			if c, err = compare(k, top, "<"); c*sign > 0 {
				best, top = v, k
			}
		}
		return best, err
	}
}

// selectFilter is select, reject, selectattr or rejectattr.
func selectFilter(keep, attr bool) filterFunc {
	return func(ev *evaluator, a *args) (any, error) {
		list, err := iterate(a)
		if err != nil {
			return nil, err
		}
		rest := a.pos[1:]
		get := getter(nil, nil)
		if attr {
			if len(rest) == 0 {
				return nil, errors.New("missing parameter for attribute name")
			}
			get, rest = getter(rest[0], nil), rest[1:]
		}
		out := &List{Items: []any{}}
		for _, v := range list {
			x, err := get(v)
			if err != nil {
				return nil, err
			}
			ok := truth(x)
			if len(rest) > 0 {
				if ok, err = ev.test(toText(rest[0]), x, rest[1:]); err != nil {
					return nil, err
				}
			}
			if ok == keep {
				out.Items = append(out.Items, v)
			}
		}
		return out, nil
	}
}

func reverseFilter(_ *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(list))
	for i, v := range list {
		out[len(list)-1-i] = v
	}
	if _, isText := a.pos[0].(string); !isText {
		return &List{Items: out}, nil
	}
	var b strings.Builder
	for _, v := range out {
		b.WriteString(toText(v))
	}
	return b.String(), nil
}

func roundFilter(_ *evaluator, a *args) (any, error) {
	f, whole, isInt, ok := number(a.pos[0])
	_, n, _, nok := number(a.get(1, "precision", int64(0)))
	if !ok || !nok || n < -300 || n > 300 {
		return nil, typeError("type %s doesn't define round", a.pos[0])
	}
	if isInt && n >= 0 && a.get(2, "method", "common") == "common" {
		return whole, nil
	}
	scale := math.Pow(10, float64(n))
	switch toText(a.get(2, "method", "common")) {
	case "ceil":
		return math.Ceil(f*scale) / scale, nil
	case "floor":
		return math.Floor(f*scale) / scale, nil
	}
	if n >= 0 {
		return strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(n), 64), 64) // half to even on the exact value
	}
	return math.RoundToEven(f*scale) / scale, nil
}

func sortFilter(ev *evaluator, a *args) (any, error) {
	list, err := iterateAll(ev, a)
	if err != nil {
		return nil, err
	}
	get := getters(a.get(3, "attribute", nil))
	list, err = sortedBy(list, folding(get, truth(a.get(2, "case_sensitive", false))), truth(a.get(1, "reverse", false)))
	return &List{Items: list}, err
}

func sumFilter(ev *evaluator, a *args) (any, error) {
	list, err := iterate(a)
	if err != nil {
		return nil, err
	}
	get := getter(a.get(1, "attribute", nil), nil)
	total := a.get(2, "start", int64(0))
	if _, isText := total.(string); isText {
		return nil, errors.New("sum() can't sum strings [use ''.join(seq) instead]")
	}
	for _, v := range list {
		x, err := get(v)
		if err == nil {
			total, err = ev.arithmetic("+", total, x)
		}
		if err != nil {
			return nil, err
		}
	}
	return total, nil
}

// titleFilter differs from the method title: words end at spaces, hyphens and opening brackets only.
func titleFilter(_ *evaluator, a *args) (any, error) {
	start := true
	return strings.Map(func(r rune) rune {
		first := start
		start = IsSpace(r) || strings.ContainsRune("-({[<", r)
		if first {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, toText(a.pos[0])), nil
}

func truncateFilter(_ *evaluator, a *args) (any, error) {
	r := []rune(toText(a.pos[0]))
	_, n, _, _ := number(a.get(1, "length", int64(255)))
	_, leeway, _, _ := number(a.get(4, "leeway", int64(5)))
	end := toText(a.get(3, "end", "..."))
	size := n - int64(len([]rune(end)))
	if size < 0 {
		return nil, fmt.Errorf("expected length >= %d, got %d", len([]rune(end)), n)
	}
	if int64(len(r)) <= n+leeway {
		return string(r), nil
	}
	s := string(r[:size])
	if !truth(a.get(2, "killwords", false)) {
		if i := strings.LastIndexByte(s, ' '); i >= 0 {
			s = s[:i]
		}
	}
	return s + end, nil
}

func uniqueFilter(ev *evaluator, a *args) (any, error) {
	list, err := iterateAll(ev, a)
	if err != nil {
		return nil, err
	}
	key := folding(getter(a.get(2, "attribute", nil), nil), truth(a.get(1, "case_sensitive", false)))
	out := &List{Items: []any{}}
	seen := map[any]bool{}
	for _, v := range list {
		k, err := key(v)
		if err != nil {
			return nil, err
		}
		h, err := hashed(k)
		if err != nil {
			return nil, err
		}
		if !seen[h] {
			seen[h] = true
			out.Items = append(out.Items, v)
		}
	}
	return out, nil
}

func urlencodeFilter(_ *evaluator, a *args) (any, error) {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(toText(a.pos[0])), "+", "%20"), "%2F", "/"), nil
}

func wordcountFilter(_ *evaluator, a *args) (any, error) {
	n := int64(0)
	for range strings.FieldsFuncSeq(toText(a.pos[0]), func(r rune) bool { return !isWord(r) }) {
		n++
	}
	return n, nil
}
