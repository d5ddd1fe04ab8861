package crashtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// trailName is the trail of dbName.
const trailName = dbName + capture.Suffix

// outage is how the trail's disk fails, until it is told not to.
type outage struct {
	name string
	hits func(crashfs.Op) bool
	err  error
}

var outages = []outage{
	{"full", func(op crashfs.Op) bool { return op.Grows }, syscall.ENOSPC},
	{"dead", func(op crashfs.Op) bool { return op.Kind.Changes() }, syscall.EIO},
	{"readonly", func(op crashfs.Op) bool { return op.Kind.Changes() && op.Kind != crashfs.Sync }, syscall.EROFS},
}

var journalModes = []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"}

// during has the trail's disk, and no other, fail while on is set. Every other
// write that fails has written a part.
func (w *world) during(o outage, on *atomic.Bool, fired *int) {
	w.m.OnOp(func(op crashfs.Op) crashfs.Fault {
		if !on.Load() || op.Name != trailName && filepath.Dir(op.Name) != trailName || !o.hits(op) {
			return crashfs.Fault{}
		}
		*fired++
		f := crashfs.Fault{Err: o.err}
		if op.Kind == crashfs.Write && *fired%2 == 0 {
			f.Part = op.Len / 2
		}
		return f
	})
}

// fullWork has commits that spill, a rollback of a spill, and what each
// connection does with the other's.
func fullWork() []step {
	return []step{
		{sql: mark, commit: true},
		{sql: "BEGIN; " + manyRows + mark + "; COMMIT", commit: true},
		{conn: 1, sql: "BEGIN; " + manyRows + mark + "; COMMIT", commit: true},
		{sql: "BEGIN; DELETE FROM t WHERE id%3>0; " + mark + "; COMMIT", commit: true},
		{sql: "BEGIN; UPDATE t SET b=zeroblob(300), a=a+1; " + mark + "; ROLLBACK"},
		{conn: 1, sql: "BEGIN; UPDATE t SET a=a+2; " + mark + "; COMMIT", commit: true},
	}
}

// fullCase is one way in which a trail's disk is gone for a while.
type fullCase struct {
	set       setup
	full      string
	exclusive bool
	outage
}

func (c fullCase) String() string {
	return fmt.Sprintf("%s/%s/%s/inline=%v/exclusive=%v/groups=%d", c.set.journal, c.full, c.name, c.set.inline, c.exclusive, c.set.groups)
}

func fullCases() (all []fullCase) {
	for _, mode := range journalModes {
		for _, full := range []string{vfs.FullRefuse, vfs.FullDetach} {
			for i, o := range outages {
				set := setup{journal: mode, sync: "FULL", pageSize: 512, cache: 5, conns: 2, inline: true}
				all = append(all, fullCase{set, full, false, o})
				small := set
				small.groups = 1 // so that what pages were goes to the trail's disk
				all = append(all, fullCase{small, full, false, o})
				if mode == "WAL" {
					set.inline = false
					all = append(all, fullCase{set, full, false, o})
				}
				if i == 0 {
					set.conns = 1
					all = append(all, fullCase{set, full, true, o})
				}
			}
		}
	}
	return all
}

// newFullWorld is a world whose connections have the policy, with the trail
// begun and everything durable.
func newFullWorld(c fullCase, temp string) (*world, error) {
	set := c.set
	set.params = "&full=" + c.full
	w, err := newWorld(set, 1, temp)
	if err == nil && c.exclusive {
		_, err = number(w.conns[0], "PRAGMA locking_mode=EXCLUSIVE")
	}
	for i := 0; err == nil && i < len(w.conns); i++ {
		err = w.conns[i].Exec("PRAGMA wal_autocheckpoint=0")
	}
	if err != nil {
		return w, err
	}
	// The free-list gets pages, which a rollback does not restore.
	w.flight = 1
	err = w.step(step{sql: "BEGIN; " + manyRows + mark + "; COMMIT", commit: true})
	if err == nil {
		w.flight = 2
		err = w.step(step{sql: "BEGIN; DELETE FROM t WHERE id>2; " + mark + "; COMMIT", commit: true})
	}
	return w, err
}

// manyRows does not fit into the cache.
const manyRows = "INSERT INTO t(a,b) SELECT value, zeroblob(400) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]'); "

// TestTrailFull takes the trail's disk away for a while, in every mode. With
// full=refuse what was committed is in the trail afterwards, each transaction by
// itself. With full=detach nothing fails, and the trail says what it merged.
func TestTrailFull(t *testing.T) {
	temp := tempDir(t)
	for _, c := range fullCases() {
		t.Run(c.String(), func(t *testing.T) {
			w, err := newFullWorld(c, temp)
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			if err := c.run(w); err != nil {
				t.Errorf("%v\n%s", err, w.m.log.String())
			}
		})
	}
}

