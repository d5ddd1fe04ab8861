package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// syncVFS is the operating system's, and tells before each sync of a WAL. With synchronous=NORMAL that is a checkpoint
// which is about to write to the database, or the first frame of a new generation.
type syncVFS struct {
	sqlitevfs.VFS
	told func()
}

type syncFile struct {
	sqlitevfs.File
	v *syncVFS
}

func (v *syncVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	f, out, err := v.VFS.(sqlitevfs.VFSFilename).OpenFilename(name, flags)
	if err == nil && flags&sqlitevfs.OPEN_WAL != 0 {
		f = &syncFile{f, v}
	}
	return f, out, err
}

func (f *syncFile) Sync(flags sqlitevfs.SyncFlag) error {
	if f.v.told != nil {
		f.v.told()
	}
	return f.File.Sync(flags)
}

// wide is a database of rows in many pages, each of which is updated once by update.
type wide struct {
	path    string
	c       *sqlite3.Conn
	w       *vfs.Watcher
	before  journal.TXID
	commits int
}

const wideRows = 20_000

func newWide(t *testing.T, params string, o *vfs.WatchOptions) *wide {
	t.Helper()
	d := &wide{path: filepath.Join(t.TempDir(), "x.db")}
	var err error
	if d.c, err = sqlite3.Open("file:" + d.path + params); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.c.Close() })
	run(t, d.c, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)", fmt.Sprintf(`INSERT INTO t(a)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT 'row '||i||' of many, each about as long as this' FROM n`, wideRows),
		"PRAGMA wal_checkpoint(TRUNCATE)")
	if d.w, err = vfs.NewWatcher(d.path, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.w.Close() })
	step(t, d.w)
	d.before = lastOf(t, d.path)
	return d
}

// newLetGo is a newWide of which the Watcher has just let the WAL go.
func newLetGo(t *testing.T) *wide {
	t.Helper()
	d := newWide(t, "", nil)
	run(t, d.c, "PRAGMA wal_autocheckpoint=0")
	d.update(t, d.c)
	step(t, d.w)
	checkpoint(t, d.c)
	step(t, d.w)
	if wal, file := d.w.Held(); wal || !file {
		t.Fatalf("the WAL was not let go: %v %v", wal, file)
	}
	return d
}

func (d *wide) update(t *testing.T, c *sqlite3.Conn) {
	t.Helper()
	d.commits++
	run(t, c, fmt.Sprintf("UPDATE t SET a='row %d of many, and changed since then' WHERE id=%d", d.commits, 1+d.commits*7919%wideRows))
}

