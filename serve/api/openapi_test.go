package api

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestOpenAPIHasTheRoutes holds the description to the table of routes, both ways.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Description string
			Security    []map[string][]string
			RequestBody any
		}
	}
	if err := json.Unmarshal(openapiJSON, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi is %q, want 3.1", doc.OpenAPI)
	}
	n := 0
	for _, r := range table {
		n++
		o, ok := doc.Paths[r.path][strings.ToLower(r.method)]
		if !ok {
			t.Errorf("openapi.json lacks %s %s", r.method, r.path)
			continue
		}
		if open := len(o.Security) == 0; open != (r.scope == Open) || !open && o.Description != "scope: "+r.scope.String() {
			t.Errorf("%s %s: openapi.json says %q, the table %s", r.method, r.path, o.Description, r.scope)
		}
		if (o.RequestBody != nil) != (r.body != none) {
			t.Errorf("%s %s: openapi.json and the table do not agree about a body", r.method, r.path)
		}
	}
	for _, methods := range doc.Paths {
		n -= len(methods)
	}
	if n != 0 {
		t.Errorf("openapi.json has %d routes that the table lacks", -n)
	}
	newWorld(t, nil).get(200, "/openapi.json")
}
