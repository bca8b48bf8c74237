package api

import "net/http"

// healthy says that the process answers.
func (s *Server) healthy(x *exchange) error {
	return x.json(http.StatusOK, map[string]string{"status": "ok"})
}

// ready says that requests are welcome: not while adapters are loaded at the start, nor while the server drains.
func (s *Server) ready(x *exchange) error {
	if s.draining.Load() {
		return refusal(http.StatusServiceUnavailable, failed, "closing", "the server is shutting down")
	}
	if s.loading.Load() {
		return refusal(http.StatusServiceUnavailable, failed, "loading", "adapters are being loaded")
	}
	return x.json(http.StatusOK, map[string]string{"status": "ready"})
}