// end checks that each commit is one record, and small but for some, and that the last is what SQLite has.
func (d *wide) end(t *testing.T, some int) {
	t.Helper()
	step(t, d.w)
	trail, err := journal.Open(d.path+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	records, large := 0, 0
	for r, err := range trail.Records(t.Context(), d.before+1) {
		if err != nil {
			t.Fatal(err)
		}
		if records++; r.Bytes > 300 {
			large++
		}
	}
	r := newReplica(t, d.path+"-pagetrail")
	defer r.close()
	sameBytes(t, "in the end", r.at(lastOf(t, d.path)), snapshot(t, d.path))
	if records != d.commits || large > some || r.kinds[journal.CatchUp] > 0 {
		t.Errorf("%d commits are %d records, %d of them large, kinds %v", d.commits, records, large, r.kinds)
	}
}

// checkpoint copies what may be copied: how many frames the WAL has, and how many of them are in the file.
func checkpoint(t *testing.T, c *sqlite3.Conn) (frames, copied int) {
	t.Helper()
	frames, copied, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	if err != nil {
		t.Fatal(err)
	}
	return frames, copied
}

// TestWatchMark: a checkpoint copies nothing that was not recorded, however late that is: what a page was before a commit
// is still to be had, and a record has what changed. The next checkpoint is not kept from anything, and the WAL begins anew.
func TestWatchMark(t *testing.T) {
	d := newWide(t, "", nil)
	run(t, d.c, "PRAGMA wal_autocheckpoint=0")
	for range 20 {
		d.update(t, d.c)
	}
	step(t, d.w)
	for range 30 {
		d.update(t, d.c)
	}
	if frames, copied := checkpoint(t, d.c); frames != 50 || copied != 20 {
		t.Errorf("a checkpoint copied %d of %d frames, 20 were recorded", copied, frames)
	}
	step(t, d.w)
	if frames, copied := checkpoint(t, d.c); frames != copied {
		t.Errorf("the next checkpoint copied %d of %d frames", copied, frames)
	}
	step(t, d.w)
	if wal, file := d.w.Held(); wal || !file {
		t.Errorf("the WAL was not let go: %v %v", wal, file)
	}
	d.update(t, d.c)
	step(t, d.w)
	if frames, copied := checkpoint(t, d.c); frames != 1 || copied != 1 {
		t.Errorf("the WAL did not begin anew: %d of %d frames", copied, frames)
	}
	d.end(t, 0)
}

// TestWatchMarkBehind: the mark is not opened for a checkpoint that is due while there is much that was not recorded, also
// if that was committed only just now; so the checkpoint copies none of it.
func TestWatchMarkBehind(t *testing.T) {
	var d *wide
	o, seen := &vfs.WatchOptions{}, ""
	o.SetHook(func(at string) {
		switch {
		case d == nil:
		case at == "look where the mark is to be" && seen == "":
			for range 100 {
				d.update(t, d.c)
			}
			seen = at
		case at == "record near the end" && seen != at:
			if frames, copied := checkpoint(t, d.c); frames-copied != 100 {
				t.Errorf("%d of %d frames were copied, and 100 were not recorded", copied, frames)
			}
			seen = at
		}
	})
	made := newWide(t, "", o)
	run(t, made.c, "PRAGMA wal_autocheckpoint=0")
	for range 990 { // of 1000 frames, at which SQLite's own would come
		made.update(t, made.c)
	}
	d = made
	step(t, d.w)
	if seen != "record near the end" {
		t.Fatalf("the last that was seen is %q", seen)
	}
	d.end(t, 0)
}

// TestWatchCompares: where the trail's end has to be looked for in the database, since the table of its pages was lost,
// no checkpoint copies the commits that are to be recorded before it was found.
func TestWatchCompares(t *testing.T) {
	d := newWide(t, "", nil)
	run(t, d.c, "PRAGMA wal_autocheckpoint=0")
	if err := d.w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(d.path+"-pagetrail", "pages")); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		d.update(t, d.c)
	}
	compared := false
	o := &vfs.WatchOptions{}
	o.SetHook(func(at string) {
		if at != "record" || compared {
			return
		}
		compared = true
		if frames, copied := checkpoint(t, d.c); copied != 0 || frames == 0 {
			t.Errorf("%d of %d frames were copied while the database was compared", copied, frames)
		}
	})
	var err error
	if d.w, err = vfs.NewWatcher(d.path, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.w.Close() })
	step(t, d.w)
	if !compared {
		t.Fatal("nothing was recorded")
	}
	if wal, file := d.w.Held(); !wal || file {
		t.Errorf("the file is held after it was compared: %v %v", wal, file)
	}
	if frames, copied := checkpoint(t, d.c); copied != frames {
		t.Errorf("%d of %d frames were copied afterwards", copied, frames)
	}
	d.end(t, 0)
}

