// Package metrics shows how a sidecar is doing: metrics for Prometheus, a status in JSON, health and readiness, and
// the messages that systemd expects. The names of metrics are a promise; see [Names].
package metrics

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pagetrail/pagetrail/internal/sidecar"
)

// Name is a metric: its name, what it is, and its label.
type Name struct {
	Name, Help, Label string
	Counter           bool
}

// Names are all the metrics there are, besides those of the Go runtime and the process. None is ever renamed.
var Names = []Name{
	{"pagetrail_databases", "Databases that are looked after, by state: waiting, active, resting, failed, stopped.", "state", false},
	{"pagetrail_databases_behind", "Databases with transactions that are not shipped.", "", false},
	{"pagetrail_oldest_unshipped_seconds", "Age of the oldest transaction that is not shipped; 0 when there is none.", "", false},
	{"pagetrail_ready", "1 when the databases were looked for.", "", false},
	{"pagetrail_shipped_transactions_total", "Transactions shipped.", "", true},
	{"pagetrail_shipped_batches_total", "Batches shipped.", "", true},
	{"pagetrail_shipped_bases_total", "Bases shipped.", "", true},
	{"pagetrail_shipped_bytes_total", "Bytes of batches and bases shipped.", "", true},
	{"pagetrail_ship_retries_total", "Steps of shipping that failed and were tried again.", "", true},
	{"pagetrail_pruned_files_total", "Files removed from trails, since they were shipped and old.", "", true},
	{"pagetrail_pruned_bytes_total", "Bytes of them.", "", true},
	{"pagetrail_store_requests_total", "Calls of object stores, by operation.", "op", true},
	{"pagetrail_store_errors_total", "Calls of object stores that failed, by operation; a name that is taken counts too.", "op", true},
	{"pagetrail_store_written_bytes_total", "Bytes sent to object stores, by operation.", "op", true},
	{"pagetrail_store_cost_dollars_total", "About what the calls cost, at Amazon's list prices for S3 in us-east-1.", "", true},
}

// Source is what is shown; *sidecar.Sidecar is one.
type Source interface {
	Status(keep func(*sidecar.DatabaseStatus) bool) sidecar.Status
}

// collector reads everything from one status when it is asked.
type collector struct {
	of    Source
	descs map[string]*prometheus.Desc
}

func newCollector(of Source) *collector {
	c := &collector{of: of, descs: map[string]*prometheus.Desc{}}
	for _, n := range Names {
		var labels []string
		if n.Label != "" {
			labels = []string{n.Label}
		}
		c.descs[n.Name] = prometheus.NewDesc(n.Name, n.Help, labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	st := c.of.Status(func(*sidecar.DatabaseStatus) bool { return false })
	for _, n := range Names {
		kind := prometheus.GaugeValue
		if n.Counter {
			kind = prometheus.CounterValue
		}
		for label, v := range values(&st, n.Name) {
			var labels []string
			if n.Label != "" {
				labels = []string{label}
			}
			to <- prometheus.MustNewConstMetric(c.descs[n.Name], kind, v, labels...)
		}
	}
}

// values are those of a metric, by its label.
func values(st *sidecar.Status, name string) map[string]float64 {
	by := map[string]float64{}
	one := func(v float64) map[string]float64 { return map[string]float64{"": v} }
	t := &st.Totals
	switch name {
	case "pagetrail_databases":
		for _, state := range []sidecar.State{sidecar.Waiting, sidecar.Active, sidecar.Resting, sidecar.Failed, sidecar.Stopped} {
			by[string(state)] = float64(st.States[state])
		}
	case "pagetrail_databases_behind":
		return one(float64(st.Behind))
	case "pagetrail_oldest_unshipped_seconds":
		return one(st.Oldest.Seconds())
	case "pagetrail_ready":
		if st.Ready {
			return one(1)
		}
		return one(0)
	case "pagetrail_shipped_transactions_total":
		return one(float64(t.Transactions))
	case "pagetrail_shipped_batches_total":
		return one(float64(t.Batches))
	case "pagetrail_shipped_bases_total":
		return one(float64(t.Bases))
	case "pagetrail_shipped_bytes_total":
		return one(float64(t.Bytes))
	case "pagetrail_ship_retries_total":
		return one(float64(t.Retries))
	case "pagetrail_pruned_files_total":
		return one(float64(t.PrunedFiles))
	case "pagetrail_pruned_bytes_total":
		return one(float64(t.PrunedBytes))
	case "pagetrail_store_cost_dollars_total":
		return one(st.Cost)
	}
	for op, n := range st.Requests {
		switch name {
		case "pagetrail_store_requests_total":
			by[string(op)] = float64(n.Requests)
		case "pagetrail_store_errors_total":
			by[string(op)] = float64(n.Failed)
		case "pagetrail_store_written_bytes_total":
			by[string(op)] = float64(n.Written)
		}
	}
	return by
}

// stuck is after how long without a round of the loop a sidecar is not healthy any more.
const stuck = time.Minute

// Handler serves
//
//	/metrics   for Prometheus
//	/status    JSON: a summary, and the databases that are not at rest; ?all lists all
//	/healthz   200 while the process goes about its work, else 503
//	/readyz    200 when the databases were looked for and none failed, else 503
func Handler(of Source) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(of), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		all := r.URL.Query().Has("all")
		st := of.Status(func(d *sidecar.DatabaseStatus) bool {
			return all || d.State != sidecar.Resting && d.State != sidecar.Waiting
		})
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(st) // the reader went away
	})
	answer := func(w http.ResponseWriter, ok bool, why string) {
		if !ok {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}
	none := func(*sidecar.DatabaseStatus) bool { return false }
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		st := of.Status(none)
		answer(w, time.Since(st.Beat) < stuck, "the loop has not come round for a minute")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		st := of.Status(none)
		switch bad := st.States[sidecar.Failed] + st.States[sidecar.Stopped]; {
		case !st.Ready:
			answer(w, false, "the databases have not been looked for yet")
		default:
			answer(w, bad == 0, "some databases are not shipped: see /status")
		}
	})
	return mux
}
