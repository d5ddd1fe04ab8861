package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// world is a directory of databases, a store, and a sidecar that may be started again and again.
type world struct {
	t      testing.TB
	dir    string
	store  objstore.Store
	meter  objstore.Meter
	faults objstore.Faults
	s      *sidecar.Sidecar
	cancel context.CancelFunc
	ended  chan error
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), store: new(mem.Store)}
	t.Cleanup(func() {
		if w.cancel != nil {
			w.stop()
		}
	})
	return w
}

// key is the archive's name of a database: its file's.
func key(path string) (string, error) { return filepath.Base(path), nil }

// new makes a sidecar of sources, which has small times.
func (w *world) new(change func(*sidecar.Options), sources ...sidecar.Source) *sidecar.Sidecar {
	w.t.Helper()
	o := sidecar.Options{
		Sources: sources, Interval: 10 * time.Millisecond, Scan: 50 * time.Millisecond, Look: 20 * time.Millisecond, Rest: 100 * time.Millisecond, Retry: 50 * time.Millisecond,
		Open: func(context.Context, string) (objstore.Store, error) {
			return objstore.Metered(objstore.Faulty(w.store, &w.faults), &w.meter), nil
		},
	}
	for i := range o.Sources {
		if o.Sources[i].To = "mem://store"; o.Sources[i].Key == nil {
			o.Sources[i].Key = key
		}
	}
	if change != nil {
		change(&o)
	}
	s, err := sidecar.New(w.t.Context(), &o)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) start(change func(*sidecar.Options), sources ...sidecar.Source) {
	w.t.Helper()
	w.s = w.new(change, sources...)
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- w.s.Run(ctx) }()
}

func (w *world) stop() error {
	w.cancel()
	w.cancel = nil
	return <-w.ended
}

func (w *world) open(name, params string) *sqlite3.Conn {
	w.t.Helper()
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(w.dir, name), RawQuery: params}
	c, err := sqlite3.Open(u.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	w.exec(c, "PRAGMA busy_timeout=60000; PRAGMA journal_mode=WAL")
	return c
}

// exec runs statements, and has what they committed in the trail, if it is recorded by the VFS: that is done beside them.
func (w *world) exec(c *sqlite3.Conn, sql string) {
	w.t.Helper()
	if err := c.Exec(sql + "; PRAGMA pagetrail_txid"); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// until waits for a state of the sidecar.
func (w *world) until(what string, ok func(st *sidecar.Status) bool) sidecar.Status {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		st := w.s.Status(func(*sidecar.DatabaseStatus) bool { return true })
		if ok(&st) {
			return st
		}
		if time.Now().After(end) {
			w.t.Fatalf("waited a minute for %s: %+v", what, st)
		}
	}
}

// atRest waits until everything is shipped and n databases rest.
func (w *world) atRest(n int) sidecar.Status {
	w.t.Helper()
	return w.until(fmt.Sprintf("%d at rest", n), func(st *sidecar.Status) bool { return st.States[sidecar.Resting] == n && st.Databases == n })
}

// same restores a database from the archive and compares it with what SQLite has, until they agree: what was just
// committed takes a moment to be noticed by a sidecar that runs.
func (w *world) same(name string) journal.TXID {
	w.t.Helper()
	want := w.snapshot(name)
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		got, last := w.archived(name)
		if bytes.Equal(got, want) {
			return last
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: what the archive has is not what the database has", name)
		}
	}
}

// archived is the database in the archive, and its last transaction.
func (w *world) archived(name string) ([]byte, journal.TXID) {
	w.t.Helper()
	r, err := archive.Open(w.t.Context(), objstore.Sub(w.store, name), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := apply.HydrateTo(w.t.Context(), r.Trail, &got, apply.Latest(), nil); err != nil {
		w.t.Fatal(err)
	}
	tx, err := r.Last()
	if err != nil {
		w.t.Fatal(err)
	}
	return got.Bytes(), tx.TXID
}

// snapshot is the database after a checkpoint of a copy.
func (w *world) snapshot(name string) []byte {
	w.t.Helper()
	copied := filepath.Join(w.t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(filepath.Join(w.dir, name+suffix))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	c, err := sqlite3.Open("file:" + copied)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(c, "SELECT count(*) FROM sqlite_schema; PRAGMA wal_checkpoint(TRUNCATE)")
	c.Close()
	data, err := os.ReadFile(copied)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}
