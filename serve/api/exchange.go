package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/graft-ml/graft/data"
)

// exchange is a request with its answer.
type exchange struct {
	*http.Request
	w      http.ResponseWriter
	server *Server
	value  string  // of the part of the path that is in braces
	body   *fields // of routes that read an object
	list   []any   // of routes that read a list
	ctx    context.Context

	status  int // 0 until the headers went out
	written int64

	// What the log and the metrics tell.
	id      string
	key     Key
	adapter string // label; "" of requests without a model
	tokens  struct{ prompt, cached, completion int }
}

// deadline bounds the next write: a client that does not read loses its request, never the engine's time.
func (x *exchange) deadline() {
	// A writer without deadlines (a recorder of a test) has no slow client.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(x.server.Limits.Write))
}

// send answers with bytes.
func (x *exchange) send(status int, contentType string, b []byte) error {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	x.start(status)
	return x.write(b)
}

// start sends the headers.
func (x *exchange) start(status int) {
	x.deadline()
	x.status = status
	x.w.WriteHeader(status)
}

func (x *exchange) write(b []byte) error {
	x.deadline()
	n, err := x.w.Write(b)
	x.written += int64(n)
	return err
}

// json answers with a value.
func (x *exchange) json(status int, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return x.send(status, "application/json", b)
}

// text answers with a line.
func (x *exchange) text(status int, s string) error {
	return x.send(status, "text/plain; charset=utf-8", []byte(s))
}

// encode writes JSON without the escapes that are for HTML only.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// object is a JSON object of the request.
type object = data.Object
