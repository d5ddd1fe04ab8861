package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
)

// tally counts what was seen, for the last line of a test.
type tally struct {
	cuts, kills, corrupt, merged, mergedOwn, physical, undone, lost, asides int
	kinds                                                                   map[string]int
}

func (t *tally) String() string {
	return fmt.Sprintf("%d cuts (%d of them kills) at %d distinct points, %d databases destroyed, %d undone, %d catch-ups (%d without others), %d residues, %d acknowledged and lost, %d kept aside",
		t.cuts, t.kills, len(t.kinds), t.corrupt, t.undone, t.merged, t.mergedOwn, t.physical, t.lost, t.asides)
}

// own is the number that the checks write themselves.
const own = 1 << 30

// found is what a recovery came to.
type found struct {
	mark int    // number of the last transaction that SQLite kept
	db   []byte // the database before anything was written to it
}

// judge asks the driver without our VFS what is left.
func (m *mount) judge() (f found, err error) {
	c, err := m.open(m.plain, "")
	if err != nil {
		return f, err
	}
	defer c.Close()
	if f.mark, err = number(c, "SELECT step FROM meta"); err != nil {
		return f, err
	}
	if err := m.integrity(c); err != nil {
		return f, err
	}
	if err := c.Close(); err != nil {
		return f, err
	}
	f.db = m.File(m.db)
	return f, nil
}

func (m *mount) integrity(c *sqlite3.Conn) error {
	s, _, err := c.Prepare("PRAGMA integrity_check(1)")
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Step() && s.ColumnText(0) != "ok" {
		return fmt.Errorf("integrity check: %s: %w", s.ColumnText(0), sqlite3.CORRUPT)
	}
	return s.Err()
}

