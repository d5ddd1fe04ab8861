package capture

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// align looks for the place where the trail and SQLite's files part, when the
// trail's end is not where they are. It finds the last record whose state
// SQLite's files have: the database file by itself, or with the WAL up to one
// of its commits. What the trail has beyond it SQLite has lost, in a power cut,
// and the records are cut off; what the WAL has beyond it is recorded by the
// catch-up that follows. found says that this is all there is to do.
//
// Records that are known to be durable are never cut: their transactions were
// durable too, so it was not a power cut that took them, but somebody who put
// an older file in the place of the database. That is a catch-up.
func (db *DB) align(src files) (found bool, err error) {
	db.syncMain()
	fs, err := db.fileStates(src)
	if err != nil || len(fs.states) == 0 {
		return false, err
	}
	last, durable := db.last, journal.TXID(0)
	at := fs.find(last)
	if at < 0 {
		if durable, err = db.w.DurableTo(); err != nil {
			return false, err
		}
		if last, at, err = db.commonState(fs, durable); err != nil {
			return false, err
		}
	}
	if at < 0 {
		return db.undone(src, durable)
	}
	if last.TXID != db.last.TXID {
		if err := db.cutAfter(last.TXID); err != nil {
			return false, err
		}
	}
	return true, db.standAt(fs, at)
}

// alignEnd is align for whoever has no lock of SQLite: it takes nothing back.
// found says that SQLite's files have the state in which the trail ends.
func (db *DB) alignEnd(src files) (found bool, err error) {
	fs, err := db.fileStates(src)
	if err != nil {
		return false, err
	}
	at := fs.find(db.last)
	if at < 0 {
		return false, nil
	}
	return true, db.standAt(fs, at)
}

// syncMain makes a database that SQLite wrote without syncs durable, before it
// is read as a whole: else a power cut could still take what was read.
func (db *DB) syncMain() {
	db.mainSynced = false
	if !db.table.stamp.Loose {
		return
	}
	f, err := db.opt.FS.OpenFile(db.path, os.O_RDWR, 0)
	if err != nil {
		return // then it stays as doubtful as it was
	}
	db.mainSynced = errors.Join(f.Sync(), f.Close()) == nil
}

// tighten takes back what table.loosen noted, when all pages were compared.
func (db *DB) tighten() {
	if db.mainSynced {
		db.table.stamp.Loose = false
	}
}

// fileState is a state that SQLite's files have.
type fileState struct {
	frame uint32    // of the WAL, 0: the database file by itself
	check [2]uint32 // cumulative checksum there
	sum   diff.Sum
	count uint32
	since int // in fileStates.was
}

// fileStates are all of them, and the hashes of the pages of the last, with what
// each was before.
type fileStates struct {
	hdr    sqlitefile.WALHeader
	wal    bool
	size   int
	states []fileState
	pages  []diff.Sum
	was    []entry // by the changes of the WAL, in their order
}

// find returns the last state that is the one after tx, -1 when there is none.
func (fs *fileStates) find(tx journal.Tx) int {
	for i := len(fs.states) - 1; i >= 0; i-- {
		s := fs.states[i]
		if s.sum == tx.Sum && s.count == tx.PageCount && (s.count == 0 || fs.size == tx.PageSize) {
			return i
		}
	}
	return -1
}

// fileStates hashes the database file and follows the WAL to its end.
// While a checkpoint is under way the file has pages of later commits, so that
// only states from there on are right: the trail has all others then, since it
// is synced before a checkpoint.
func (db *DB) fileStates(src files) (*fileStates, error) {
	main, err := fileView(src.main)
	if err != nil {
		return nil, err
	}
	fs := &fileStates{size: main.size}
	var sum diff.Sum
	err = main.scan(func(no uint32, page []byte) error {
		fs.set(no, diff.PageSum(no, page), &sum)
		return nil
	})
	if err != nil {
		return nil, err
	}
	src = db.files(src)
	if src.wal == nil {
		fs.states = append(fs.states, fileState{sum: sum, count: main.count})
		return fs, nil
	}
	hdr, end, ok, err := db.wal.visibleEnd(src.wal, src.shm, src.end)
	if err != nil {
		return nil, err
	}
	fs.states = append(fs.states, fileState{check: hdr.Checksum, sum: sum, count: main.count})
	if !ok || main.count != 0 && main.size != hdr.PageSize {
		return fs, nil
	}
	fs.hdr, fs.wal, fs.size = hdr, true, hdr.PageSize
	return fs, db.followWAL(src, fs, end)
}

