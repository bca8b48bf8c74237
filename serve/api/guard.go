package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/graft-ml/graft/data"
)

// guard is what every request passes before a route sees it, and what is told about it afterwards.
func (s *Server) guard(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Request: r, w: w, server: s, id: newID(""), ctx: r.Context()}
	began := time.Now()
	securityHeaders(w.Header())
	w.Header().Set("X-Request-Id", x.id)
	route, value := find(r)
	x.value = value
	defer func() {
		if p := recover(); p != nil {
			s.fail(x, fmt.Errorf("api: %s %s: %v\n%s", r.Method, route.path, p, debug.Stack()))
		}
		s.told(x, route, time.Since(began))
	}()
	if err := s.serve(x, route); err != nil {
		s.fail(x, err)
	}
}

// serve answers, or says why not.
func (s *Server) serve(x *exchange, route *route) (err error) {
	if err := s.addressed(x.Request); err != nil {
		return err
	}
	if err := route.allows(x); err != nil {
		return err
	}
	if x.key, err = s.authorize(x.Request, route.scope); err != nil {
		return err
	}
	if route.runtime && !s.Runtime {
		return refusal(http.StatusForbidden, noRight, "runtime_adapters_disabled", "this server does not change its adapters by request (graft serve --allow-runtime-adapters)")
	}
	if route.body == none {
		return route.handle(s, x)
	}
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(x.Context(), s.Limits.Answer)
	defer cancel()
	x.ctx = ctx
	if err := x.readBody(route.body); err != nil {
		return err
	}
	return route.handle(s, x)
}

// enter takes one of the slots for requests that make work, without waiting: who waits for a slot holds a connection.
func (s *Server) enter() (leave func(), err error) {
	if s.draining.Load() {
		return nil, refusal(http.StatusServiceUnavailable, failed, "closing", "the server is shutting down")
	}
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	default:
		return nil, refusal(http.StatusTooManyRequests, tooMany, "busy", "too many requests are in flight, try again later")
	}
}

// addressed refuses requests that a web page of elsewhere has sent: by a name that it made point here, or from its own origin.
func (s *Server) addressed(r *http.Request) error {
	host := (&url.URL{Host: r.Host}).Hostname()
	if len(s.Hosts) > 0 && !s.called(host) {
		return refusal(http.StatusMisdirectedRequest, badRequest, "wrong_host", "this server is not called %q here (graft serve --host-name)", shown(host))
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(u.Host, r.Host) && !s.called(u.Hostname()) {
		return refusal(http.StatusForbidden, noRight, "wrong_origin", "pages of other origins may not ask here")
	}
	return nil
}

// called says that a name is one of this server's.
func (s *Server) called(host string) bool {
	return slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// readBody reads the JSON of a request.
func (x *exchange) readBody(want bodyKind) error {
	kind, _, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return refusal(http.StatusUnsupportedMediaType, badRequest, "content_type", "Content-Type is %q, want application/json", shown(x.Header.Get("Content-Type")))
	}
	if e := x.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return refusal(http.StatusUnsupportedMediaType, badRequest, "content_encoding", "Content-Encoding is %q, want none", shown(e))
	}
	limits := &x.server.Limits
	// A body without deadlines (of a test) is all there.
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(limits.Read))
	b, err := io.ReadAll(http.MaxBytesReader(x.w, x.Body, limits.Body))
	if err != nil {
		return bodyError(err, limits)
	}
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
	v, err := data.ParseJSON(b)
	if err != nil {
		return refuse("", "the body is no JSON: %v", err)
	}
	switch v := v.(type) {
	case data.Object:
		x.body = newFields(v)
	case []any:
		x.list = v
	}
	if want == anObject && x.body == nil || want == aList && x.list == nil {
		return refuse("", "the body is %s, want %s", kindOf(v), [...]string{"nothing", "an object", "a list"}[want])
	}
	return nil
}

func bodyError(err error, limits *Limits) error {
	var large *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.As(err, &large):
		return refusal(http.StatusRequestEntityTooLarge, badRequest, "body_too_large", "the body is larger than %d bytes", limits.Body)
	case errors.As(err, &slow) && slow.Timeout():
		return refusal(http.StatusRequestTimeout, badRequest, "slow_body", "the body did not come within %s", limits.Read)
	}
	return refusal(http.StatusBadRequest, badRequest, "broken_body", "the body ended early or is not framed as HTTP says")
}

// fail answers with an error, if nothing went out yet.
func (s *Server) fail(x *exchange, err error) {
	e := asError(err)
	if e.Status == http.StatusInternalServerError {
		s.Log.Error("failed", "id", x.id, "error", err.Error())
	}
	if x.status != 0 {
		return
	}
	if e.Status == statusGone {
		x.status = statusGone
		return
	}
	h := x.w.Header()
	switch e.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="graft"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		h.Set("Connection", "close")
	}
	if err := x.json(e.Status, e.wire()); err != nil {
		s.Log.Debug("not sent", "id", x.id, "error", err.Error())
	}
}

// told writes the request down: who, what, how long and how much, never what was said.
func (s *Server) told(x *exchange, route *route, took time.Duration) {
	s.metrics.request(x, route.path, took)
	level := slog.LevelInfo
	if route.scope == Open {
		level = slog.LevelDebug
	}
	s.Log.Log(context.Background(), level, "request", "id", x.id, "method", x.Method, "route", route.path, "status", x.status, "key", x.key.Name,
		"remote", x.RemoteAddr, "adapter", x.adapter, "seconds", took.Seconds(), "bytes", x.written,
		"prompt_tokens", x.tokens.prompt, "cached_tokens", x.tokens.cached, "completion_tokens", x.tokens.completion)
}

// securityHeaders keep what is answered from being run, framed or stored by a browser.
func securityHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// newID is a name that nobody guesses.
func newID(prefix string) string {
	var b [12]byte
	rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// newSeed is a seed where a request gives none.
func newSeed() uint64 {
	n, _ := strconv.ParseUint(newID("")[:16], 16, 64) // sixteen hexadecimal digits
	return n
}
