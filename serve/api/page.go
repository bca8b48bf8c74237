package api

import (
	"embed"
	"net/http"
	"path"
)

// pageFiles are the built-in page: no file of it comes from elsewhere, and its policy allows none to.
//
//go:embed page
var pageFiles embed.FS

// policy has browsers run and load what this server itself answers, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var pageTypes = map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (s *Server) page(x *exchange) error { return x.file("index.html") }

func (s *Server) pageFile(x *exchange) error { return x.file(x.value) }

func (x *exchange) file(name string) error {
	kind, ok := pageTypes[path.Ext(name)]
	if !ok {
		return nowhere.handle(x.server, x)
	}
	b, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		return nowhere.handle(x.server, x)
	}
	x.w.Header().Set("Content-Security-Policy", policy)
	return x.send(http.StatusOK, kind, b)
}