func (c fullCase) run(w *world) error {
	var on atomic.Bool
	fired := 0
	w.during(c.outage, &on, &fired)
	on.Store(true)
	acked, err := c.work(w)
	if err != nil {
		return err
	}
	if fired == 0 {
		return errors.New("no operation of the trail failed")
	}
	if err := c.plainDatabase(w); err != nil {
		return fmt.Errorf("while the trail's disk is gone: %w", err)
	}
	if err := c.tells(w, len(acked)); err != nil {
		return err
	}
	on.Store(false)
	w.marks = make([]int, len(w.hist))
	if err := w.settle(); err != nil {
		return fmt.Errorf("when it is back: %w", err)
	}
	return c.recorded(w, acked)
}

// work is done while the trail's disk is gone. It returns the notes of the
// transactions that were acknowledged.
func (c fullCase) work(w *world) (acked []string, err error) {
	for i, s := range fullWork() {
		if s.conn >= c.set.conns {
			s.conn = 0
		}
		if c.set.journal == "OFF" && !s.commit {
			continue // a rollback destroys the database then
		}
		w.flight = i + 3
		note := fmt.Sprintf("step %d", w.flight)
		if err := w.conns[s.conn].Exec("PRAGMA pagetrail_note='" + note + "'"); err != nil {
			return nil, err
		}
		err := w.attempt(s)
		switch {
		case err == nil && s.commit:
			acked = append(acked, note)
			w.acked = w.flight
		case err == nil:
		case c.full == vfs.FullDetach:
			return acked, fmt.Errorf("step %d: %s: %w", w.flight, s, err)
		case c.err == syscall.ENOSPC && !errors.Is(err, sqlite3.FULL):
			return acked, fmt.Errorf("step %d failed otherwise than for a full disk: %w", w.flight, err)
		case c.set.journal == "DELETE" && !c.exclusive && w.m.File(dbName+"-journal") != nil:
			return acked, fmt.Errorf("step %d was not rolled back: its journal is there", w.flight)
		}
	}
	most := 0
	switch {
	case c.set.wal() && c.set.inline:
		most = 1 // the one after it is the first to know
	case c.set.wal():
		most = 5 // ... or whichever comes after the encoder has tried: perhaps none of five in quick succession
	case c.set.journal == "OFF" && c.exclusive:
		most = 1 // without a lock that is taken, and with nothing to roll back, it is not seen for another
	}
	if c.full == vfs.FullRefuse && len(acked) > most {
		return acked, fmt.Errorf("%d transactions were acknowledged that the trail could not take", len(acked))
	}
	if c.full == vfs.FullDetach && len(acked) != 5 {
		return acked, fmt.Errorf("%d transactions were acknowledged", len(acked))
	}
	return acked, nil
}

// plainDatabase opens a copy of the disk without our VFS: what was acknowledged
// is there.
func (c fullCase) plainDatabase(w *world) error {
	m, err := mountDisk(w.killed())
	if err != nil {
		return err
	}
	defer m.unmount()
	f, err := m.judge()
	if err != nil {
		return err
	}
	if f.mark != w.acked && !(c.set.journal == "OFF" && c.full == vfs.FullRefuse) { // which has no rollback
		return fmt.Errorf("the database has transaction %d, acknowledged was %d", f.mark, w.acked)
	}
	return nil
}

// tells checks what PRAGMA pagetrail_status says while the trail's disk is gone.
func (c fullCase) tells(w *world, acked int) error {
	s, err := status(w.conns[0])
	if err != nil {
		return err
	}
	if c.full == vfs.FullRefuse {
		if s.Detached != nil {
			return fmt.Errorf("refused and detached: %+v", s.Detached)
		}
		return nil
	}
	d := s.Detached
	switch {
	case d == nil:
		return errors.New("the status does not say that commits go on without the trail")
	case d.Transactions != uint64(acked) || d.After != journal.TXID(len(w.hist)) || d.Merged == c.set.wal():
		return fmt.Errorf("%d transactions were acknowledged after TXID %d, the status says %+v", acked, len(w.hist), d)
	case d.Reason != c.err.Error() || d.Since.IsZero() || d.First.IsZero() || d.Last.Before(d.First):
		return fmt.Errorf("the status says %+v", d)
	}
	if _, err := number(w.conns[0], "PRAGMA pagetrail_txid"); err == nil {
		return errors.New("a position is told that the trail does not have")
	}
	return nil
}

func status(c *sqlite3.Conn) (s vfs.Status, err error) {
	st, _, err := c.Prepare("PRAGMA pagetrail_status")
	if err != nil {
		return s, err
	}
	defer st.Close()
	if !st.Step() {
		return s, errors.Join(st.Err(), errors.New("no status"))
	}
	return s, json.Unmarshal([]byte(st.ColumnText(0)), &s)
}

