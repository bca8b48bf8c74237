package api

import (
	_ "embed"
	"net/http"
)

// openapiJSON is the description of the routes, OpenAPI 3.1, written by hand.
//
//go:embed openapi.json
var openapiJSON []byte

func (s *Server) openAPI(x *exchange) error {
	return x.send(http.StatusOK, "application/json", openapiJSON)
}
