package capture

import (
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// reconcile brings trail and database to agreement. The caller holds db.mu,
// the trail's lock, and a lock of SQLite under which the committed state
// stands still: RESERVED, or WAL_WRITE, or the lock of a checkpoint, or EXCLUSIVE
// at the end of the playback of a hot journal. The steps:
//
//  0. The trail could not be written, and the policy was to go on. What the WAL
//     still has is recorded by step 3. Once a checkpoint was let pass there is
//     nothing but the database that has the transactions: step 6, and no other,
//     since a state which the database happened to come back to does not mean
//     that SQLite lost those between.
//  1. A prepared record without its mark: its connection died, or could not
//     write the mark, between the preparation and the end of the commit. If the
//     database is in the state that the record leads to, SQLite kept the
//     transaction and it is confirmed; else it was rolled back and is dropped.
//     If a later transaction was rolled back since, free-list leaves are not as
//     the record has them, and the change counter tells.
//  2. No record at all: the database is new to us. If it has pages they become
//     the base of the trail, TXID 1.
//  3. A WAL that continues where the trail ends, and a table of page hashes
//     that adds up: the trail is right up to there, and the frames after it are
//     recorded one by one. They are there when a process died before it
//     recorded its commits, and when somebody wrote without the VFS.
//  4. No WAL, and the file as it was when the last process left it in order:
//     nothing happened.
//  5. Else the place is looked for where trail and files part, see DB.align. A
//     power cut took what was not synced: from the WAL or, by bringing back a
//     journal that had been removed, from the database file; SQLite does not
//     have these transactions, so the records go too. Or it took records, or
//     the note of who began the WAL, from the trail; then the WAL has what is
//     missing. Records that go and were shipped end the timeline: the trail keeps
//     them as a branch and begins the next, see journal.Writer.Fork. So does one
//     that ends before what was shipped: then a disk lied about its syncs.
//  6. Anything else: a rolled-back hot journal, whose free-list leaves are not
//     restored, writers without the VFS, a file that was replaced or begun
//     anew. All pages are compared with the table, and what differs is recorded
//     once, as a catch-up.
func (db *DB) reconcile(src files) error {
	v, err := db.view(src)
	if err != nil {
		return err
	}
	db.recallDetachment() // 0
	var suspect map[uint32]bool
	if db.w.Prepared() { // 1
		if suspect, err = db.decide(v); err != nil {
			return err
		}
	}
	switch {
	case suspect != nil:
		err = db.compareWith(v, true, suspect) // 6
	case db.last.TXID == 0: // 2
		err = db.adopt(v)
	case db.det != nil && db.det.Merged: // 0
		err = db.compare(v) // 6
	case !db.agrees(src, v): // 3, 4
		var found bool
		if found, err = db.align(src); err == nil && !found { // 5
			if v, err = db.view(src); err == nil { // what was read meanwhile has moved db.wal
				err = db.compare(v) // 6
			}
		}
	}
	if err == nil {
		err = db.overtaken() // 5
	}
	if err != nil {
		return err
	}
	if err := db.table.soil(); err != nil {
		return err
	}
	db.attached = true
	db.setDoubt(false)
	if v.origin.WAL {
		db.generation.Store(saltKey(v.origin.Salt))
		src.stable = true
		if err := db.catchUp(src); err != nil || db.doubt {
			return err
		}
		return db.reattached()
	}
	if st := &db.table.stamp; !st.WALEmpty {
		st.goesWith(v.origin)
		if err := db.table.writeStamp(); err != nil {
			return err
		}
	}
	return db.reattached()
}

// setDoubt says whether trail and database have to be reconciled again.
func (db *DB) setDoubt(doubt bool) {
	db.doubt, db.suspect = doubt, false
	db.ready.Store(db.attached && !doubt)
}

// decide confirms or drops the prepared last record (step 1). suspect are its
// pages when it is confirmed and some are not as it has them, and the table can
// be trusted for all others.
func (db *DB) decide(v view) (suspect map[uint32]bool, err error) {
	sum, err := v.sum()
	if err != nil {
		return nil, err
	}
	p, before := db.w.Last(), db.w.Committed()
	same := p.PageCount == v.count && p.PageSize == v.size
	known := db.confirmed
	db.confirmed = journal.Tx{}
	shipped, err := db.w.Shipped()
	if err != nil {
		return nil, err
	}
	switch {
	case shipped.TXID > p.TXID || shipped.TXID == p.TXID && (shipped.Time != p.Time || shipped.Sum != p.Sum):
		// A power cut took from the trail what had been put in the place of this
		// record, or what came after it, and that was shipped.
		err = db.w.Drop()
	case known.TXID != 0 && known.TXID == p.TXID && known.Time == p.Time && known.Sum == p.Sum:
		err = db.w.Confirm() // committed by ourselves, before the trail failed
		if err != nil {
			db.confirmed = known
		}
	case same && p.Sum == sum:
		err = db.w.Confirm()
	case same && !v.origin.WAL && p.Origin.ChangeCounter == v.origin.ChangeCounter && before.Origin.ChangeCounter != v.origin.ChangeCounter:
		known := db.table.sound(before) && before.PageSize == p.PageSize
		if err := db.w.Confirm(); err != nil {
			return nil, err
		}
		if known {
			suspect = map[uint32]bool{}
			err = db.lastPages(suspect)
		}
	default:
		if err = db.w.Drop(); sum != before.Sum {
			// Rolled back, but for pages of the free-list, by somebody who did
			// not tell.
			db.setDoubt(true)
		}
	}
	db.last = db.w.Committed()
	return suspect, err
}

// lastPages adds the pages that the last record has patches of.
func (db *DB) lastPages(pages map[uint32]bool) error {
	for r, err := range db.w.Records(db.w.Committed().TXID) {
		if err == nil {
			err = patchedPages(r, pages)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// adopt makes the pages of v the base of an empty trail (step 2).
func (db *DB) adopt(v view) error {
	if err := db.overtaken(); err != nil {
		return err
	}
	if err := db.table.reset(); err != nil {
		return err
	}
	if v.count == 0 {
		return db.table.flush(db.last)
	}
	at := db.now()
	base, err := db.w.CreateBase(v.size, v.count, at, true)
	if err != nil {
		return fmt.Errorf("write the base of %s: %w", db.path, err)
	}
	total := int64(v.count) * int64(v.size)
	err = v.scan(func(no uint32, page []byte) error {
		if db.opt.Progress != nil && no%1024 == 0 {
			db.opt.Progress(int64(no)*int64(v.size), total)
		}
		if err := db.table.set(no, diff.PageSum(no, page)); err != nil {
			return err
		}
		return base.WritePages(no, page)
	})
	if err != nil {
		base.Abort()
		return fmt.Errorf("write the base of %s: %w", db.path, err)
	}
	sum := base.Sum()
	if _, err := base.Commit(); err != nil {
		return fmt.Errorf("write the base of %s: %w", db.path, err)
	}
	tx := journal.Tx{Kind: journal.Base, Time: at, PageSize: v.size, PageCount: v.count, Sum: sum, Origin: v.origin}
	if tx, err = db.w.Add(tx, diff.Body{}, 0, false); err != nil {
		return err
	}
	if err := db.flush(tx); err != nil {
		return err
	}
	if db.opt.Progress != nil {
		db.opt.Progress(total, total)
	}
	db.wal.located = v.origin.WAL
	return db.w.Sync()
}

// agrees says whether trail and database agree without a comparison of all
// pages (steps 3 and 4); db.wal is then where the trail ends.
func (db *DB) agrees(src files, v view) bool {
	if !db.table.describes(db.last) {
		return false
	}
	trusted := db.attached && !db.doubt
	if !trusted && db.table.stamp.Loose {
		return false
	}
	if !v.origin.WAL {
		if db.doubt || !trusted && !db.table.stamp.Clean || !db.unchanged(v) {
			return false
		}
	} else if db.locate(src, db.wal.hdr) != nil {
		return false
	}
	if trusted {
		return true
	}
	return db.table.sound(db.last)
}

// unchanged compares the file and its first page with what is known of them.
func (db *DB) unchanged(v view) bool {
	if v.count != db.last.PageCount || v.size != db.last.PageSize {
		return false
	}
	if st := &db.table.stamp; st.Clean {
		id, err := identify(db.opt.FS, db.path)
		if err != nil || id != st.File {
			return false
		}
	}
	if v.count == 0 {
		return true
	}
	buf := make([]byte, v.size)
	if err := v.page(1, buf); err != nil {
		return false
	}
	was, err := db.table.get(1)
	return err == nil && was == diff.PageSum(1, buf)
}

// compare finds what differs from the state that the trail ends in and records
// it (step 6).
func (db *DB) compare(v view) error {
	trusted := db.table.describes(db.last) && v.size == db.last.PageSize
	return db.compareWith(v, trusted, nil)
}

// compareWith is compare with a table that is trusted or not, save for the
// pages suspect: those are recorded whatever the table says.
func (db *DB) compareWith(v view, trusted bool, suspect map[uint32]bool) error {
	if err := db.overtaken(); err != nil {
		return err
	}
	var sum, expect diff.Sum
	var changed []entry
	expect = db.last.Sum
	err := v.scan(func(no uint32, page []byte) error {
		h := diff.PageSum(no, page)
		sum = sum.Add(h)
		if trusted && no <= min(db.last.PageCount, db.table.stamp.PageCount) {
			was, err := db.table.get(no)
			if err != nil || was == h && !suspect[no] {
				return err
			}
			expect = expect.Sub(was)
		}
		expect = expect.Add(h)
		changed = append(changed, entry{no, h})
		return nil
	})
	if err != nil {
		return err
	}
	if trusted {
		tx := journal.Tx{PageCount: v.count, Sum: expect}
		if err := db.b.dropped(db.table, db.last, &tx); err != nil {
			return err
		}
		expect = tx.Sum
	}
	if !trusted || expect != sum && suspect == nil {
		// The table is not that of the trail's state, so it cannot tell which
		// pages differ from it: take them all.
		if changed, err = allPages(v); err != nil {
			return err
		}
	}
	tx := db.last
	if sum != tx.Sum || v.count != tx.PageCount || v.size != tx.PageSize {
		note, err := db.whyDifferent(v, sum)
		if err != nil {
			return err
		}
		if tx, err = db.recordCatchUp(v, sum, changed, note); err != nil {
			return err
		}
	}
	if err := db.table.store(changed); err != nil {
		return err
	}
	db.last = tx
	db.wal.located = v.origin.WAL
	tx.Origin = v.origin
	db.tighten()
	return db.table.flush(tx)
}

func allPages(v view) (all []entry, err error) {
	err = v.scan(func(no uint32, page []byte) error {
		all = append(all, entry{no, diff.PageSum(no, page)})
		return nil
	})
	return all, err
}

// recordCatchUp appends the pages changed, in full, as one record.
func (db *DB) recordCatchUp(v view, sum diff.Sum, changed []entry, note string) (journal.Tx, error) {
	nos := make([]uint32, len(changed))
	for i, e := range changed {
		nos[i] = e.no
	}
	tx := journal.Tx{
		Kind: journal.CatchUp, Time: db.now(), Sum: sum,
		PageSize: v.size, PageCount: v.count, Origin: v.origin, Note: note,
	}
	if v.count == 0 {
		tx.PageSize = db.last.PageSize
	}
	tx, pages, err := db.b.record(db.w, db.table, db.last, tx, nos, viewSource{v}, false)
	if err != nil {
		db.w.Reset()
		return tx, err
	}
	if err := db.w.Flush(); err != nil {
		return tx, err
	}
	db.opt.Log.Warn("the database was changed without pagetrail, or while its trail could not be written; recorded what differs",
		"database", db.path, "txid", tx.TXID, "pages", pages, "note", note)
	return tx, nil
}

// whyDifferent says in the record of a catch-up what is known of how it came
// about: merged transactions, or a state that the trail has had, as when an
// older copy of the database is put in the place of it. Only the growing segment
// has the checksums that tell.
func (db *DB) whyDifferent(v view, sum diff.Sum) (note string, err error) {
	if db.det != nil {
		return db.det.note(), nil
	}
	is := func(tx journal.Tx) bool {
		return tx.TXID != 0 && tx.SumKnown && tx.Sum == sum && tx.PageCount == v.count && tx.PageSize == v.size
	}
	at := journal.TXID(0)
	if before := db.w.Before(); is(before) {
		at = before.TXID
	}
	for r, err := range db.w.Records(db.w.TailFirst()) {
		if err != nil {
			return "", err
		}
		if is(r.Tx) {
			at = r.TXID
		}
	}
	if at == 0 {
		return "", nil
	}
	return fmt.Sprintf("the database is again as it was after transaction %d, as when an older copy is put in its place", uint64(at)), nil
}
