package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/crashfs"
)

// TestDyingConnection has a connection panic in mid-transaction, in a process
// that lives on and never closes it. Its descriptors are gone a while later, as
// the collector has it. Another connection, open all the time, goes on.
func TestDyingConnection(t *testing.T) {
	var deaths atomic.Int64
	t.Cleanup(func() { t.Logf("%d connections died", deaths.Load()) })
	for _, c := range combos() {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 1, inline: true}
			die := func(name string, when func() func(crashfs.Op) bool) (died bool) {
				for _, outsider := range []bool{false, true} {
					var hook func(crashfs.Op) bool
					if when != nil {
						hook = when()
					}
					var err error
					if died, err = dieOnce(set, tempDir(t), hook, outsider); err != nil {
						t.Errorf("%v: %s, outsider=%v: %v", set, name, outsider, err)
					}
					if died {
						deaths.Add(1)
					}
				}
				return died
			}
			if !die("in a function of SQL", nil) {
				t.Error("the function did not end the connection")
			}
			if set.wal() {
				return // what panics below the WAL is recovered by the VFS
			}
			for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Sync, crashfs.Remove, crashfs.Truncate} {
				for n := 0; ; n += 1 + n/4 {
					died := die(fmt.Sprintf("in %s number %d of the journal", kind, n), func() func(crashfs.Op) bool {
						seen := 0
						return func(op crashfs.Op) bool {
							if op.Kind != kind || op.Name != dbName+"-journal" {
								return false
							}
							seen++
							return seen-1 == n
						}
					})
					if !died {
						break
					}
				}
			}
		})
	}
}

// dieOnce has a connection die at the operation that hook says, or, if it is
// nil, in a function of SQL. died is false when neither came. With outsider a
// program without our VFS is the next to open the database, and plays the
// journal back.
func dieOnce(set setup, temp string, hook func(crashfs.Op) bool, outsider bool) (died bool, err error) {
	w, err := newWorld(set, 1, temp)
	if err != nil {
		return false, err
	}
	defer w.close()
	// A journal that is played back does not restore pages of the free-list.
	if err := w.conns[0].Exec(fmt.Sprintf("%s; DELETE FROM t", insertMany)); err != nil {
		return false, err
	}
	before := w.m.Databases()
	victim, err := w.m.open(w.m.ours, w.params())
	if err != nil {
		return false, err
	}
	err = victim.Exec(fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=3", set.journal, set.sync))
	if err != nil {
		return false, err
	}
	if hook == nil {
		err := victim.CreateFunction("boom", 1, 0, func(_ sqlite3.Context, args ...sqlite3.Value) {
			if args[0].Int() > 12 {
				panic("boom")
			}
		})
		if err != nil {
			return false, err
		}
	} else {
		w.m.OnOp(func(op crashfs.Op) crashfs.Fault {
			if hook(op) {
				panic("boom")
			}
			return crashfs.Fault{}
		})
	}
	func() {
		defer func() { died = recover() != nil }()
		err = victim.Exec(fatal(set, hook == nil))
	}()
	w.m.OnOp(nil)
	if !died {
		if hook == nil {
			return false, err
		}
		return false, victim.Close()
	}
	w.m.Abandon(before)
	if outsider {
		if _, err := w.m.judge(); err != nil {
			return true, fmt.Errorf("an outsider: %w", err)
		}
	}
	return true, w.goOn()
}

// TestDeadProcess has a process die in mid-transaction, at each operation that
// changes anything. Another one plays the journal back, and one that had the
// database open all the time goes on.
//
// When it is a program without our VFS that plays the journal back, the dead
// one's transaction must have been announced in the trail: before that nothing
// tells that pages were written, and what a played-back journal leaves of the
// free-list then is a known limit.
func TestDeadProcess(t *testing.T) {
	var deaths atomic.Int64
	t.Cleanup(func() { t.Logf("%d processes died", deaths.Load()) })
	for _, c := range combos() {
		if c[0] == "WAL" {
			continue
		}
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 1, inline: true}
			temp := tempDir(t)
			for _, outsider := range []bool{false, true} {
				for n := 0; ; n++ {
					died, err := dieElsewhere(set, temp, n, outsider)
					if err != nil {
						t.Errorf("%v: at operation %d, outsider=%v: %v", set, n, outsider, err)
					}
					if !died {
						break
					}
					deaths.Add(1)
				}
			}
		})
	}
}

