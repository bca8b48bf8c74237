package jinja

import "fmt"

// A rendering is bounded in work, in the size of each value and in depth, so that no template hangs a program or fills
// its memory. Sizes count items, and bytes of text by fours.
const (
	maxWork  = 1 << 24 // tokens of statements run, items and text made: a second or two
	maxSize  = 1 << 22 // of one value with all that is in it: 16 MB of text, or four million numbers
	maxItems = 1 << 20 // of one list
	maxDepth = 100     // of lists in lists, and of calls in calls
)

// What costs more than a step: scopes are maps.
const (
	iteration = 8
	calling   = 32
)

// spend counts work.
func (ev *evaluator) spend(n int) error {
	if ev.work += n; ev.work > maxWork {
		return fmt.Errorf("template does too much work, want at most %d steps", maxWork)
	}
	return nil
}

// spendAll counts the work of going through a value and all that is in it.
func (ev *evaluator) spendAll(v any) error {
	size, _ := measure(v)
	return ev.spend(size)
}

// admit counts the work of making a value and refuses values that are too large.
func (ev *evaluator) admit(v any) (any, error) {
	if err := ev.spend(1 + width(v)); err != nil {
		return nil, err
	}
	size, depth := measure(v)
	if size > maxSize {
		return nil, fmt.Errorf("%s of size %d, want at most %d", typeName(v), size, maxSize)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s nested deeper than %d", typeName(v), maxDepth)
	}
	return v, nil
}

// width is the size of a value without that of its items.
func width(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) / 4
	case *List:
		return len(v.Items)
	case *Dict:
		return len(v.keys)
	}
	return 0
}

// measure is the size of a value with all that is in it, and how deep it is nested. Namespaces and functions count as
// one: nothing looks into them.
func measure(v any) (size, depth int) {
	switch v := v.(type) {
	case string:
		return 1 + len(v)/4, 0
	case *List:
		v.once(len(v.Items), func(i int) (int, int) { return measure(v.Items[i]) })
		return v.size, v.depth
	case *Dict:
		v.once(len(v.keys), func(i int) (int, int) {
			key, _ := measure(v.keys[i])
			size, depth := measure(v.values[i])
			return key + size, depth
		})
		return v.size, v.depth
	}
	return 1, 0
}

// extent is the size and depth of a container, once they are known: containers share parts, so that counting them anew
// could take for ever.
type extent struct{ size, depth int }

// once adds up n parts, the first time.
func (x *extent) once(n int, part func(i int) (size, depth int)) {
	if x.size > 0 {
		return
	}
	total, deepest := 1, 0
	for i := range n {
		size, depth := part(i)
		total, deepest = min(total+size, 2*maxSize), max(deepest, depth)
	}
	x.size, x.depth = total, deepest+1
}

// write adds text to the output.
func (ev *evaluator) write(s string) error {
	if ev.out.Len()+len(s) > 4*maxSize {
		return fmt.Errorf("text of more than %d bytes", 4*maxSize)
	}
	ev.out.WriteString(s)
	return ev.spend(len(s) / 4)
}
