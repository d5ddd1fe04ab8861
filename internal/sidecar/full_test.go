package sidecar_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/vfs"
)

// trailBytes is what a trail takes on its disk, but for a segment that is being sealed, which may go beyond a quota.
func (w *world) trailBytes(name string) (n int64) {
	files, err := filepath.Glob(filepath.Join(w.dir, name+"-pagetrail", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && filepath.Ext(f) != ".sealing" { // else it was removed meanwhile
			n += info.Size()
		}
	}
	return n
}

// Without its store, the trail of a captured database grows to its quota and no further, and its program goes on. When the
// store is back, what was recorded is shipped and makes room, and then the rest is recorded, up to the end of the archive.
func TestQuota(t *testing.T) {
	const quota = 1 << 20
	w := newWorld(t)
	var down atomic.Bool
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome {
		if down.Load() {
			return objstore.Refuse
		}
		return objstore.Pass
	}
	c := w.open("a.db", "")
	w.exec(c, schema)
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "a.db"), Capture: true, Quota: quota})
	w.atRest(1)
	down.Store(true)
	full := func(st *sidecar.Status) bool {
		return st.States[sidecar.Failed] == 1 && strings.Contains(st.List[0].Error, "the quota of 1048576 bytes is reached")
	}
	rows := 0
	w.until("the quota to be reached", func(st *sidecar.Status) bool {
		w.exec(c, "INSERT INTO t(a) VALUES(randomblob(20000))")
		rows++
		return full(st)
	})
	for range 30 { // which it has no room for
		w.exec(c, "INSERT INTO t(a) VALUES(randomblob(20000))")
	}
	w.exec(c, "INSERT INTO t(a) VALUES(randomblob(600000))") // nor beside what is kept while there is
	// What was refused may have been many commits at once: then there is room for one after the other.
	w.until("the quota to be made use of", func(*sidecar.Status) bool { return w.trailBytes("a.db") > quota/2 })
	if n := w.trailBytes("a.db"); n > quota+quota/8 || rows < 30 {
		t.Errorf("%d rows, and the trail takes %d bytes", rows, n)
	}
	down.Store(false)
	w.atRest(1)
	w.same("a.db")
}

// A database whose own program has the quota: it is asked for room before there is none, also of a sidecar that rests, and
// a commit that is refused all the same goes through a little later.
func TestQuotaOfTheVFS(t *testing.T) {
	const quota, n = 1 << 20, 150
	w := newWorld(t)
	c := w.open("a.db", "vfs=pagetrail&quota=1MiB")
	w.exec(c, schema)
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "a.db")})
	refused := 0
	again := func(sql string) { // until it is not refused
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			err := c.Exec(sql)
			if err == nil {
				return
			}
			if refused++; !errors.Is(err, sqlite3.FULL) && !errors.Is(err, sqlite3.IOERR) || time.Now().After(end) {
				t.Fatalf("%s, after %d that were refused: %v", sql, refused, err)
			}
		}
	}
	commit := func(bytes int) {
		again(fmt.Sprintf("INSERT INTO t(a) VALUES(randomblob(%d))", bytes))
		again("PRAGMA pagetrail_txid")
	}
	for i := range n {
		if i%50 == 0 {
			w.atRest(1)
		}
		commit(20_000)
	}
	w.atRest(1)
	commit(600_000) // for which there is no room beside the half that is kept
	w.atRest(1)
	w.same("a.db")
	t.Logf("%d commits of 20 kB through a quota of 1 MiB, %d times refused", n, refused)
}

// What was recorded is shipped, though no more can be.
func TestRecordedIsShipped(t *testing.T) {
	w := newWorld(t)
	var down atomic.Bool
	w.faults.Decide = func(int, objstore.Call) objstore.Outcome {
		if down.Load() {
			return objstore.Refuse
		}
		return objstore.Pass
	}
	source := sidecar.Source{Path: filepath.Join(w.dir, "a.db"), Capture: true}
	c := w.open("a.db", "")
	w.exec(c, schema)
	w.start(nil, source)
	w.atRest(1)
	down.Store(true)
	w.exec(c, "INSERT INTO t(a) VALUES(1)")
	w.until("it to be recorded", func(st *sidecar.Status) bool { return st.List[0].Trail == 2 && st.List[0].Waiting != nil })
	w.s.SetGrace(time.Millisecond)
	if err := w.stop(); err == nil {
		t.Fatal("shipped without a store")
	}
	want := w.snapshot("a.db")
	w.exec(c, "PRAGMA journal_mode=DELETE; INSERT INTO t(a) VALUES(2)")
	down.Store(false)
	w.start(nil, source)
	w.until("it to be shipped", func(st *sidecar.Status) bool {
		return st.States[sidecar.Failed] == 1 && strings.Contains(st.List[0].Error, vfs.ErrNotWAL.Error()) && st.List[0].Shipped == 2
	})
	if got, last := w.archived("a.db"); last != 2 || !bytes.Equal(got, want) {
		t.Errorf("the archive ends with %d, which is what the database was: %v", last, bytes.Equal(got, want))
	}
	w.exec(c, "PRAGMA journal_mode=WAL")
	w.atRest(1)
	w.same("a.db")
}

// What was committed without room for it is not taken for recorded, even if nothing is committed after it.
func TestFullAtTheEnd(t *testing.T) {
	const quota = 1 << 20
	w := newWorld(t)
	source := sidecar.Source{Path: filepath.Join(w.dir, "a.db"), Capture: true, Quota: quota}
	c := w.open("a.db", "")
	w.exec(c, schema)
	w.start(nil, source)
	w.atRest(1)
	ballast := filepath.Join(w.dir, "a.db-pagetrail", "ballast")
	if err := os.WriteFile(ballast, make([]byte, quota), 0o600); err != nil {
		t.Fatal(err)
	}
	w.exec(c, "INSERT INTO t(a) VALUES(randomblob(100000))") // and the trail's directory is looked at
	w.until("the quota to be reached", func(st *sidecar.Status) bool { return st.States[sidecar.Failed] == 1 })
	if left, ok := errors.AsType[*sidecar.UnshippedError](w.stop()); !ok || !vfs.Full(left.Err) {
		t.Errorf("ended with %v", left)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.start(nil, source)
	w.until("what is not recorded", func(st *sidecar.Status) bool { return st.Ready && st.List[0].Shipped == 2 })
	w.same("a.db")
}
