package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// method is a bound method of a value, or nil.
func method(v any, name string) any {
	switch v := v.(type) {
	case string:
		if m, ok := stringMethods[name]; ok {
			return &Func{name, func(_ *evaluator, a *args) (any, error) { return m(v, a) }}
		}
	case *Dict:
		if m, ok := dictMethods[name]; ok {
			return &Func{name, func(_ *evaluator, a *args) (any, error) { return m(v, a) }}
		}
	case *List:
		if m, ok := listMethods[name]; ok {
			return &Func{name, func(ev *evaluator, a *args) (any, error) {
				if err := ev.spendAll(v); err != nil {
					return nil, err
				}
				return m(v, a)
			}}
		}
	default:
		return nil
	}
	if slices.Contains(changing, name) && typeName(v) != "str" && typeName(v) != "tuple" {
		return &Func{name, func(*evaluator, *args) (any, error) {
			return nil, fmt.Errorf("access to attribute '%s' of '%s' object is unsafe", name, typeName(v))
		}}
	}
	return nil
}

// changing are methods that would change a value; chat templates run in a sandbox that forbids them.
var changing = []string{"append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"}

var dictMethods = map[string]func(d *Dict, a *args) (any, error){
	"items": func(d *Dict, _ *args) (any, error) { return d.pairs(), nil },
	"keys":  func(d *Dict, _ *args) (any, error) { return &List{Items: slices.Clone(d.keys)}, nil },
	"values": func(d *Dict, _ *args) (any, error) {
		return &List{Items: slices.Clone(d.values)}, nil
	},
	"get": func(d *Dict, a *args) (any, error) {
		if v, ok := d.get(a.get(0, "key", nil)); ok {
			return v, nil
		}
		return a.get(1, "default", nil), nil
	},
	"copy": func(d *Dict, _ *args) (any, error) { return dictOf(&args{pos: []any{d}}) },
}

var listMethods = map[string]func(l *List, a *args) (any, error){
	"index": func(l *List, a *args) (any, error) {
		for i, v := range l.Items {
			if equal(v, a.get(0, "value", nil)) {
				return int64(i), nil
			}
		}
		return nil, fmt.Errorf("%s is not in list", repr(a.get(0, "value", nil)))
	},
	"count": func(l *List, a *args) (any, error) {
		n := int64(0)
		for _, v := range l.Items {
			if equal(v, a.get(0, "value", nil)) {
				n++
			}
		}
		return n, nil
	},
	"copy": func(l *List, _ *args) (any, error) { return &List{Items: slices.Clone(l.Items), tuple: l.tuple}, nil },
}

// textArg is an argument that has to be a string.
func textArg(a *args, i int, name string) (string, error) {
	v := a.get(i, name, nil)
	s, ok := v.(string)
	if !ok {
		return "", typeError("must be str, not %s", v)
	}
	return s, nil
}

// intArg is an argument that has to be a whole number.
func intArg(a *args, i int, name string, otherwise int64) (int64, error) {
	v := a.get(i, name, otherwise)
	_, n, isInt, ok := number(v)
	if !ok || !isInt {
		return 0, typeError("'%s' object cannot be interpreted as an integer", v)
	}
	return n, nil
}

type stringMethod = func(s string, a *args) (any, error)

// plainMethod takes no arguments.
func plainMethod(f func(string) string) stringMethod {
	return func(s string, _ *args) (any, error) { return f(s), nil }
}

// classMethod asks whether every character is of a class, and whether there is one.
func classMethod(f func(rune) bool) stringMethod {
	return func(s string, _ *args) (any, error) {
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !f(r) }) < 0, nil
	}
}

