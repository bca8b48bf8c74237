package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// directives of strftime, with Go's layout of each.
var directives = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04",
	'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST", 'D': "01/02/06", 'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04",
	'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}

func strftimeNow(ev *evaluator, a *args) (any, error) {
	return strftime(ev.now, toText(a.get(0, "format", "")))
}

// strftime writes a time as C does; %-d leaves out the zero.
func strftime(t time.Time, format string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		if i++; i == len(format) {
			return "", errors.New("strftime_now: format ends with %")
		}
		bare := format[i] == '-' && i+1 < len(format)
		if bare {
			i++
		}
		layout, ok := directives[format[i]]
		switch {
		case format[i] == '%':
			b.WriteByte('%')
		case !ok:
			return "", fmt.Errorf("strftime_now: unknown directive %%%c", format[i])
		case bare:
			s := t.Format(layout)
			b.WriteString(strings.TrimLeft(s[:len(s)-1], "0 ") + s[len(s)-1:])
		default:
			b.WriteString(t.Format(layout))
		}
		if b.Len() > maxSize {
			return "", errors.New("strftime_now: format is too long")
		}
	}
	return b.String(), nil
}
