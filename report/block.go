package report

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode"
)

// Block is a piece of a section: it knows its form in both kinds of text.
type Block interface {
	html(w *bytes.Buffer)
	markdown(w *bytes.Buffer)
}

// Paragraph is plain text.
type Paragraph string

func (p Paragraph) html(w *bytes.Buffer)     { fmt.Fprintf(w, "<p>%s</p>\n", html.EscapeString(string(p))) }
func (p Paragraph) markdown(w *bytes.Buffer) { fmt.Fprintf(w, "%s\n", escapeMarkdown(string(p))) }

// Table has a name in the first column and numbers or text in the others. A head of empty words is not shown.
type Table struct {
	Head []string
	Rows [][]string
}

func (t Table) html(w *bytes.Buffer) {
	w.WriteString("<div class=\"wide\"><table>\n")
	if slices.ContainsFunc(t.Head, func(s string) bool { return s != "" }) {
		w.WriteString("<thead><tr>")
		for _, h := range t.Head {
			fmt.Fprintf(w, "<th scope=\"col\">%s</th>", html.EscapeString(h))
		}
		w.WriteString("</tr></thead>\n")
	}
	w.WriteString("<tbody>\n")
	for _, row := range t.Rows {
		w.WriteString("<tr>")
		for i, cell := range row {
			open, end := "<td>", "</td>"
			if i == 0 {
				open, end = `<th scope="row">`, "</th>"
			} else if isNumeric(cell) {
				open = `<td class="n">`
			}
			w.WriteString(open + strings.ReplaceAll(html.EscapeString(cell), " %", "\u00a0%") + end)
		}
		w.WriteString("</tr>\n")
	}
	w.WriteString("</tbody></table></div>\n")
}

// without is the table without a column.
func (t Table) without(column int) Table {
	out := Table{Head: slices.Delete(slices.Clone(t.Head), column, column+1)}
	for _, r := range t.Rows {
		out.Rows = append(out.Rows, slices.Delete(slices.Clone(r), column, column+1))
	}
	return out
}

// isNumeric tells whether a cell is to be read by its digits.
func isNumeric(cell string) bool {
	return cell == "–" || len(cell) < 24 && strings.IndexFunc(cell, unicode.IsDigit) >= 0 && strings.IndexFunc(cell, unicode.IsDigit) <= 3
}

func (t Table) markdown(w *bytes.Buffer) {
	row := func(cells []string) {
		for _, c := range cells {
			fmt.Fprintf(w, "| %s ", strings.ReplaceAll(escapeMarkdown(c), "|", `\|`))
		}
		w.WriteString("|\n")
	}
	row(t.Head)
	w.WriteString(strings.Repeat("|---", len(t.Head)) + "|\n")
	for _, r := range t.Rows {
		row(r)
	}
}

// Figure is a drawing; report.md only mentions it.
type Figure struct {
	SVG string // with the classes of report.html's style sheet
	Alt string
}

func (f Figure) html(w *bytes.Buffer)     { fmt.Fprintf(w, "<figure>%s</figure>\n", f.SVG) }
func (f Figure) markdown(w *bytes.Buffer) { fmt.Fprintf(w, "*Figure: %s, see report.html.*\n", f.Alt) }

// Code is text as it stands in a file, folded away at first.
type Code struct{ Title, Text string }

func (c Code) html(w *bytes.Buffer) {
	fmt.Fprintf(w, "<details><summary>%s</summary><pre>%s</pre></details>\n", html.EscapeString(c.Title), html.EscapeString(c.Text))
}

func (c Code) markdown(w *bytes.Buffer) {
	fence := "```"
	for strings.Contains(c.Text, fence) {
		fence += "`"
	}
	fmt.Fprintf(w, "%s\n\n%s\n%s\n%s\n", escapeMarkdown(c.Title), fence, strings.TrimRight(c.Text, "\n"), fence)
}

// Passages are texts with their targets marked.
type Passages []Passage

// Passage is one of them.
type Passage struct {
	Caption string
	Pieces  []Piece
}

// Piece is the text of a token.
type Piece struct {
	Text   string
	Target bool
	Loss   float64 // of a target
}

// shades is how many strengths the colour of a target has; a loss of mostLoss nats (one in 400) or more has the strongest.
const (
	shades   = 6
	mostLoss = 6.0
)

func (p Passages) html(w *bytes.Buffer) {
	for _, x := range p {
		fmt.Fprintf(w, "<figure class=\"passage\"><figcaption>%s</figcaption><blockquote dir=\"auto\">", html.EscapeString(x.Caption))
		for _, piece := range x.Pieces {
			text := html.EscapeString(piece.Text)
			if !piece.Target || text == "" {
				w.WriteString(text)
				continue
			}
			shade := min(shades-1, max(0, int(piece.Loss/mostLoss*shades)))
			fmt.Fprintf(w, `<mark class="s%d" title="loss %.2f">%s</mark>`, shade, piece.Loss, text)
		}
		w.WriteString("</blockquote></figure>\n")
	}
}

// markdown sets targets in bold.
func (p Passages) markdown(w *bytes.Buffer) {
	for i, x := range p {
		if i > 0 {
			w.WriteByte('\n')
		}
		fmt.Fprintf(w, "%s\n\n> ", escapeMarkdown(x.Caption))
		for i := 0; i < len(x.Pieces); {
			j, text := i, ""
			for ; j < len(x.Pieces) && x.Pieces[j].Target == x.Pieces[i].Target; j++ {
				text += x.Pieces[j].Text
			}
			if x.Pieces[i].Target {
				text = bold(text)
			} else {
				text = escapeMarkdown(text)
			}
			w.WriteString(strings.ReplaceAll(text, "\n", "\n> "))
			i = j
		}
		w.WriteByte('\n')
	}
}

// bold keeps spaces at the ends outside, for inside they would undo it; it cannot reach over an empty line.
func bold(s string) string {
	parts := strings.Split(s, "\n")
	for i, p := range parts {
		core := strings.TrimSpace(p)
		if core == "" {
			continue
		}
		at := strings.Index(p, core)
		parts[i] = p[:at] + "**" + escapeMarkdown(core) + "**" + p[at+len(core):]
	}
	return strings.Join(parts, "\n")
}

// escapeMarkdown takes the meaning from characters that have one.
func escapeMarkdown(s string) string {
	return markdownMarks.Replace(s)
}

var markdownMarks = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "#", `\#`, "~", `\~`)