// recorded checks what the trail has of the transactions.
func (c fullCase) recorded(w *world, acked []string) error {
	txs, _, err := w.m.replay()
	if err != nil {
		return err
	}
	var ordinary, merged []journal.Tx
	for i, tx := range txs {
		switch {
		case i < len(w.hist):
		case tx.Kind == journal.Ordinary:
			ordinary = append(ordinary, tx)
		case c.full == vfs.FullRefuse && tx.Origin == txs[i-1].Origin:
			// No transaction: pages of the free-list, which a rollback does not restore.
		case tx.Kind == journal.CatchUp:
			merged = append(merged, tx)
		}
	}
	own, catchUps := c.set.conns, 0 // settle writes once through every connection
	switch {
	case c.full == vfs.FullRefuse && c.set.journal == "OFF":
		own, catchUps = len(ordinary), len(merged) // what could not be rolled back is in a catch-up
	case c.full == vfs.FullRefuse || c.set.wal():
		own += len(acked)
	default:
		catchUps = 1
	}
	if len(ordinary) != own || len(merged) != catchUps {
		return fmt.Errorf("%d ordinary records and %d catch-ups, want %d and %d: %s", len(ordinary), len(merged), own, catchUps, describe(txs))
	}
	if c.set.wal() {
		for i, note := range acked {
			if ordinary[i].Note != note {
				return fmt.Errorf("the transaction noted %q is recorded with %q", note, ordinary[i].Note)
			}
		}
	}
	if c.full == vfs.FullDetach && catchUps == 1 {
		return c.says(merged[0].Note, acked)
	}
	return nil
}

// says checks the note of a catch-up that stands for merged transactions.
func (c fullCase) says(note string, acked []string) error {
	begin := fmt.Sprintf("merges %d transactions from ", len(acked))
	end := fmt.Sprintf(", when the trail could not be written (%v); %s", c.err, strings.Join(acked, "; "))
	if !strings.HasPrefix(note, begin) || !strings.HasSuffix(note, end) {
		return fmt.Errorf("the catch-up's note is %q, want %q…%q", note, begin, end)
	}
	return nil
}

// TestTrailFullCheckpoint lets checkpoints overwrite the WAL while the trail
// cannot be written: with full=refuse they fail and the WAL stays, with
// full=detach the transactions are merged.
func TestTrailFullCheckpoint(t *testing.T) {
	temp := tempDir(t)
	for _, full := range []string{vfs.FullRefuse, vfs.FullDetach} {
		for _, inline := range []bool{true, false} {
			for _, how := range []string{"PASSIVE", "RESTART", "TRUNCATE"} {
				c := fullCase{setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 50, conns: 2, inline: inline}, full, false, outages[0]}
				t.Run(fmt.Sprintf("%s/inline=%v/%s", full, inline, how), func(t *testing.T) {
					w, err := newFullWorld(c, temp)
					if err != nil {
						t.Fatal(err)
					}
					defer w.close()
					if err := c.checkpoints(w, how); err != nil {
						t.Errorf("%v\n%s", err, w.m.log.String())
					}
				})
			}
		}
	}
}

func (c fullCase) checkpoints(w *world, how string) error {
	var on atomic.Bool
	fired, acked := 0, 0
	w.during(c.outage, &on, &fired)
	on.Store(true)
	for i, s := range []step{
		{sql: mark, commit: true},
		{sql: mark, commit: true},
		{sql: "PRAGMA wal_checkpoint(" + how + ")"},
		{conn: 1, sql: mark, commit: true},
		{sql: mark, commit: true},
	} {
		w.flight = i + 3
		switch err := w.attempt(s); {
		case err == nil && s.commit:
			acked++
			w.acked = w.flight
		case err == nil && c.full == vfs.FullRefuse:
			return fmt.Errorf("%s overwrote what the trail does not have", s)
		case err != nil && c.full == vfs.FullDetach:
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	on.Store(false)
	if err := w.settle(); err != nil {
		return fmt.Errorf("when there is room: %w", err)
	}
	txs, _, err := w.m.replay()
	if err != nil {
		return err
	}
	merged := 0
	for _, tx := range txs {
		if tx.Kind == journal.CatchUp {
			merged++
			if !strings.HasPrefix(tx.Note, "merges 4 transactions from ") {
				return fmt.Errorf("the catch-up's note is %q", tx.Note)
			}
		}
	}
	if want := map[string]int{vfs.FullRefuse: 0, vfs.FullDetach: 1}[c.full]; merged != want {
		return fmt.Errorf("%d catch-ups, want %d: %s", merged, want, describe(txs))
	}
	return nil
}
