package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	_ "github.com/pagetrail/pagetrail/vfs"
)

const schema = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a BLOB)"

// Databases with and without the VFS, there from the beginning or made later, are all in the store; at rest nobody is
// asked and nothing is open; one that is written to again wakes, and one that is removed is let go.
func TestManyKinds(t *testing.T) {
	w := newWorld(t)
	a, b := w.open("a.db", "vfs=pagetrail"), w.open("b.db", "")
	w.exec(a, schema)
	w.exec(b, schema+"; INSERT INTO t(a) VALUES(randomblob(9000))")
	w.start(nil,
		sidecar.Source{Path: filepath.Join(w.dir, "b.db"), Capture: true},
		sidecar.Source{Path: filepath.Join(w.dir, "later.db")},
		sidecar.Source{Glob: filepath.Join(w.dir, "*.db")},
		sidecar.Source{Glob: filepath.Join(w.dir, "*.plain"), Capture: true},
	)
	w.until("two at rest", func(st *sidecar.Status) bool {
		return st.States[sidecar.Resting] == 2 && st.States[sidecar.Waiting] == 1
	})
	later, made := w.open("later.db", "vfs=pagetrail"), w.open("c.new", "")
	w.exec(later, schema)
	w.exec(made, schema)
	made.Close() // found as a whole, and not before its schema
	if err := os.Rename(filepath.Join(w.dir, "c.new"), filepath.Join(w.dir, "c.plain")); err != nil {
		t.Fatal(err)
	}
	plain := w.open("c.plain", "")
	w.atRest(4)
	before := w.meter.Requests()
	time.Sleep(200 * time.Millisecond) // to give it the chance to do what it should not
	if n := w.meter.Requests() - before; n != 0 {
		t.Errorf("%d requests at rest", n)
	}
	for i := range 30 {
		for _, c := range []*sqlite3.Conn{a, b, later, plain} {
			w.exec(c, fmt.Sprintf("INSERT INTO t(a) VALUES(randomblob(%d))", i*100))
		}
		if i%10 == 9 {
			w.atRest(4)
		}
	}
	for _, name := range []string{"a.db", "b.db", "later.db", "c.plain"} {
		want := journal.TXID(31) // a base, and the rows
		if name == "a.db" || name == "later.db" {
			want++ // journal_mode, schema, and the rows
		}
		if last := w.same(name); last != want {
			t.Errorf("%s: %d transactions are %d", name, want, last)
		}
	}
	w.until("everything counted", func(st *sidecar.Status) bool {
		return st.Totals.Transactions == 4*31+2 && st.Behind == 0 && st.Totals.Bases == 2
	})
	plain.Close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(w.dir, "c.plain"+suffix))
	}
	w.atRest(3)
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// The next process finds everything at rest, and asks for nothing until something is written; what was written while
// there was none is found.
func TestStartAgain(t *testing.T) {
	w := newWorld(t)
	sources := []sidecar.Source{
		{Glob: filepath.Join(w.dir, "*.db")},
		{Glob: filepath.Join(w.dir, "*.plain"), Capture: true},
	}
	a, b := w.open("a.db", "vfs=pagetrail"), w.open("b.plain", "")
	w.exec(a, schema)
	w.exec(b, schema)
	w.start(nil, sources...)
	w.atRest(2)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	before := w.meter.Requests()
	w.start(nil, sources...)
	w.atRest(2)
	time.Sleep(100 * time.Millisecond)
	if n := w.meter.Requests() - before; n != 0 {
		t.Errorf("%d requests after starting again", n)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.exec(a, "INSERT INTO t(a) VALUES('while away')")
	w.exec(b, "INSERT INTO t(a) VALUES('while away')")
	w.start(nil, sources...)
	w.until("both shipped", func(st *sidecar.Status) bool { return st.Totals.Transactions == 2 })
	w.atRest(2)
	w.same("a.db")
	w.same("b.plain")
}

// At its end it ships what there is; without a store it says what is left, and the next one ships that.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	down := false
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome {
		if down {
			return objstore.Refuse
		}
		return objstore.Pass
	}
	a, b := w.open("a.db", "vfs=pagetrail"), w.open("b.db", "")
	w.exec(a, schema)
	w.exec(b, schema)
	sources := []sidecar.Source{{Path: filepath.Join(w.dir, "a.db")}, {Path: filepath.Join(w.dir, "b.db"), Capture: true}}
	slow := func(o *sidecar.Options) { o.Interval, o.Look, o.Grace = time.Hour, time.Hour, time.Minute }
	w.start(slow, sources...)
	w.until("both watched", func(st *sidecar.Status) bool {
		return st.States[sidecar.Active] == 2 && st.List[0].Trail > 0 && st.List[1].Trail > 0
	})
	w.exec(a, "INSERT INTO t(a) VALUES(1)")
	w.exec(b, "INSERT INTO t(a) VALUES(1)")
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if x, y := w.same("a.db"), w.same("b.db"); x != 3 || y != 2 {
		t.Errorf("drained up to %d and %d", x, y)
	}
	w.start(slow, sources...)
	w.until("ready", func(st *sidecar.Status) bool { return st.Ready })
	w.exec(a, "INSERT INTO t(a) VALUES(2)")
	down = true
	w.s.SetGrace(50 * time.Millisecond)
	err := w.stop()
	left, ok := errors.AsType[*sidecar.UnshippedError](err)
	if !ok || left.Count != 1 || left.Databases[0] != filepath.Join(w.dir, "a.db") {
		t.Fatalf("ended with %v", err)
	}
	down = false
	w.start(nil, sources...)
	w.atRest(2)
	w.same("a.db")
}