var stringMethods = map[string]stringMethod{
	"upper": plainMethod(upper), "lower": plainMethod(lower), "casefold": plainMethod(func(s string) string { return cases.Fold().String(s) }),
	"title": plainMethod(title), "capitalize": plainMethod(capitalize), "swapcase": plainMethod(swapcase),
	"isdigit": classMethod(func(r rune) bool { return unicode.IsDigit(r) || strings.ContainsRune(raised, r) }), "isnumeric": classMethod(unicode.IsNumber), "isdecimal": classMethod(unicode.IsDigit),
	"isalpha": classMethod(unicode.IsLetter), "isspace": classMethod(IsSpace),
	"isalnum": classMethod(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
	"isupper": func(s string, _ *args) (any, error) { return hasCase(s, unicode.IsLower, unicode.IsUpper), nil },
	"islower": func(s string, _ *args) (any, error) { return hasCase(s, unicode.IsUpper, unicode.IsLower), nil },
	"strip":   stripMethod(true, true), "lstrip": stripMethod(true, false), "rstrip": stripMethod(false, true),
	"startswith": affixMethod(strings.HasPrefix), "endswith": affixMethod(strings.HasSuffix),
	"removeprefix": cutMethod(strings.TrimPrefix), "removesuffix": cutMethod(strings.TrimSuffix),
	"find": findMethod(strings.Index, false), "rfind": findMethod(strings.LastIndex, false),
	"index": findMethod(strings.Index, true), "rindex": findMethod(strings.LastIndex, true),
	"partition": partitionMethod(false), "rpartition": partitionMethod(true),
	"split": splitMethod, "rsplit": rsplitMethod, "splitlines": splitlinesMethod,
	"ljust": padMethod(0), "rjust": padMethod(1), "center": padMethod(2), "zfill": zfillMethod,
	"replace": replaceMethod, "join": joinMethod, "count": countMethod, "format": formatMethod,
}

// IsSpace is Python's notion of white space.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// raised are digits to Python that are no decimal digits.
const raised = "²³¹⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉"

// upper and lower know letters that become two, and those that look at their neighbours.
func upper(s string) string { return cases.Upper(language.Und).String(s) }
func lower(s string) string { return cases.Lower(language.Und).String(s) }

func title(s string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		was := inside
		inside = unicode.IsLetter(r)
		switch {
		case !inside:
			return r
		case was:
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + lower(s[n:])
}

func swapcase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

func stripMethod(left, right bool) stringMethod {
	return func(s string, a *args) (any, error) {
		drop := IsSpace
		if chars := a.get(0, "chars", nil); chars != nil {
			set, ok := chars.(string)
			if !ok {
				return nil, typeError("strip arg must be None or str, not %s", chars)
			}
			drop = func(r rune) bool { return strings.ContainsRune(set, r) }
		}
		if left {
			s = strings.TrimLeftFunc(s, drop)
		}
		if right {
			s = strings.TrimRightFunc(s, drop)
		}
		return s, nil
	}
}

// within cuts s to the characters from argument i to the next one, as s[start:stop] does; before is how many went.
func within(s string, a *args, i int) (rest string, before int, err error) {
	if len(a.pos) <= i {
		return s, 0, nil
	}
	r := []rune(s)
	start, err := intArg(a, i, "start", 0)
	if err != nil {
		return "", 0, err
	}
	stop, err := intArg(a, i+1, "end", int64(len(r)))
	if err != nil {
		return "", 0, err
	}
	picked, err := slice(r, [3]*int64{&start, &stop})
	if start < 0 {
		start = max(start+int64(len(r)), 0)
	}
	return string(picked), int(min(start, int64(len(r)))), err
}

func affixMethod(has func(s, x string) bool) stringMethod {
	return func(s string, a *args) (any, error) {
		s, _, err := within(s, a, 1)
		if err != nil {
			return nil, err
		}
		if l, ok := a.get(0, "prefix", nil).(*List); ok && l.tuple {
			for _, v := range l.Items {
				if has(s, toText(v)) {
					return true, nil
				}
			}
			return false, nil
		}
		x, err := textArg(a, 0, "prefix")
		return has(s, x), err
	}
}

func cutMethod(cut func(s, x string) string) stringMethod {
	return func(s string, a *args) (any, error) {
		x, err := textArg(a, 0, "prefix")
		return cut(s, x), err
	}
}

func findMethod(index func(s, x string) int, must bool) stringMethod {
	return func(s string, a *args) (any, error) {
		x, err := textArg(a, 0, "sub")
		if err != nil {
			return nil, err
		}
		s, before, err := within(s, a, 1)
		if err != nil {
			return nil, err
		}
		i := index(s, x)
		if i < 0 {
			if must {
				return nil, errors.New("substring not found")
			}
			return int64(-1), nil
		}
		return int64(before + utf8.RuneCountInString(s[:i])), nil
	}
}

func partitionMethod(last bool) stringMethod {
	return func(s string, a *args) (any, error) {
		sep, err := textArg(a, 0, "sep")
		if err != nil {
			return nil, err
		}
		parts := []any{s, "", ""}
		i := strings.Index(s, sep)
		if last {
			i = strings.LastIndex(s, sep)
			parts = []any{"", "", s}
		}
		if i >= 0 {
			parts = []any{s[:i], sep, s[i+len(sep):]}
		}
		return &List{Items: parts, tuple: true}, nil
	}
}

func texts(parts []string) *List {
	l := &List{Items: make([]any, len(parts))}
	for i, s := range parts {
		l.Items[i] = s
	}
	return l
}

func splitMethod(s string, a *args) (any, error) {
	limit, err := intArg(a, 1, "maxsplit", -1)
	if err != nil {
		return nil, err
	}
	if a.get(0, "sep", nil) == nil {
		var parts []string
		s = strings.TrimLeftFunc(s, IsSpace)
		for s != "" {
			i := strings.IndexFunc(s, IsSpace)
			if i < 0 || len(parts) == maxItems || limit == int64(len(parts)) {
				parts = append(parts, s)
				break
			}
			parts = append(parts, s[:i])
			s = strings.TrimLeftFunc(s[i:], IsSpace)
		}
		return texts(parts), nil
	}
	sep, err := separator(s, a)
	if err != nil {
		return nil, err
	}
	if limit >= 0 && limit < 1<<31 {
		return texts(strings.SplitN(s, sep, int(limit)+1)), nil
	}
	return texts(strings.Split(s, sep)), nil
}

// separator is what splits s, which must not come too often.
func separator(s string, a *args) (string, error) {
	sep, err := textArg(a, 0, "sep")
	switch {
	case err != nil:
		return "", err
	case sep == "":
		return "", errors.New("empty separator")
	case strings.Count(s, sep) >= maxItems:
		return "", fmt.Errorf("split: more than %d parts", maxItems)
	}
	return sep, nil
}

// rsplitSpace splits at white space, from the end, limit times.
func rsplitSpace(s string, limit int64) *List {
	var parts []string
	s = strings.TrimRightFunc(s, IsSpace)
	for s != "" {
		i := strings.LastIndexFunc(s, IsSpace)
		if i < 0 || len(parts) == maxItems || limit == int64(len(parts)) {
			parts = append(parts, s)
			break
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		parts = append(parts, s[i+n:])
		s = strings.TrimRightFunc(s[:i], IsSpace)
	}
	slices.Reverse(parts)
	return texts(parts)
}

func rsplitMethod(s string, a *args) (any, error) {
	limit, err := intArg(a, 1, "maxsplit", -1)
	if err != nil {
		return nil, err
	}
	if limit < 0 {
		return splitMethod(s, a)
	}
	if a.get(0, "sep", nil) == nil {
		return rsplitSpace(s, limit), nil
	}
	sep, err := separator(s, a)
	if err != nil {
		return nil, err
	}
	var parts []string
	for int64(len(parts)) < limit {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts = append(parts, s[i+len(sep):])
		s = s[:i]
	}
	parts = append(parts, s)
	slices.Reverse(parts)
	return texts(parts), nil
}

func splitlinesMethod(s string, a *args) (any, error) {
	keep := truth(a.get(0, "keepends", false))
	var parts []string
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 || len(parts) == maxItems {
			parts = append(parts, s)
			break
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
		}
		end := i
		if keep {
			end += n
		}
		parts = append(parts, s[:end])
		s = s[i+n:]
	}
	return texts(parts), nil
}

// padMethod pads on the right (0), on the left (1) or on both sides (2).
func padMethod(side int) stringMethod {
	return func(s string, a *args) (any, error) {
		width, err := intArg(a, 0, "width", 0)
		if err != nil {
			return nil, err
		}
		fill := toText(a.get(1, "fillchar", " "))
		if utf8.RuneCountInString(fill) != 1 {
			return nil, errors.New("the fill character must be exactly one character long")
		}
		n := min(width, maxRange) - int64(utf8.RuneCountInString(s))
		if n <= 0 {
			return s, nil
		}
		left := int64(0)
		switch side {
		case 1:
			left = n
		case 2:
			left = n/2 + n&width&1
		}
		return strings.Repeat(fill, int(left)) + s + strings.Repeat(fill, int(n-left)), nil
	}
}

func zfillMethod(s string, a *args) (any, error) {
	width, err := intArg(a, 0, "width", 0)
	n := int(min(width, maxRange)) - utf8.RuneCountInString(s)
	if err != nil || n <= 0 {
		return s, err
	}
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	return sign + strings.Repeat("0", n) + s, nil
}

func replaceMethod(s string, a *args) (any, error) {
	from, err := textArg(a, 0, "old")
	if err != nil {
		return nil, err
	}
	to, err := textArg(a, 1, "new")
	if err != nil {
		return nil, err
	}
	n, err := intArg(a, 2, "count", -1)
	if len(to) > 0 && len(s) >= 4*maxSize/len(to) {
		return nil, errors.New("replace: text is too long")
	}
	return strings.Replace(s, from, to, int(max(min(n, 1<<30), -1))), err
}

func joinMethod(s string, a *args) (any, error) {
	list, err := items(a.get(0, "iterable", nil))
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(list))
	for i, v := range list {
		x, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("sequence item %d: expected str instance, %s found", i, typeName(v))
		}
		parts[i] = x
	}
	return joined(parts, s)
}