// dieElsewhere has another process die at its n-th operation that changes
// anything; with outsider it is the n-th after the announcement.
func dieElsewhere(set setup, temp string, n int, outsider bool) (died bool, err error) {
	d := crashfs.New(newRoot(temp))
	alias, _ := newRoot(temp)
	third, _ := newRoot(temp)
	d.Alias(alias)
	d.Alias(third)
	w, err := newWorldOn(d, set, 1, temp)
	if err != nil {
		return false, err
	}
	defer w.close()
	if err := w.conns[0].Exec(insertMany + "; DELETE FROM t"); err != nil {
		return false, err
	}
	other, err := mountAt(d, alias, mountOptions)
	if err != nil {
		return false, err
	}
	defer other.unregister()
	before := d.Databases()
	victim, err := other.open(other.ours, w.params())
	if err != nil {
		return false, err
	}
	err = victim.Exec(fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=100", set.journal, set.sync))
	if err != nil {
		return false, err
	}
	announced, seen := !outsider, 0
	d.OnOp(func(op crashfs.Op) crashfs.Fault {
		switch {
		case died && role(op.Name) != "lock": // the system releases it
			return crashfs.Fault{Err: crashfs.ErrStopped}
		case op.Kind == crashfs.Write && role(op.Name) == "segment":
			announced = true
		case announced && op.Kind.Changes():
			if seen++; seen > n {
				died = true
				return crashfs.Fault{Err: crashfs.ErrStopped}
			}
		}
		return crashfs.Fault{}
	})
	err = victim.Exec(fatal(set, false))
	d.OnOp(nil)
	if !died {
		return false, errors.Join(err, victim.Close())
	}
	d.Abandon(before)
	reader, err := mountAt(d, third, mountOptions)
	if err != nil {
		return true, err
	}
	defer reader.unregister()
	name := reader.ours
	if outsider {
		name = reader.plain
	}
	if err := reader.read(name); err != nil {
		return true, fmt.Errorf("who plays the journal back: %w", err)
	}
	return true, w.goOn()
}

// read opens the database, and reads it.
func (m *mount) read(vfsName string) error {
	c, err := m.open(vfsName, "")
	if err != nil {
		return err
	}
	_, err = number(c, "SELECT step FROM meta")
	return errors.Join(err, c.Close())
}

const insertMany = "INSERT INTO t(a,b) SELECT value, randomblob(400) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]')"

// fatal is what the connection dies of. In WAL mode it dies reading: the
// mapping of the wal-index holds a write lock as long as the process lives, so
// that nobody could go on after a writer.
func fatal(set setup, inSQL bool) string {
	if set.wal() {
		return "INSERT INTO t(a,b) VALUES(7, zeroblob(900)); SELECT sum(boom(value)) FROM t, json_each('[1,12,13]')"
	}
	n := "value"
	if inSQL {
		n = "coalesce(boom(value), value)"
	}
	return "BEGIN; INSERT INTO t(a,b) SELECT " + n + ", zeroblob(400) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14]'); UPDATE meta SET step=5; COMMIT"
}

// goOn writes through the connection that lives, and through a new one.
func (w *world) goOn() error {
	c := w.conns[0]
	for i := range 3 {
		if err := c.Exec(fmt.Sprintf("INSERT INTO t(a,b) VALUES(%d, zeroblob(100)); UPDATE meta SET step=%d", i, own+i)); err != nil {
			return fmt.Errorf("the other connection: %w", err)
		}
	}
	late, err := w.m.open(w.m.ours, w.params())
	if err != nil {
		return err
	}
	if err := late.Exec(fmt.Sprintf("UPDATE meta SET step=%d", own+3)); err != nil {
		return fmt.Errorf("a new connection: %w", err)
	}
	if err := late.Close(); err != nil {
		return err
	}
	if w.set.wal() {
		if err := c.Exec("PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
			return err
		}
	}
	txs, db, err := w.m.replay()
	if err != nil {
		return err
	}
	m, err := mountDisk(w.killed())
	if err != nil {
		return err
	}
	defer m.unmount()
	want, err := m.judge()
	if err == nil && !bytes.Equal(db, want.db) {
		err = fmt.Errorf("the trail gives %s; %s", difference(db, want.db), describe(txs))
	}
	return err
}
