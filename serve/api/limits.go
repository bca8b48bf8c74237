package api

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound what one request and all together may cost.
type Limits struct {
	Requests     int           // worked on at once, those that wait in the engine among them
	Connections  int           // open at once
	Body         int64         // bytes
	HeaderBytes  int           // of the request line and all headers
	Prompts      int           // of one request
	Choices      int           // texts of one request: prompts × n
	NewTokens    int           // of one choice
	DefaultNew   int           // where a request does not say, as far as the length of the model allows
	StopStrings  int           // of one request
	AdapterBytes int64         // of one adapter's files
	Header       time.Duration // to receive the headers
	Read         time.Duration // to receive the body
	Write        time.Duration // to get rid of one piece of an answer
	Idle         time.Duration // between requests of a connection
	Answer       time.Duration // from the headers to the end of the answer
}

// DefaultLimits are those of graft serve.
func DefaultLimits() Limits {
	return Limits{
		Requests: 256, Connections: 1024, Body: 1 << 20, HeaderBytes: 32 << 10, Prompts: 64, Choices: 64, NewTokens: 4096, DefaultNew: 256,
		StopStrings: 16, AdapterBytes: 4 << 30, Header: 10 * time.Second, Read: 30 * time.Second, Write: 30 * time.Second, Idle: 2 * time.Minute,
		Answer: 10 * time.Minute,
	}
}

// Validate reports every limit that lets nothing through.
func (l Limits) Validate() error {
	var errs []error
	for _, x := range []struct {
		name  string
		value int64
	}{
		{"requests", int64(l.Requests)}, {"connections", int64(l.Connections)}, {"body", l.Body}, {"header bytes", int64(l.HeaderBytes)},
		{"prompts", int64(l.Prompts)}, {"choices", int64(l.Choices)}, {"new tokens", int64(l.NewTokens)}, {"default new tokens", int64(l.DefaultNew)},
		{"stop strings", int64(l.StopStrings)}, {"adapter bytes", l.AdapterBytes}, {"header time", int64(l.Header)}, {"read time", int64(l.Read)},
		{"write time", int64(l.Write)}, {"idle time", int64(l.Idle)}, {"answer time", int64(l.Answer)},
	} {
		if x.value < 1 {
			errs = append(errs, fmt.Errorf("api: limit of %s is %d, want more than 0", x.name, x.value))
		}
	}
	return errors.Join(errs...)
}