// An archive that another process took is left to it, and the database waits for a decision; the others go on.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	a, b := w.open("a.db", "vfs=pagetrail"), w.open("b.db", "vfs=pagetrail")
	w.exec(a, schema)
	w.exec(b, schema)
	both := func(string) (string, error) { return "one", nil }
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "a.db")})
	w.atRest(1)
	w.stop()
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "b.db"), Key: both}, sidecar.Source{Path: filepath.Join(w.dir, "a.db")})
	w.atRest(2)
	w.stop()
	// The archive of b is given to a.
	w.exec(a, "INSERT INTO t(a) VALUES(2)")
	w.exec(b, "INSERT INTO t(a) VALUES(2)")
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "a.db"), Key: both}, sidecar.Source{Path: filepath.Join(w.dir, "b.db")})
	st := w.until("one stopped", func(st *sidecar.Status) bool {
		return st.States[sidecar.Stopped] == 1 && st.States[sidecar.Resting] == 1
	})
	if d := st.List[0]; d.Error == "" || d.State != sidecar.Stopped {
		t.Errorf("%+v", d)
	}
	// Which a new setting is.
	sources := []sidecar.Source{{Path: filepath.Join(w.dir, "a.db"), Key: key, To: "mem://store"}, {Path: filepath.Join(w.dir, "b.db"), Key: key, To: "mem://store"}}
	if err := w.s.Reload(t.Context(), sources); err != nil {
		t.Fatal(err)
	}
	w.atRest(2)
	w.same("a.db")
	w.same("b.db")
}

// What was committed after a database was stopped is not taken for shipped at the end.
func TestStoppedIsBehind(t *testing.T) {
	w := newWorld(t)
	c := w.open("a.db", "vfs=pagetrail")
	w.exec(c, schema)
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "a.db")})
	w.atRest(1)
	if err := os.WriteFile(filepath.Join(w.dir, "a.db-pagetrail", "identity"), []byte("what is no identity"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.exec(c, "INSERT INTO t(a) VALUES(2)")
	w.until("it to be stopped", func(st *sidecar.Status) bool { return st.States[sidecar.Stopped] == 1 })
	left, ok := errors.AsType[*sidecar.UnshippedError](w.stop())
	if !ok || left.Count != 1 || left.Databases[0] != filepath.Join(w.dir, "a.db") || !strings.Contains(left.Error(), "corrupt") {
		t.Errorf("ended with %v", left)
	}
}

// TestMissing: a database that is not there, or that no program captures, is told of once: it may be a mistake.
func TestMissing(t *testing.T) {
	w := newWorld(t)
	w.open("plain.db", "")
	var log bytes.Buffer
	w.start(func(o *sidecar.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) },
		sidecar.Source{Path: filepath.Join(w.dir, "none.db")}, sidecar.Source{Path: filepath.Join(w.dir, "plain.db")},
		sidecar.Source{Glob: filepath.Join(w.dir, "*.db")})
	w.until("both", func(st *sidecar.Status) bool { return st.Databases == 2 })
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not there yet", "capture: true"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%q is said %d times: %s", want, n, log.String())
		}
	}
}

