package api

import (
	"net/http"
)

// events writes an answer as server-sent events. The headers go out with the first, so that what goes wrong before still has a status.
type events struct{ x *exchange }

// send writes one event.
func (e events) send(v any) error {
	b, err := encode(v) // one line, and a line end
	if err != nil {
		return err
	}
	return e.write("data: " + string(b) + "\n")
}

func (e events) write(s string) error {
	x := e.x
	if x.status == 0 {
		h := x.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("X-Accel-Buffering", "no") // proxies hand each event on
		x.start(http.StatusOK)
	}
	if err := x.write([]byte(s)); err != nil {
		return err
	}
	return http.NewResponseController(x.w).Flush()
}

// end closes the stream: with an error if there was one, which by then can have no status of its own.
func (e events) end(err error) error {
	if err != nil {
		if e.x.status == 0 {
			return err
		}
		if sent := e.send(asError(err).wire()); sent != nil {
			return err
		}
		return err
	}
	return e.write("data: [DONE]\n\n")
}
