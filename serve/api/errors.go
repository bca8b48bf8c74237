package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/graft-ml/graft/serve"
)

// Error is an answer that is none, in OpenAI's form.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   string `json:"-"` // the field at fault; "" = null
	Code    string `json:"-"` // "" = null
}

func (e *Error) Error() string { return e.Message }

// Types of errors, as OpenAI has them.
const (
	badRequest = "invalid_request_error"
	noAccess   = "authentication_error"
	noRight    = "permission_error"
	tooMany    = "rate_limit_error"
	failed     = "server_error"
)

// refuse is a request that cannot be meant as it stands.
func refuse(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Type: badRequest, Param: param, Message: fmt.Sprintf(format, args...)}
}

// refusal is refuse with another status and a code that programs can read.
func refusal(status int, kind, code, format string, args ...any) *Error {
	return &Error{Status: status, Type: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// noModel is the answer to a name that is neither the base nor an adapter.
func noModel(param, name string) *Error {
	return &Error{Status: http.StatusNotFound, Type: badRequest, Param: param, Code: "model_not_found", Message: fmt.Sprintf("The model `%s` does not exist.", name)}
}

// statuses are what errors of the engine mean to a client, the first that fits.
var statuses = []struct {
	err    error
	status int
	kind   string
	code   string
	says   string // instead of the error's own words; "" = those
}{
	{serve.ErrNoAdapter, http.StatusNotFound, badRequest, "model_not_found", ""},
	{serve.ErrName, http.StatusBadRequest, badRequest, "invalid_name", ""},
	{serve.ErrAdapter, http.StatusInternalServerError, failed, "adapter_broken", "the adapter cannot be read any more; the server's log says why"},
	{serve.ErrRequest, http.StatusBadRequest, badRequest, "", ""},
	{serve.ErrBusy, http.StatusTooManyRequests, tooMany, "busy", "too many requests are waiting, try again later"},
	{serve.ErrClosed, http.StatusServiceUnavailable, failed, "closing", "the server is shutting down"},
	{context.DeadlineExceeded, http.StatusGatewayTimeout, failed, "timeout", "the answer took too long"},
	{context.Canceled, statusGone, failed, "cancelled", "the request was cancelled"},
}

// statusGone is nginx's status for a client that went away; only logs and metrics see it.
const statusGone = 499

// asError says any error in OpenAI's form. Words of errors that are nobody's fault but ours stay inside.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			says := s.says
			if says == "" {
				says = err.Error()
			}
			return &Error{Status: s.status, Type: s.kind, Code: s.code, Message: says}
		}
	}
	return &Error{Status: http.StatusInternalServerError, Type: failed, Message: "the server could not answer; its log says why"}
}

// wire is the body of an error.
func (e *Error) wire() any {
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return map[string]any{"error": map[string]any{"message": e.Message, "type": e.Type, "param": null(e.Param), "code": null(e.Code)}}
}
