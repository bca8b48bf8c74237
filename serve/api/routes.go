package api

import (
	"net/http"
	"strings"
)

// bodyKind is what a route reads.
type bodyKind uint8

const (
	none     bodyKind = iota
	anObject          // the request takes a slot, too
	aList
)

// route is a way in. The last part of its path may be in braces: it stands for any one part.
type route struct {
	method, path string
	scope        Scope
	body         bodyKind
	runtime      bool // only with Config.Runtime
	handle       func(*Server, *exchange) error
}

// table lists the routes.
var table = []route{
	{"POST", "/v1/completions", Use, anObject, false, (*Server).completions},
	{"POST", "/v1/chat/completions", Use, anObject, false, (*Server).chat},
	{"POST", "/v1/embeddings", Use, anObject, false, (*Server).embeddings},
	{"GET", "/v1/models", Use, none, false, (*Server).models},
	{"GET", "/v1/models/{model}", Use, none, false, (*Server).model},
	{"POST", "/tokenize", Use, anObject, false, (*Server).tokenize},
	{"POST", "/detokenize", Use, anObject, false, (*Server).detokenize},
	{"POST", "/classify", Use, anObject, false, (*Server).classify},
	{"POST", "/ner", Use, anObject, false, (*Server).ner},
	{"POST", "/generate", Use, anObject, false, (*Server).loraxGenerate},
	{"POST", "/generate_stream", Use, anObject, false, (*Server).loraxStream},
	{"GET", "/lora-adapters", Use, none, false, (*Server).scales},
	{"POST", "/lora-adapters", Admin, aList, true, (*Server).setScales},
	{"POST", "/v1/load_lora_adapter", Admin, anObject, true, (*Server).loadAdapter},
	{"POST", "/v1/unload_lora_adapter", Admin, anObject, true, (*Server).unloadAdapter},
	{"GET", "/metrics", Admin, none, false, (*Server).scrape},
	{"GET", "/healthz", Open, none, false, (*Server).healthy},
	{"GET", "/readyz", Open, none, false, (*Server).ready},
	{"GET", "/openapi.json", Open, none, false, (*Server).openAPI},
	{"GET", "/", Open, none, false, (*Server).page},
	{"GET", "/page/{file}", Open, none, false, (*Server).pageFile},
}

// nowhere is the route of paths that there are none for.
var nowhere = route{path: "none", handle: func(_ *Server, x *exchange) error {
	return refusal(http.StatusNotFound, badRequest, "not_found", "there is nothing at %s (GET /openapi.json tells what there is)", shown(x.URL.Path))
}}

// find is the route of a request, by its path; of several for one path, that of the method.
func find(r *http.Request) (found *route, value string) {
	for i := range table {
		v, ok := table[i].matches(r.URL.Path)
		if ok && (found == nil || table[i].takes(r.Method)) {
			found, value = &table[i], v
		}
	}
	if found == nil {
		return &nowhere, ""
	}
	return found, value
}

// matches compares a path, with what the part in braces stands for.
func (t *route) matches(path string) (value string, ok bool) {
	fixed, _, open := strings.Cut(t.path, "{")
	if !open {
		return "", path == t.path
	}
	value, ok = strings.CutPrefix(path, fixed)
	return value, ok && value != "" && !strings.Contains(value, "/")
}

// takes says that a method is the route's; HEAD is a GET without the answer's body.
func (t *route) takes(method string) bool {
	return t.method == method || t.method == http.MethodGet && method == http.MethodHead
}

// allows refuses methods that the path has no route for.
func (t *route) allows(x *exchange) error {
	if t.method == "" || t.takes(x.Method) {
		return nil
	}
	var methods []string
	for i := range table {
		if table[i].path == t.path {
			methods = append(methods, table[i].method)
		}
	}
	x.w.Header().Set("Allow", strings.Join(methods, ", "))
	return refusal(http.StatusMethodNotAllowed, badRequest, "method_not_allowed", "%s is not for %s, want %s", t.path, shown(x.Method), strings.Join(methods, " or "))
}
