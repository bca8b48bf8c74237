package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics tells, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	took     *prometheus.HistogramVec
	began    *prometheus.HistogramVec
	handler  http.Handler
}

// spans are the borders of histograms in seconds.
var spans = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

func newMetrics(g gauges) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "graft_requests_total", Help: "Requests answered."}, []string{"route", "adapter", "status"}),
		tokens:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "graft_tokens_total", Help: "Tokens of prompts (cached: those that were known already) and of answers."}, []string{"adapter", "kind"}),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "graft_request_seconds", Help: "Time from the headers of a request to the end of its answer.", Buckets: spans}, []string{"adapter"}),
		began:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "graft_first_token_seconds", Help: "Time from a request to the first text of a choice.", Buckets: spans}, []string{"adapter"}),
	}
	m.registry.MustRegister(m.requests, m.tokens, m.took, m.began, g)
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// request counts a request. Only names that were found to be adapters become labels, so that callers cannot make series.
func (m *metrics) request(x *exchange, route string, took time.Duration) {
	m.requests.WithLabelValues(route, x.adapter, strconv.Itoa(x.status)).Inc()
	if x.adapter == "" {
		return
	}
	m.took.WithLabelValues(x.adapter).Observe(took.Seconds())
	for _, t := range []struct {
		kind string
		n    int
	}{{"prompt", x.tokens.prompt}, {"cached", x.tokens.cached}, {"completion", x.tokens.completion}} {
		if t.n > 0 {
			m.tokens.WithLabelValues(x.adapter, t.kind).Add(float64(t.n))
		}
	}
}

func (m *metrics) first(adapter string, took time.Duration) {
	m.began.WithLabelValues(adapter).Observe(took.Seconds())
}

func (s *Server) scrape(x *exchange) error {
	x.deadline()
	x.status = http.StatusOK
	s.metrics.handler.ServeHTTP(x.w, x.Request)
	return nil
}
