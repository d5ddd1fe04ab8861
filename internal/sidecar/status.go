package sidecar

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// State of a database.
type State string

// The states.
const (
	Waiting State = "waiting" // there is no trail yet; or it is a replica, which is not shipped to its primary's archive
	Active  State = "active"
	Resting State = "resting" // everything is shipped, and nothing happens
	Failed  State = "failed"  // tried again later
	Stopped State = "stopped" // somebody has to decide; tried again after a restart
)

// DatabaseStatus is how one database is doing.
type DatabaseStatus struct {
	Path    string       `json:"path"`
	Archive string       `json:"archive"`
	State   State        `json:"state"`
	Capture bool         `json:"capture,omitempty"`
	Trail   journal.TXID `json:"trail_txid"`
	Shipped journal.TXID `json:"shipped_txid"`
	Waiting *time.Time   `json:"waiting_since,omitempty"` // the oldest transaction that is not shipped
	Tries   int          `json:"tries,omitempty"`         // of the present step, in vain
	Error   string       `json:"error,omitempty"`
	Result  ship.Result  `json:"-"` // since it became active last
}

// Status is how all are doing.
type Status struct {
	Started   time.Time                      `json:"started"`
	Ready     bool                           `json:"ready"` // the databases were looked for
	Beat      time.Time                      `json:"beat"`  // when the loop came round last
	Databases int                            `json:"databases"`
	States    map[State]int                  `json:"states"`
	Behind    int                            `json:"behind"` // databases with something to ship
	Oldest    time.Duration                  `json:"oldest_unshipped_ns"`
	Totals    Totals                         `json:"totals"`
	Requests  map[objstore.Op]objstore.Count `json:"-"`
	Cost      float64                        `json:"requests_cost_dollars"` // of them, about: at objstore.AmazonPrices
	List      []DatabaseStatus               `json:"list"`
}

// Totals count since the start.
type Totals struct {
	Transactions int64 `json:"transactions"`
	Batches      int64 `json:"batches"`
	Bases        int64 `json:"bases"`
	Bytes        int64 `json:"bytes"`
	Retries      int64 `json:"retries"`
	PrunedFiles  int64 `json:"pruned_files"`
	PrunedBytes  int64 `json:"pruned_bytes"`
}

type totals struct {
	transactions, batches, bases, bytes, retries, prunedFiles, prunedBytes atomic.Int64
}

// tell notes how an entry is doing.
func (s *Sidecar) tell(e *entry, state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && e.unrecorded != nil {
		state, err = Failed, e.unrecorded
	}
	d := &e.status
	d.State, d.Error, d.Waiting, d.Tries = state, "", nil, 0
	if err != nil {
		d.Error = err.Error()
	}
	if e.ship.busy || e.shipper == nil {
		return
	}
	p := e.shipper.Progress()
	d.Trail, d.Shipped, d.Tries = max(p.Trail, p.Shipped), p.Shipped, p.Tries
	d.Result = p.Result
	if !p.Waiting.IsZero() {
		d.Waiting = &p.Waiting
	}
}

// Status tells how all are doing, with a list of those that keep says.
func (s *Sidecar) Status(keep func(*DatabaseStatus) bool) Status {
	st := Status{
		Started: s.started, Ready: s.ready.Load(), Beat: time.Unix(0, s.beat.Load()), States: map[State]int{}, List: []DatabaseStatus{},
		Totals: Totals{
			Transactions: s.totals.transactions.Load(), Batches: s.totals.batches.Load(), Bases: s.totals.bases.Load(),
			Bytes: s.totals.bytes.Load(), Retries: s.totals.retries.Load(),
			PrunedFiles: s.totals.prunedFiles.Load(), PrunedBytes: s.totals.prunedBytes.Load(),
		},
	}
	st.Requests, _ = s.meter.Counts()
	st.Cost = s.meter.Cost(objstore.AmazonPrices)
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Databases = len(s.entries)
	for _, e := range s.entries {
		d := e.status
		d.Path, d.Archive, d.Capture = e.path, e.archive(), e.src.Capture
		st.States[d.State]++
		if d.Trail > d.Shipped {
			st.Behind++
		}
		if d.Waiting != nil {
			st.Oldest = max(st.Oldest, time.Since(*d.Waiting))
		}
		if keep(&d) {
			st.List = append(st.List, d)
		}
	}
	slices.SortFunc(st.List, func(a, b DatabaseStatus) int { return cmp.Compare(a.Path, b.Path) })
	return st
}

// events counts and logs what a shipper does.
func (s *Sidecar) events(e *entry) ship.Events {
	log := s.log.With("database", e.path)
	return ship.Events{
		Claimed: func(from archive.Holder, after journal.TXID) {
			log.Info("shipping", "archive", e.archive(), "after", after, "held_before_by", from.Name)
		},
		Base: func(id journal.TXID, size int64) {
			s.totals.bases.Add(1)
			s.totals.bytes.Add(size)
			log.Info("shipped a base", "txid", id, "bytes", size)
		},
		Batch: func(b journal.Batch) {
			s.totals.batches.Add(1)
			s.totals.bytes.Add(b.Size)
			s.totals.transactions.Add(int64(b.Last - b.First + 1))
			log.Debug("shipped a batch", "first", b.First, "last", b.Last, "bytes", b.Size)
		},
		Mended: func(first, last journal.TXID, size int64, err error) {
			if err != nil {
				log.Warn("transactions are missing in the archive", "archive", e.archive(), "first", first, "last", last, "err", err)
				return
			}
			s.totals.bytes.Add(size)
			log.Warn("transactions that were missing in the archive were sent again", "archive", e.archive(), "first", first, "last", last, "bytes", size)
		},
		Retry: func(err error, try int, pause time.Duration) {
			s.totals.retries.Add(1)
			log.Warn("shipping failed, and is tried again", "try", try, "pause", pause, "err", err)
		},
		Pruned: func(files []string, size int64) {
			s.totals.prunedFiles.Add(int64(len(files)))
			s.totals.prunedBytes.Add(size)
			log.Info("removed from the trail what was shipped", "files", len(files), "bytes", size)
		},
	}
}