// shown is the last TXID that a reader of the trail sees, before anything is
// recovered.
func (m *mount) shown() (n int, err error) {
	trail, err := journal.Open(m.trail(), &journal.ReadOptions{FS: m.FS()})
	if errors.Is(err, journal.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer trail.Close()
	last, err := trail.Last()
	return int(last.TXID), err
}

// check verifies what a cut left, both ways.
func (t *tally) check(w *world, c *cut) error {
	t.cuts++
	t.kinds[string(c.op.Kind)+" "+role(c.op.Name)]++
	if c.crash == crashfs.Kill {
		t.kills++
	}
	m, err := mountDisk(c.before)
	if err != nil {
		return err
	}
	defer m.unmount()
	shown, err := m.shown()
	if err != nil {
		return fmt.Errorf("a reader of the trail: %w", err)
	}
	want, err := m.judge()
	corrupt := err != nil && isCorrupt(err)
	if err != nil && (!corrupt || !w.mayCorrupt(c)) {
		return fmt.Errorf("SQLite without us: %w", err)
	}
	if corrupt {
		t.corrupt++
	}
	if err := w.durable(c, want, corrupt); err != nil {
		return err
	}
	if want.mark < c.acked && !corrupt {
		t.lost++
	}
	if c.crash == crashfs.Kill {
		for i := range min(shown, len(w.marks)) {
			if w.marks[i] > want.mark {
				return fmt.Errorf("readers of the trail were shown transaction %d (TXID %d), SQLite had %d", w.marks[i], i+1, want.mark)
			}
		}
	}
	if err := t.reopen(w, c, m, want, corrupt, true); err != nil {
		return fmt.Errorf("SQLite first, then us: %w\n%s", err, m.log.String())
	}
	o, err := mountDisk(c.other)
	if err != nil {
		return err
	}
	defer o.unmount()
	if err := t.reopen(w, c, o, want, corrupt, false); err != nil {
		return fmt.Errorf("us first: %w\n%s", err, o.log.String())
	}
	return nil
}

// mayCorrupt: with synchronous=OFF a power cut may destroy a database.
func (w *world) mayCorrupt(c *cut) bool { return w.set.sync == "OFF" && c.crash == crashfs.PowerCut }

// durable checks that the VFS does not weaken SQLite's promises.
func (w *world) durable(c *cut, f found, corrupt bool) error {
	if corrupt {
		return nil
	}
	floor := c.acked
	if c.crash == crashfs.PowerCut {
		switch {
		case w.set.sync != "FULL", w.set.journal == "DELETE":
			return nil // the last of them may go
		}
	}
	if f.mark < floor {
		return fmt.Errorf("transaction %d was acknowledged, SQLite has %d", floor, f.mark)
	}
	return nil
}

// reopen opens what is left with our VFS, writes once, and compares.
func (t *tally) reopen(w *world, c *cut, m *mount, want found, corrupt, second bool) error {
	shown, err := m.shownTxs()
	if err != nil {
		return fmt.Errorf("a reader of the trail: %w", err)
	}
	got, err := m.writeOnce(w)
	if err != nil {
		if corrupt || w.mayCorrupt(c) && errors.Is(err, errNothing) {
			return nil // SQLite refused it as well, or lost the row, and nothing was written
		}
		return err
	}
	if !w.mayCorrupt(c) && got.mark != want.mark {
		return fmt.Errorf("with us SQLite has transaction %d, without us %d", got.mark, want.mark)
	}
	txs, err := t.agree(w, c, m, got.mark, second)
	if err != nil {
		return err
	}
	return t.kept(m, shown, txs)
}

// agree compares the trail with the database file, byte for byte, and its
// records with what is known of the transactions.
func (t *tally) agree(w *world, c *cut, m *mount, kept int, second bool) ([]journal.Tx, error) {
	txs, db, err := m.replay()
	if err != nil {
		return nil, err
	}
	file := m.File(m.db)
	if len(file) > len(db) {
		file = file[:len(db)] // the header has the size; SQLite cuts the file after the commit, so that what is beyond may come back
	}
	if w.mayCorrupt(c) && len(file) < len(db) {
		file = append(file, make([]byte, len(db)-len(file))...) // pages that never came read as zeros
	}
	if !bytes.Equal(db, file) {
		return nil, fmt.Errorf("the trail gives %s; %s", difference(db, file), describe(txs))
	}
	if w.mayCorrupt(c) {
		return txs, nil // then pages of several transactions may be mixed
	}
	return txs, t.compare(w, c, txs, kept, second)
}

// writeOnce opens the database with our VFS, reads and writes it.
func (m *mount) writeOnce(w *world) (f found, err error) {
	c, err := m.open(m.ours, w.params())
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if f.mark, err = number(c, "SELECT step FROM meta"); err != nil {
		return f, err
	}
	if err := c.Exec(fmt.Sprintf("UPDATE meta SET step=%d", own)); err != nil {
		return f, err
	}
	if c.Changes() == 0 {
		return f, errNothing
	}
	return f, nil
}

var errNothing = errors.New("there was nothing to write to")

// compare holds the records against what is known of the transactions.
func (t *tally) compare(w *world, c *cut, txs []journal.Tx, kept int, second bool) error {
	if len(txs) == 0 || txs[len(txs)-1].Kind != journal.Ordinary {
		return fmt.Errorf("the last of %d records is not our own write", len(txs))
	}
	txs = txs[:len(txs)-1]
	last := 0 // index after the last transaction that SQLite kept
	for i, mark := range w.marks {
		if i < w.first || mark != 0 && mark <= kept {
			last = i + 1
		}
	}
	exact := w.set.sync != "OFF" || c.crash == crashfs.Kill
	// SQLite took the WAL away before we could read from it what the trail had
	// not yet synced: then one record for several is all there can be.
	if w.set.wal() && second {
		exact = false
	}
	same := 0
	for same < len(txs) && same < len(w.hist) && sameTx(txs[same], w.hist[same]) {
		same++
	}
	if exact && same < last {
		return fmt.Errorf("SQLite kept transactions up to %d (TXID %d), the trail has them up to TXID %d, then %s", kept, last, same, describe(txs[same:]))
	}
	for i := last; i < same; i++ {
		if w.marks[i] > kept {
			return fmt.Errorf("the trail has transaction %d as TXID %d, SQLite kept them up to %d (TXID %d)", w.marks[i], i+1, kept, last)
		}
	}
	for i, tx := range txs[same:] {
		var prev journal.Tx
		if same+i > 0 {
			prev = txs[same+i-1]
		}
		switch tx.Kind {
		case journal.CatchUp:
			if t.merged++; !second {
				t.mergedOwn++
			}
			if exact && w.set.wal() && !second {
				return fmt.Errorf("TXID %d is a catch-up, and the WAL has everything: %s", tx.TXID, describe(txs[same:]))
			}
		case journal.Physical:
			t.physical++
		default:
			// A rollback that wrote pages back announces them as a commit
			// does; killed before its end it stays what it was announced as.
			if exact && (tx.Origin.WAL || tx.Origin.ChangeCounter != prev.Origin.ChangeCounter) {
				return fmt.Errorf("TXID %d is of no transaction that was made: %s", tx.TXID, describe(txs[same:]))
			}
		}
	}
	if kept < c.acked {
		t.undone++
	}
	return nil
}

func sameTx(a, b journal.Tx) bool {
	return a.SumCut == b.SumCut && a.PageCount == b.PageCount && a.PageSize == b.PageSize && a.Kind == b.Kind
}

func describe(txs []journal.Tx) string {
	s := fmt.Sprintf("%d records:", len(txs))
	for _, tx := range txs {
		s += fmt.Sprintf(" %d %v (%d pages, origin %+v)", tx.TXID, tx.Kind, tx.Pages, tx.Origin)
	}
	return s
}

func difference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, the database has %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("another byte at offset %d of %d", i, len(got))
		}
	}
	return "the same"
}

// role is what a file is for.
func role(name string) string {
	if _, of, ok := strings.Cut(name, capture.Suffix+"/"); ok {
		name = of
	}
	switch base := path.Base(name); {
	case strings.HasSuffix(name, ".seg"):
		return "segment"
	case strings.HasSuffix(name, ".base"):
		return "base"
	case strings.HasPrefix(name, "cut-"), strings.HasPrefix(name, "torn-"):
		return "cut"
	case strings.Contains(base, "-mj"):
		return "super-journal"
	default:
		return base
	}
}
