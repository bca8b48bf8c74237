package data

import (
	"slices"
	"strconv"
	"strings"
)

// Problem types of the shape classification, by the names of a model's problem_type.
const (
	SingleLabel = "single_label_classification" // one class a row
	MultiLabel  = "multi_label_classification"  // any number of labels a row
	Regression  = "regression"                  // a number, or several
)

var problemTypes = []string{SingleLabel, MultiLabel, Regression}

// labeler gives numbers to the names of labels: those of Settings.Labels, or the names that rows have. In the latter
// case the numbers are by first appearance until finish sorts the names.
type labeler struct {
	names []string
	ids   map[string]int32
	fixed bool // the names are Settings.Labels
	multi bool // Example.Labels lists the labels of a row until finish makes 0 and 1 of them
}

func newLabeler(given []string) *labeler {
	l := &labeler{ids: map[string]int32{}, fixed: len(given) > 0}
	for _, name := range given {
		l.add(name)
	}
	return l
}

func (l *labeler) add(name string) int32 {
	id := int32(len(l.names))
	l.names, l.ids[name] = append(l.names, name), id
	return id
}

// number turns an example's numbers of names into numbers of the whole source.
func (l *labeler) number(x *Example, names []string) error {
	ids := make([]int32, len(names))
	for i, name := range names {
		id, known := l.ids[name]
		if !known && l.fixed {
			return x.Errorf("label %q is none of the labels %s", name, strings.Join(l.names, ", "))
		}
		if !known {
			id = l.add(name)
		}
		ids[i] = id
	}
	x.renumber(ids)
	return nil
}

// renumber replaces label i by ids[i].
func (e *Example) renumber(ids []int32) {
	for t, tag := range e.Tags {
		if tag != NoTarget {
			e.Tags[t] = ids[tag]
		}
	}
	for i, label := range e.Labels {
		e.Labels[i] = float32(ids[int(label)])
	}
}

// finish sorts the names, completes those of tags, and gives all examples their final numbers.
func (l *labeler) finish(set Set, tags bool) []string {
	final := l.names
	if !l.fixed {
		final = sortLabels(l.names, tags)
		ids := make([]int32, len(l.names))
		for i, name := range l.names {
			ids[i] = int32(slices.Index(final, name))
		}
		for i := range set {
			set[i].renumber(ids)
		}
	}
	for i := range set {
		if l.multi {
			set[i].Labels = indicators(set[i].Labels, len(final))
		}
	}
	return final
}

// indicators is 1 where a label is listed, else 0 [n].
func indicators(list []float32, n int) []float32 {
	out := make([]float32, n)
	for _, label := range list {
		out[int(label)] = 1
	}
	return out
}

// sortLabels sorts by bytes; numbers by their values. Tags of entities begin with O, then come, for each type in order,
// all prefixes that any type has: B-LOC, I-LOC, B-PER, I-PER.
func sortLabels(names []string, tags bool) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	if slices.IndexFunc(out, func(s string) bool { _, err := strconv.Atoi(s); return err != nil }) < 0 {
		slices.SortStableFunc(out, func(a, b string) int {
			x, _ := strconv.Atoi(a)
			y, _ := strconv.Atoi(b)
			return x - y
		})
		return out
	}
	if !tags || slices.ContainsFunc(out, func(s string) bool { return s != outside && !isTag(s) }) {
		return out
	}
	return completeTags(out)
}

// outside is the tag of words that belong to no entity.
const outside = "O"

// tagPrefixes are those of IOB1, IOB2, IOBES and BILOU, in the order of an entity.
const tagPrefixes = "BIELSU"

// isTag tells whether a tag is a prefix with a type.
func isTag(s string) bool {
	return len(s) > 2 && s[1] == '-' && strings.IndexByte(tagPrefixes, s[0]) >= 0
}

func completeTags(sorted []string) []string {
	var types []string
	var prefixes [len(tagPrefixes)]bool
	for _, s := range sorted {
		if isTag(s) {
			types = append(types, s[2:])
			prefixes[strings.IndexByte(tagPrefixes, s[0])] = true
		}
	}
	slices.Sort(types)
	out := []string{outside}
	for _, t := range slices.Compact(types) {
		for i, there := range prefixes {
			if there {
				out = append(out, tagPrefixes[i:i+1]+"-"+t)
			}
		}
	}
	return out
}

// JoinLabels are the names of several sources in the order that one source with all rows would give.
func JoinLabels(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	all = slices.Compact(all)
	return sortLabels(all, slices.Contains(all, outside))
}
