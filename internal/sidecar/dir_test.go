package sidecar_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// source is the world's directory, with archives at the paths in it.
func (w *world) source(capture bool) sidecar.Source {
	return sidecar.Source{Dir: w.dir, Capture: capture, Key: func(path string) (string, error) {
		name, err := filepath.Rel(w.dir, path)
		return filepath.ToSlash(name), err
	}}
}

// found are the databases that a sidecar looks after.
func found(w *world, st sidecar.Status) (names []string) {
	for _, d := range st.List {
		name, err := filepath.Rel(w.dir, d.Path)
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, filepath.ToSlash(name))
	}
	return names
}

// once runs a sidecar that ships what there is.
func (w *world) once(sources ...sidecar.Source) (sidecar.Status, error) {
	w.t.Helper()
	s := w.new(nil, sources...)
	s.SetPause(time.Millisecond)
	err := s.Once(w.t.Context())
	return s.Status(func(*sidecar.DatabaseStatus) bool { return true }), errors.Join(err, s.Close())
}

// A directory stands for the databases in it and below: those with a trail, or with Capture each file that is one. What is
// hidden or something else is left alone, what comes later is found.
func TestDirectory(t *testing.T) {
	w := newWorld(t)
	for _, dir := range []string{"deep/er", ".hidden"} {
		if err := os.MkdirAll(filepath.Join(w.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.exec(w.open("a.db", "vfs=pagetrail"), schema)
	w.exec(w.open("deep/er/b", "vfs=pagetrail"), schema)
	w.exec(w.open("deep/c.db", ""), schema)
	w.exec(w.open("deep/.work.tmp", ""), schema)
	w.exec(w.open(".hidden/d.db", "vfs=pagetrail"), schema)
	for name, text := range map[string]string{"short": "SQLite", "text.db": "SQLite format 3, which this is not"} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.start(nil, w.source(false))
	if got := fmt.Sprint(found(w, w.atRest(2))); got != "[a.db deep/er/b]" {
		t.Errorf("with a trail there are %s", got)
	}
	w.exec(w.open("later.db", "vfs=pagetrail"), schema)
	w.atRest(3)
	w.same("later.db")
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.start(nil, w.source(true))
	if got := fmt.Sprint(found(w, w.atRest(4))); got != "[a.db deep/c.db deep/er/b later.db]" {
		t.Errorf("captured are %s", got)
	}
	w.exec(w.open("deep/c.db", ""), "INSERT INTO t(a) VALUES(1)")
	w.same("deep/c.db")
}

// Once records and ships what there is, in any journal mode, and asks for nothing when there is nothing. What cannot be
// shipped stops nothing else.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.open("a.db", "vfs=pagetrail"), w.open("b.db", ""), w.open("c.db", "")
	w.exec(c, "PRAGMA journal_mode=DELETE")
	insert := func() {
		for _, conn := range []*sqlite3.Conn{a, b, c} {
			w.exec(conn, schema+"; INSERT INTO t(a) VALUES(randomblob(100))")
		}
	}
	same := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if got, _ := w.archived(name); !bytes.Equal(got, w.snapshot(name)) {
				t.Errorf("the archive of %s has something else", name)
			}
		}
	}
	for range 2 {
		insert()
		for i := range 2 {
			before := w.meter.Requests()
			st, err := w.once(w.source(true))
			if err != nil || st.Databases != 3 {
				t.Fatalf("%+v, %v", st, err)
			}
			if n := w.meter.Requests() - before; i > 0 && n > 0 {
				t.Errorf("%d requests, and there was nothing to ship", n)
			}
		}
		same("a.db", "b.db", "c.db")
	}

	insert()
	w.faults.Decide = func(_ int, call objstore.Call) objstore.Outcome {
		if strings.HasPrefix(call.Key, "b.db/") {
			return objstore.Refuse
		}
		return objstore.Pass
	}
	st, err := w.once(w.source(true))
	left, ok := errors.AsType[*sidecar.UnshippedError](err)
	if !ok || left.Count != 1 || filepath.Base(left.Databases[0]) != "b.db" || w.faults.Fired() < 2 {
		t.Errorf("%v, after %d refused calls", err, w.faults.Fired())
	}
	for _, d := range st.List {
		if failed := d.Error != ""; failed != (filepath.Base(d.Path) == "b.db") || d.Result.Transactions != 1 && !failed {
			t.Errorf("%+v", d)
		}
	}
	same("a.db", "c.db")
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome { return objstore.Pass }
	if _, err := w.once(w.source(true)); err != nil {
		t.Fatal(err)
	}
	same("b.db")

	// What was deleted from an archive is brought back when that is asked for, though nothing was committed.
	object := lastBatch(w, "a.db")
	if err := w.store.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	s := w.new(func(o *sidecar.Options) { o.Mend = true }, w.source(true))
	if err := errors.Join(s.Once(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	same("a.db")
}

// lastBatch is the key of what an archive's end is in.
func lastBatch(w *world, name string) (last string) {
	w.t.Helper()
	for o, err := range w.store.List(w.t.Context(), name+"/", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasSuffix(o.Key, ".seg") {
			last = o.Key
		}
	}
	return last
}

// Two databases that would have one archive are not mixed: the second is told whose it is, once, and gets it when the first
// is gone.
func TestSameName(t *testing.T) {
	w := newWorld(t)
	for _, dir := range []string{"x", "y"} {
		if err := os.Mkdir(filepath.Join(w.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		w.exec(w.open(dir+"/app.db", "vfs=pagetrail"), schema)
	}
	var log bytes.Buffer
	w.start(func(o *sidecar.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }, sidecar.Source{Glob: filepath.Join(w.dir, "*", "app.db")})
	st := w.until("one of two", func(st *sidecar.Status) bool {
		return st.States[sidecar.Resting] == 1 && st.States[sidecar.Stopped] == 1
	})
	if first, second := st.List[0], st.List[1]; first.State != sidecar.Resting || !strings.Contains(second.Error, "which is that of "+first.Path) {
		t.Errorf("%+v", st.List)
	}
	var left *sidecar.UnshippedError
	if err := w.stop(); !errors.As(err, &left) || left.Count != 1 || !strings.Contains(left.Databases[0], filepath.Join("y", "app.db")) {
		t.Errorf("it ended with %v", err)
	}
	if n := strings.Count(log.String(), "cannot be shipped"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}
