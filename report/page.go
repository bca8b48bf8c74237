package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
)

//go:embed style.css
var style string

// html is a page that stands alone: no script, no font, no address of another file.
func (r *Report) html() ([]byte, error) {
	var w bytes.Buffer
	name := html.EscapeString(r.Name)
	fmt.Fprintf(&w, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"+
		"<meta name=\"color-scheme\" content=\"light dark\">\n<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>%s</h1>\n", name, style, name)
	for _, s := range r.sections {
		fmt.Fprintf(&w, "<section id=\"%s\">\n<h2>%s</h2>\n", s.Name, html.EscapeString(s.Title))
		for _, b := range s.blocks {
			b.html(&w)
		}
		w.WriteString("</section>\n")
	}
	w.WriteString("</main>\n</body>\n</html>\n")
	return w.Bytes(), nil
}