// TestWatchWhileCheckpoint has a writer that checkpoints by itself, and nobody looks before the checkpoint has begun to
// sync the WAL: there is one checkpoint for each time that the WAL is full, as without a Watcher, and still each commit
// is one small record. Now and then somebody else commits while the checkpoint is under way.
func TestWatchWhileCheckpoint(t *testing.T) {
	for _, others := range []bool{false, true} {
		t.Run(fmt.Sprintf("others=%v", others), func(t *testing.T) {
			v, name := &syncVFS{VFS: sqlitevfs.Find("")}, fmt.Sprintf("telling-%v", others)
			sqlitevfs.Register(name, v)
			t.Cleanup(func() { sqlitevfs.Unregister(name) }) // after the connections are closed
			d := newWide(t, "?vfs="+name, nil)
			other, syncs, outside, longest := plain(t, d.path), 0, 0, int64(0)
			defer other.Close()
			run(t, other, "PRAGMA wal_autocheckpoint=0")
			v.told = func() {
				syncs++
				step(t, d.w)
				if others && syncs%3 == 0 && other.Exec("BEGIN IMMEDIATE") == nil { // else the writer is in a transaction
					d.update(t, other)
					run(t, other, "COMMIT")
					outside++
				}
			}
			run(t, d.c, "PRAGMA wal_autocheckpoint=300")
			for i := range 3000 {
				d.update(t, d.c)
				if i%17 == 0 {
					step(t, d.w)
				}
				if info, err := os.Stat(d.path + "-wal"); err == nil {
					longest = max(longest, info.Size())
				}
			}
			v.told = nil
			d.end(t, 0)
			if others != (outside > 0) {
				t.Errorf("%d commits while a checkpoint was under way", outside)
			}
			t.Logf("%d commits, %d syncs of the WAL, which had %d frames", d.commits, syncs, longest/4120)
			if longest > 4120*1000 {
				t.Errorf("the WAL grew to %d frames: it was never let go", longest/4120)
			}
		})
	}
}

// TestWatchMarksTaken: where readers have all marks the Watcher holds one together with them, so that nothing is lost when
// they go, and it does not look more often for it.
func TestWatchMarksTaken(t *testing.T) {
	d := newLetGo(t)
	var readers []*sqlite3.Conn
	for range 4 {
		d.update(t, d.c)
		c := plain(t, d.path)
		defer c.Close()
		run(t, c, "BEGIN", "SELECT 1 FROM t LIMIT 1")
		readers = append(readers, c)
	}
	d.update(t, d.c)
	step(t, d.w)
	if wal, file := d.w.Held(); !wal || file {
		t.Errorf("the WAL is not held: %v %v", wal, file)
	}
	for range 20 {
		step(t, d.w)
	}
	if wait, err := d.w.Step(); err != nil || wait < 100*time.Millisecond {
		t.Errorf("at rest it wants to look again within %v: %v", wait, err)
	}
	for _, c := range readers {
		run(t, c, "ROLLBACK")
	}
	step(t, d.w) // nothing was committed, and the mark is moved all the same
	if frames, copied := checkpoint(t, d.c); frames != copied {
		t.Errorf("without readers a checkpoint copied %d of %d frames", copied, frames)
	}
	d.end(t, 0)
}

// TestWatchHandover has the WAL filled further, and copied to its end, in the moment between a checkpoint's end and that
// in which the Watcher would let it begin anew: it does not, and nothing is lost.
func TestWatchHandover(t *testing.T) {
	v := &syncVFS{VFS: sqlitevfs.Find("")}
	sqlitevfs.Register("handover", v)
	t.Cleanup(func() { sqlitevfs.Unregister("handover") })
	for _, late := range []bool{false, true} {
		o := &vfs.WatchOptions{}
		waits, goes, through := make(chan bool, 1), make(chan bool, 1), make(chan bool, 1)
		o.SetHook(func(at string) {
			switch at { // on a goroutine of its own
			case "wait for mark 0":
				waits <- true
				<-goes
			case "handed over":
				through <- true
			}
		})
		d := newWide(t, "?vfs=handover", o)
		run(t, d.c, "PRAGMA wal_autocheckpoint=0")
		for range 1100 {
			d.update(t, d.c)
		}
		step(t, d.w)
		v.told = func() { step(t, d.w) }
		checkpoint(t, d.c)
		v.told = nil
		<-waits
		if late {
			d.update(t, d.c)
			if frames, copied := checkpoint(t, d.c); frames != copied {
				t.Errorf("a checkpoint copied %d of %d frames", copied, frames)
			}
		}
		goes <- true
		<-through
		d.update(t, d.c)
		frames, _ := checkpoint(t, d.c)
		if late != (frames > 1) {
			t.Errorf("late=%v: the WAL has %d frames", late, frames)
		}
		for range 3 {
			step(t, d.w)
		}
		some := 0
		if late { // the pages of the last two were copied before anybody looked
			some = 2
		}
		d.end(t, some)
	}
}