// followWAL adds the states after the commits of the WAL.
func (db *DB) followWAL(src files, fs *fileStates, limit uint32) error {
	s := &db.wal
	s.begin(fs.hdr)
	s.located = false
	from := &walSource{s, src.main, src.wal}
	buf := make([]byte, fs.size)
	return s.commits(src.wal, limit, true, func(end sqlitefile.Frame, frame uint32) error {
		prev := fs.states[len(fs.states)-1]
		sum := prev.sum
		s.newest(prev.count, end.Commit)
		for no := end.Commit + 1; no <= prev.count; no++ {
			fs.change(no, diff.Sum{}, &sum)
		}
		for i, r := range s.refs {
			page, err := from.newPage(i, r.page, buf)
			if err != nil {
				return fmt.Errorf("read page %d: %w", r.page, err)
			}
			fs.change(r.page, diff.PageSum(r.page, page), &sum)
		}
		fs.states = append(fs.states, fileState{frame: frame, check: end.Checksum, sum: sum, count: end.Commit, since: len(fs.was)})
		return nil
	})
}

// set puts the hash of a page into pages, and its change into sum.
func (fs *fileStates) set(no uint32, h diff.Sum, sum *diff.Sum) {
	for uint32(len(fs.pages)) < no {
		fs.pages = append(fs.pages, diff.Sum{})
	}
	*sum = sum.Sub(fs.pages[no-1]).Add(h)
	fs.pages[no-1] = h
}

// change is set with a frame of the WAL, which can be taken back.
func (fs *fileStates) change(no uint32, h diff.Sum, sum *diff.Sum) {
	was := entry{no: no}
	if no <= uint32(len(fs.pages)) {
		was.sum = fs.pages[no-1]
	}
	fs.was = append(fs.was, was)
	fs.set(no, h, sum)
}

// back makes pages those of state at.
func (fs *fileStates) back(at int) {
	since := fs.states[at].since
	for _, e := range slices.Backward(fs.was[since:]) {
		fs.pages[e.no-1] = e.sum
	}
	fs.states, fs.was = fs.states[:at+1], fs.was[:since]
}

// commonState finds the last record that is not known to be durable, or the
// last one that is, whose state the files have.
func (db *DB) commonState(fs *fileStates, durable journal.TXID) (last journal.Tx, at int, err error) {
	at = -1
	first := db.w.TailFirst()
	for r, err := range db.w.Records(first) {
		if err != nil {
			return last, -1, err
		}
		if r.TXID < durable {
			continue
		}
		if i := fs.find(r.Tx); i >= 0 {
			last, at = r.Tx, i
		}
	}
	if at < 0 && durable < first {
		// Before the tail's first record, if nothing of it is durable.
		if before := db.w.Before(); fs.find(before) >= 0 {
			return before, fs.find(before), nil
		}
	}
	return last, at, nil
}

// cutAfter removes the records after id, which SQLite has lost. When any were
// shipped, so that others may have them, the timeline ends there.
func (db *DB) cutAfter(id journal.TXID) error {
	lost, was := db.last.TXID, db.w.Identity().Timeline
	if err := db.settleForFork(); err != nil {
		return err
	}
	shipped, kept, err := db.w.TakeBack(id)
	if err != nil {
		return fmt.Errorf("take back the transactions after %d, which the database lost: %w", uint64(id), err)
	}
	if shipped != 0 {
		db.forked(was, max(lost, shipped), kept)
		return nil
	}
	db.last = db.w.Committed()
	db.b.recent.drop()
	if kept != "" {
		db.opt.Log.Warn("the database lost transactions that the trail had: the trail goes on without them, and they are kept as a trail of their own, which pagetrail log, hydrate and the others take",
			"database", db.path, "after", uint64(id), "up to", uint64(lost), "kept", kept)
	}
	return nil
}

// settleForFork makes durable what decides about the records that stay: none of
// them can be taken back once another timeline goes on from there.
func (db *DB) settleForFork() error {
	if err := db.settleFiles(); err != nil {
		return fmt.Errorf("sync the database before its trail takes back what it lost: %w", err)
	}
	return nil
}