// joined puts sep between the parts.
func joined(parts []string, sep string) (any, error) {
	n := len(sep) * max(len(parts)-1, 0)
	for _, s := range parts {
		n += len(s)
	}
	if n > 4*maxSize {
		return nil, fmt.Errorf("join: text of %d bytes is too long", n)
	}
	return strings.Join(parts, sep), nil
}

func countMethod(s string, a *args) (any, error) {
	x, err := textArg(a, 0, "sub")
	if err != nil {
		return nil, err
	}
	s, _, err = within(s, a, 1)
	return int64(strings.Count(s, x)), err
}

// formatMethod knows {}, {0} and {name}, without format specifications.
func formatMethod(s string, a *args) (any, error) {
	var b strings.Builder
	next := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c == '{' || c == '}') && i+1 < len(s) && s[i+1] == c {
			b.WriteByte(c)
			i++
			continue
		}
		if c != '{' {
			b.WriteByte(c)
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return nil, errors.New("single '{' encountered in format string")
		}
		key := s[i+1 : i+end]
		i += end
		at := -1
		if key == "" {
			at = next
			next++
		} else if n, err := fmt.Sscanf(key, "%d", &at); n == 0 || err != nil {
			at = -1
		}
		missing := Undefined{fmt.Sprintf("format: no argument for {%s}", key)}
		v := a.get(at, key, missing)
		if at < 0 {
			var ok bool
			if v, ok = a.kw[key]; !ok {
				v = missing
			}
		}
		if u, ok := v.(Undefined); ok {
			return nil, u.err()
		}
		if b.WriteString(toText(v)); b.Len() > 4*maxSize {
			return nil, errors.New("format: text is too long")
		}
	}
	return b.String(), nil
}
