package train

import (
	"fmt"
	"slices"
	"strings"
)

// differences names the keys whose values differ between two resolved recipes: TOML with one key to a line.
func differences(old, now []byte) string {
	was, is := keys(old), keys(now)
	var all []string
	for k := range was {
		all = append(all, k)
	}
	for k := range is {
		if _, both := was[k]; !both {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	var list []string
	for _, k := range all {
		a, inOld := was[k]
		b, inNew := is[k]
		switch {
		case inOld && inNew && a != b:
			list = append(list, fmt.Sprintf("%s is %s, the run has %s", k, b, a))
		case !inNew:
			list = append(list, fmt.Sprintf("%s is absent, the run has %s", k, a))
		case !inOld:
			list = append(list, fmt.Sprintf("%s is %s, the run has none", k, b))
		}
	}
	const shown = 3
	if len(list) == 0 {
		return "every key is the same, so the rows are not"
	}
	if more := len(list) - shown; more > 0 {
		list = append(list[:shown], fmt.Sprintf("%d more keys differ", more))
	}
	return strings.Join(list, "; ")
}

// keys maps section.key to the text of its value.
func keys(src []byte) map[string]string {
	m := map[string]string{}
	section := ""
	for line := range strings.Lines(string(src)) {
		line = strings.TrimSpace(line)
		switch key, value, isKey := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[] ") + "."
		case isKey:
			m[section+strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return m
}
