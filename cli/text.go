package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// count writes a number with thousands separators: 1,234,567.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// bytesText writes a size with three significant digits: 2.05 GB.
func bytesText(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}

// spanText writes a duration as people say it: 12.3 s, 4m05s, 2h07m.
func spanText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// pairs prints names and values in two columns.
type pairs struct {
	w    io.Writer
	rows [][2]string
}

func newPairs(w io.Writer) *pairs { return &pairs{w: w} }

func (p *pairs) add(name, value string) { p.rows = append(p.rows, [2]string{name, value}) }

func (p *pairs) flush() error {
	width := 0
	for _, r := range p.rows {
		width = max(width, text.StringWidthWithoutEscSequences(r[0]))
	}
	for _, r := range p.rows {
		pad := strings.Repeat(" ", width-text.StringWidthWithoutEscSequences(r[0]))
		if _, err := fmt.Fprintf(p.w, "%s%s  %s\n", r[0], pad, r[1]); err != nil {
			return err
		}
	}
	p.rows = nil
	return nil
}

// columns prints rows so that their cells stand below each other.
func columns(w io.Writer, rows [][]string) error {
	var widths []int
	for _, r := range rows {
		for i, cell := range r[:len(r)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(cell))
		}
	}
	for _, r := range rows {
		line := ""
		for i, cell := range r {
			line += cell
			if i < len(r)-1 {
				line += strings.Repeat(" ", widths[i]-text.StringWidthWithoutEscSequences(cell)+2)
			}
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