// TestUnnamed: a database of which no archive's name can be made is told of once, and stays where it is however often
// databases are looked for: nothing of it is shipped under another's name. At the end it is one that was not shipped.
func TestUnnamed(t *testing.T) {
	w := newWorld(t)
	w.exec(w.open("a.db", "vfs=pagetrail"), schema)
	w.exec(w.open("odd.db", "vfs=pagetrail"), schema)
	var log bytes.Buffer
	var asked atomic.Int64
	w.start(func(o *sidecar.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }, sidecar.Source{
		Glob: filepath.Join(w.dir, "*.db"),
		Key: func(path string) (string, error) {
			if filepath.Base(path) == "odd.db" {
				asked.Add(1)
				return "", errors.New("it has no name")
			}
			return key(path)
		},
	})
	w.until("several searches", func(st *sidecar.Status) bool {
		return asked.Load() >= 6 && st.States[sidecar.Resting] == 1 && st.States[sidecar.Stopped] == 1
	})
	for o, err := range w.store.List(t.Context(), "", "") {
		if err != nil || !strings.HasPrefix(o.Key, "a.db/") {
			t.Errorf("there is %s, %v", o.Key, err)
		}
	}
	left, ok := errors.AsType[*sidecar.UnshippedError](w.stop())
	if !ok || left.Count != 1 || filepath.Base(left.Databases[0]) != "odd.db" {
		t.Errorf("it ended with %v", left)
	}
	if n := strings.Count(log.String(), "cannot be shipped"); n != 1 || strings.Contains(log.String(), "not looked after") {
		t.Errorf("it is said %d times: %s", n, log.String())
	}
}

// TestEndedAtOnce: ended before it has looked for databases, it looks for them, records what was committed, and ships
// it; without a store it says that it did not.
func TestEndedAtOnce(t *testing.T) {
	w := newWorld(t)
	a, b := w.open("a.db", "vfs=pagetrail"), w.open("b.plain", "")
	sources := []sidecar.Source{{Glob: filepath.Join(w.dir, "*.db")}, {Path: filepath.Join(w.dir, "b.plain"), Capture: true}}
	w.exec(a, schema)
	w.exec(b, schema)
	over := func(grace time.Duration) error {
		o := sidecar.Options{Sources: sources, Grace: grace, Open: func(context.Context, string) (objstore.Store, error) {
			return objstore.Faulty(w.store, &w.faults), nil
		}}
		for i := range sources {
			sources[i].To, sources[i].Key = "mem://store", key
		}
		s, err := sidecar.New(t.Context(), &o)
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		return errors.Join(s.Run(ended), s.Close())
	}
	if err := over(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.same("a.db")
	w.same("b.plain")
	w.exec(a, "INSERT INTO t(a) VALUES(2)")
	w.exec(b, "INSERT INTO t(a) VALUES(2)")
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome { return objstore.Refuse }
	left, ok := errors.AsType[*sidecar.UnshippedError](over(50 * time.Millisecond))
	if !ok || left.Count != 2 {
		t.Errorf("without a store it ended with %v", left)
	}
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome { return objstore.Pass }
	if err := over(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.same("a.db")
	w.same("b.plain")
}

// TestUnshippedOnce: a database of which neither the last commits could be recorded nor the trail be shipped is one database
// that was not shipped.
func TestUnshippedOnce(t *testing.T) {
	w := newWorld(t)
	a := w.open("a.db", "")
	w.exec(a, schema)
	a.Close()
	source := sidecar.Source{Path: filepath.Join(w.dir, "a.db"), Capture: true}
	if _, err := w.once(source); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source.Path, []byte("this is not a database any more"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome { return objstore.Refuse }
	_, err := w.once(source)
	if left, ok := errors.AsType[*sidecar.UnshippedError](err); !ok || left.Count != 1 || !strings.Contains(err.Error(), "not a database") || w.faults.Fired() == 0 {
		t.Errorf("%v, after %d refused calls", err, w.faults.Fired())
	}
}

// TestReplica: a replica's trail is not shipped to its primary's archive, which is no reason to say that something was
// left; once it is promoted it is.
func TestReplica(t *testing.T) {
	w := newWorld(t)
	a := w.open("a.db", "vfs=pagetrail")
	w.exec(a, schema)
	source := sidecar.Source{Path: filepath.Join(w.dir, "a.db")}
	w.start(nil, source)
	w.atRest(1)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	_, before := w.archived("a.db")
	w.exec(a, "INSERT INTO t(a) VALUES(2)")
	if err := replica.Begin(source.Path, replica.Mark{}, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	w.start(func(o *sidecar.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }, source)
	w.until("refused", func(st *sidecar.Status) bool {
		return st.States[sidecar.Waiting] == 1 && strings.Contains(st.List[0].Error, "promote")
	})
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if _, last := w.archived("a.db"); last != before || strings.Count(log.String(), "WARN") != 1 || strings.Contains(log.String(), "ERROR") {
		t.Errorf("shipped up to %d, and said %s", last, log.String())
	}
	if err := os.Remove(source.Path + replica.Suffix); err != nil {
		t.Fatal(err)
	}
	w.start(nil, source)
	w.atRest(1)
	if last := w.same("a.db"); last <= before {
		t.Errorf("promoted, it shipped up to %d", last)
	}
}