// forked takes note of a new timeline. kept is the branch with what the trail had of what was lost, "" if nothing.
func (db *DB) forked(was journal.Timeline, lost journal.TXID, kept string) {
	db.last = db.w.Committed()
	db.b.recent.drop()
	db.opt.Log.Error("the database lost transactions that were shipped already: the timeline ends, another begins; those that the trail had are kept as a branch",
		"database", db.path, "timeline", int(was), "after", uint64(db.last.TXID), "up to", uint64(lost), "now timeline", int(db.w.Identity().Timeline), "kept", kept)
}

// overtaken begins a timeline when more was shipped than the trail has, now
// that nothing more will be taken back: what is recorded next must not have the
// number of a transaction that others know. A power cut took it from the trail
// and from SQLite's files alike, which a disk has to lie for.
func (db *DB) overtaken() error {
	shipped, err := db.w.Shipped()
	if err != nil || shipped.TXID <= db.last.TXID {
		return err
	}
	if err := db.settleForFork(); err != nil {
		return err
	}
	was := db.w.Identity().Timeline
	if err := db.w.Fork(db.last.TXID); err != nil {
		return fmt.Errorf("end timeline %d, of which more was shipped than the trail has: %w", was, err)
	}
	db.forked(was, shipped.TXID, "")
	return nil
}

// standAt makes the table that of state at, which is db.last's, and has the
// catch-up go on from there.
func (db *DB) standAt(fs *fileStates, at int) error {
	fs.back(at)
	st := fs.states[at]
	if err := db.table.reset(); err != nil {
		return err
	}
	lock := uint32(0)
	if fs.size != 0 {
		lock = diff.LockPage(fs.size)
	}
	for no := uint32(1); no <= st.count; no++ {
		if no == lock {
			continue
		}
		if err := db.table.set(no, fs.pages[no-1]); err != nil {
			return err
		}
	}
	tx := db.last
	if fs.wal {
		tx.Origin = journal.Origin{WAL: true, Salt: fs.hdr.Salt, Frame: st.frame, Checksum: st.check}
	} else if tx.Origin.WAL {
		tx.Origin = journal.Origin{}
	}
	db.wal.lose()
	db.tighten()
	return db.table.flush(tx)
}

// undone handles the one way in which SQLite loses a transaction and does not
// come back to the state before it: the power went after the commit of a
// rollback mode and before anything made the end of the journal durable, so
// the journal was played back, which leaves pages of the free-list as they
// were. The change counter of the file tells: it is the one before the last
// record. That record is cut, and what differs is recorded.
func (db *DB) undone(src files, durable journal.TXID) (bool, error) {
	v, err := fileView(src.main)
	if err != nil || db.last.Origin.WAL || db.last.TXID <= durable || db.last.Kind != journal.Ordinary {
		return false, err
	}
	var last, before journal.Tx
	touched := map[uint32]bool{}
	for r, err := range db.w.Records(db.w.TailFirst()) {
		if err != nil {
			return false, err
		}
		if before, last = last, r.Tx; r.TXID < db.last.TXID {
			continue
		}
		if err := patchedPages(r, touched); err != nil {
			return false, err
		}
	}
	if before.TXID == 0 {
		before = db.w.Before()
	}
	c := v.origin.ChangeCounter
	if before.Origin == (journal.Origin{}) { // a sealed segment does not tell: every transaction counts one
		before.Origin.ChangeCounter = last.Origin.ChangeCounter - 1
	}
	if last.TXID != db.last.TXID || before.TXID != last.TXID-1 || v.size != before.PageSize || v.count != before.PageCount ||
		c == last.Origin.ChangeCounter || c != before.Origin.ChangeCounter {
		return false, nil
	}
	known := db.table.sound(db.last)
	if err := db.cutAfter(before.TXID); err != nil {
		return false, err
	}
	if !known {
		return false, nil
	}
	return true, db.compareWith(v, true, touched)
}

// patchedPages adds the pages that a record has patches of.
func patchedPages(r *journal.Record, pages map[uint32]bool) error {
	var dec diff.Decoder
	for body, err := range r.Groups() {
		if err != nil {
			return err
		}
		if err := dec.Load(body, r.PageSize); err != nil {
			return err
		}
		for _, p := range dec.Pages() {
			pages[p.No] = true
		}
	}
	return nil
}
