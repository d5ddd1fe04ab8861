package metrics_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/metrics"
	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// fixed is a sidecar of which everything is known.
type fixed sidecar.Status

func (f *fixed) Status(keep func(*sidecar.DatabaseStatus) bool) sidecar.Status {
	st := sidecar.Status(*f)
	st.List = slices.DeleteFunc(slices.Clone(f.List), func(d sidecar.DatabaseStatus) bool { return !keep(&d) })
	return st
}

func get(t *testing.T, f *fixed, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Handler(f).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func example() *fixed {
	return &fixed{
		Ready: true, Beat: time.Now(), Databases: 3, Behind: 1, Oldest: 1500 * time.Millisecond,
		States: map[sidecar.State]int{sidecar.Resting: 2, sidecar.Active: 1}, Totals: sidecar.Totals{Transactions: 7, PrunedBytes: 9},
		Cost:     0.25,
		Requests: map[objstore.Op]objstore.Count{"put": {Requests: 4, Failed: 1, Written: 11}},
		List:     []sidecar.DatabaseStatus{{Path: "/a", State: sidecar.Resting}, {Path: "/b", State: sidecar.Active, Trail: 5}},
	}
}

// Every name that is promised is there, with its value.
func TestMetrics(t *testing.T) {
	code, body := get(t, example(), "/metrics")
	if code != 200 {
		t.Fatal(code, body)
	}
	for _, n := range metrics.Names {
		if !strings.Contains(body, "\n"+n.Name) && !strings.HasPrefix(body, n.Name) {
			t.Errorf("%s is not there", n.Name)
		}
	}
	for _, want := range []string{
		`pagetrail_databases{state="resting"} 2`, `pagetrail_databases{state="failed"} 0`, "pagetrail_databases_behind 1", "pagetrail_ready 1",
		"pagetrail_oldest_unshipped_seconds 1.5", "pagetrail_shipped_transactions_total 7", "pagetrail_pruned_bytes_total 9",
		`pagetrail_store_requests_total{op="put"} 4`, `pagetrail_store_errors_total{op="put"} 1`, `pagetrail_store_written_bytes_total{op="put"} 11`,
		"pagetrail_store_cost_dollars_total 0.25",
	} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
}

func TestStatus(t *testing.T) {
	for path, want := range map[string]int{"/status": 1, "/status?all": 2} {
		_, body := get(t, example(), path)
		var st sidecar.Status
		if err := json.Unmarshal([]byte(body), &st); err != nil || len(st.List) != want || st.Databases != 3 {
			t.Errorf("%s: %v %s", path, err, body)
		}
	}
}

func TestHealth(t *testing.T) {
	f := example()
	check := func(what string, healthz, readyz int) {
		t.Helper()
		if code, _ := get(t, f, "/healthz"); code != healthz {
			t.Errorf("%s: healthz %d", what, code)
		}
		if code, _ := get(t, f, "/readyz"); code != readyz {
			t.Errorf("%s: readyz %d", what, code)
		}
	}
	check("well", 200, 200)
	f.States[sidecar.Failed] = 1
	check("one failed", 200, 503)
	f.States[sidecar.Failed], f.States[sidecar.Stopped] = 0, 1
	check("one stopped", 200, 503)
	f.States[sidecar.Stopped], f.Ready = 0, false
	check("starting", 200, 503)
	f.Beat = time.Now().Add(-2 * time.Minute)
	check("stuck", 503, 503)
	if code, _ := get(t, f, "/other"); code != 404 {
		t.Errorf("another path: %d", code)
	}
}

func TestNotify(t *testing.T) {
	if err := metrics.Notify("", "READY=1"); err != nil {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skip("skipped: no such sockets here: ", err)
	}
	defer l.Close()
	if err := metrics.Notify(path, "READY=1"); err != nil {
		t.Fatal(err)
	}
	var b [64]byte
	if n, err := l.Read(b[:]); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if err := metrics.Notify(path+"none", "READY=1"); err == nil {
		t.Error("nobody listens, and no error")
	}
}
