package api

import (
	"github.com/graft-ml/graft/serve"
	"github.com/prometheus/client_golang/prometheus"
)

// gauges are what the engine and the registry tell of themselves, asked for when they are wanted.
type gauges struct {
	engine   Engine
	adapters Adapters
}

// gauge is a number of theirs.
type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(e *serve.EngineStats, r *serve.RegistryStats) float64
}

func gaugeOf(name, help string, of func(e *serve.EngineStats, r *serve.RegistryStats) float64) gauge {
	return gauge{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, of}
}

func counterOf(name, help string, of func(e *serve.EngineStats, r *serve.RegistryStats) float64) gauge {
	return gauge{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, of}
}

var gaugeTable = []gauge{
	gaugeOf("graft_queue_requests", "Requests that wait in the engine.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.Waiting) }),
	gaugeOf("graft_running_requests", "Requests that are computed.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.Running) }),
	counterOf("graft_steps_total", "Forward passes.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.Steps) }),
	counterOf("graft_preempted_total", "Times that a text lost its keys and values to others.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.Preempted) }),
	gaugeOf("graft_kv_bytes", "Keys and values in use.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.CacheBytes) }),
	gaugeOf("graft_kv_budget_bytes", "Keys and values at most.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.CacheBudget) }),
	gaugeOf("graft_kv_known_bytes", "Keys and values of beginnings of texts that may be used again.", func(e *serve.EngineStats, _ *serve.RegistryStats) float64 { return float64(e.KnownBytes) }),
	gaugeOf("graft_adapters", "Adapters that can be chosen.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Adapters) }),
	gaugeOf("graft_adapters_resident", "Versions of adapters in memory.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Resident) }),
	gaugeOf("graft_adapter_cache_bytes", "Adapters in memory.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Bytes) }),
	gaugeOf("graft_adapter_cache_budget_bytes", "Adapters in memory at most; 0 = no limit.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Budget) }),
	gaugeOf("graft_adapter_cache_waiting", "Requests that wait for room for their adapter.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Waiting) }),
	counterOf("graft_adapter_cache_hits_total", "Adapters of requests that were in memory.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Hits) }),
	counterOf("graft_adapter_cache_misses_total", "Adapters of requests that had to be read.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Misses) }),
	counterOf("graft_adapter_cache_evictions_total", "Adapters that left memory for others.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Evictions) }),
	counterOf("graft_adapter_loads_total", "Times that an adapter's files were read.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Loads) }),
	counterOf("graft_adapter_loads_failed_total", "Of these, for nothing.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return float64(r.Failed) }),
	counterOf("graft_adapter_load_seconds_total", "Time that reading adapters took.", func(_ *serve.EngineStats, r *serve.RegistryStats) float64 { return r.LoadSeconds }),
}

// adapterBytes is what each adapter takes, or would take.
var adapterBytes = prometheus.NewDesc("graft_adapter_bytes", "Bytes of an adapter, by whether it is in memory.", []string{"adapter", "resident"}, nil)

// Describe implements prometheus.Collector.
func (gauges) Describe(out chan<- *prometheus.Desc) {
	for _, g := range gaugeTable {
		out <- g.desc
	}
	out <- adapterBytes
}

// Collect implements prometheus.Collector.
func (c gauges) Collect(out chan<- prometheus.Metric) {
	e, r := c.engine.Stats(), c.adapters.Stats()
	for _, g := range gaugeTable {
		out <- prometheus.MustNewConstMetric(g.desc, g.kind, g.of(&e, &r))
	}
	for _, i := range c.adapters.List() {
		resident := "no"
		if i.Resident {
			resident = "yes"
		}
		out <- prometheus.MustNewConstMetric(adapterBytes, prometheus.GaugeValue, float64(i.Bytes), i.Name, resident)
	}
}
