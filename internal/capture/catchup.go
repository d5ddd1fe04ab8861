package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// files are what a catch-up reads: of the connection that calls, or of the
// engine's own where the VFS beneath allows that.
type files struct {
	main, wal io.ReaderAt
	shm       io.ReaderAt // nil: none
	stable    bool        // nobody else commits or begins the WAL anew meanwhile
	end       uint32      // last committed frame where no index tells; 0: all valid frames
}

// files returns the engine's own handles if it has them. The wal-index is
// always read by its path, with any VFS: it is a file of its own, and without it
// a commit whose sync failed could not be told from one that stands.
func (db *DB) files(of files) files {
	f := of
	if db.own.wal != nil {
		f.main, f.wal = db.own.main, db.own.wal
	}
	if db.own.shm == nil && f.wal != nil {
		// The wal-index is made a little later than the WAL.
		if s, err := db.opt.FS.OpenFile(db.path+"-shm", os.O_RDONLY, 0); err == nil {
			db.own.shm = s
		}
	}
	if db.own.shm != nil {
		f.shm = db.own.shm
	}
	return f
}

// batchBytes is how much may be buffered before a write to the trail.
const batchBytes = 1 << 20

var (
	// errUnknownWAL means that the WAL is of a generation that the trail knows
	// nothing of: somebody without the VFS began it.
	errUnknownWAL = errors.New("the WAL was begun by a program that does not use pagetrail")
	// errAhead means that the trail has transactions whose frames the WAL lost.
	errAhead = errors.New("the WAL lost transactions that the trail has")
)

// catchUp records the transactions that the WAL has and the trail has not, one
// record for each commit, whoever made it. It is a function of the WAL's
// bytes, the database and the last record; only the time of a commit and its
// note come from the connection that made it. The caller holds db.mu and the
// trail's lock.
//
// It is called beside the writer after a commit, before a checkpoint writes to
// the database, before the WAL is begun anew or cut, and by whoever asks for a
// position.
func (db *DB) catchUp(src files) error {
	if db.doubt {
		return nil // reconcile decides, at the next write
	}
	src = db.files(src)
	if src.wal == nil {
		return nil
	}
	hdr, limit, ok, err := db.wal.visibleEnd(src.wal, src.shm, src.end)
	if err != nil {
		return err
	}
	if !ok || limit == 0 {
		if st := &db.table.stamp; !st.WALEmpty && (!ok || !st.WALSaltSet || st.WALSalt != hdr.Salt) {
			db.puzzled(src) // somebody cut the WAL that the trail was following
		}
		return nil
	}
	if err := db.locate(src, hdr); err != nil {
		if errors.Is(err, errUnknownWAL) || errors.Is(err, errAhead) {
			db.puzzled(src)
			return nil
		}
		return err
	}
	db.setDoubt(false)
	if db.wal.frame < limit {
		if err := db.recordCommits(src, limit); err != nil || db.doubt {
			return err
		}
	}
	if db.det != nil {
		return db.reattached()
	}
	return nil
}

// puzzled is for a WAL that does not go with the trail. Who holds no lock of
// SQLite may have looked while one of our own connections, which has announced
// a new generation, had not yet written its header: so the next write looks
// again, under its lock, and decides.
func (db *DB) puzzled(src files) {
	if src.stable {
		db.setDoubt(true)
		return
	}
	db.suspect = true
	db.ready.Store(false)
}

// locate finds the last recorded frame in the WAL with header hdr.
func (db *DB) locate(src files, hdr sqlitefile.WALHeader) error {
	s := &db.wal
	if s.located && s.hdr.Salt == hdr.Salt {
		return nil
	}
	s.begin(hdr)
	s.located = false
	o := db.last.Origin
	if db.table.describes(db.last) {
		o = db.table.stamp.Origin // a sealed segment does not tell, and the state may be elsewhere by now
	}
	switch {
	case o.WAL && o.Salt == hdr.Salt:
		err := s.commits(src.wal, o.Frame, false, func(sqlitefile.Frame, uint32) error { return nil })
		if err != nil {
			return err
		}
		// Before its first frame a header may be written again, with the same
		// salts and another count of checkpoints.
		if s.frame != o.Frame || o.Frame != 0 && s.sum != o.Checksum {
			return errAhead
		}
	case db.table.valid && db.table.stamp.WALSaltSet && db.table.stamp.WALSalt == hdr.Salt:
		// One of our connections began it, with everything before recorded.
	default:
		return errUnknownWAL
	}
	s.located = true
	db.generation.Store(saltKey(hdr.Salt))
	return nil
}

func saltKey(salt [2]uint32) uint64 { return uint64(salt[0])<<32 | uint64(salt[1]) }

// recordCommits appends a record for each commit up to frame limit and writes
// them in batches.
func (db *DB) recordCommits(src files, limit uint32) (err error) {
	if !db.table.describes(db.last) {
		db.setDoubt(true)
		return nil
	}
	from, state := &walSource{&db.wal, src.main, src.wal}, db.last
	defer func() {
		if err != nil {
			// Nothing of the batch was written: the table in memory is ahead.
			db.w.Reset()
			db.table.forget()
			db.wal.lose()
			db.last = db.w.Committed()
			if db.trailFailed(err) { // to make room, of which only what is sealed can be removed
				err = errors.Join(err, db.rotate())
			}
		}
		db.b.shrink()
	}()
	tight := db.refusal.Load() != nil // then there may be room for one, and not for all
	pending := 0
	err = db.wal.commits(src.wal, limit, true, func(end sqlitefile.Frame, frame uint32) error {
		tx, err := db.recordCommit(from, state, end, frame)
		if err != nil {
			return err
		}
		state = tx
		if pending += int(tx.Bytes) + 100; tight || pending >= batchBytes || len(db.b.entries) > 1000 {
			pending = 0
			if err := db.flush(state); err != nil || db.opt.Quota == 0 {
				return err
			}
			return db.rotate() // so that no segment is most of the quota
		}
		return nil
	})
	if err != nil || state.TXID == db.last.TXID {
		return err
	}
	return db.flush(state)
}

// recordCommit buffers the record of the commit in db.wal.refs.
func (db *DB) recordCommit(from *walSource, prev journal.Tx, end sqlitefile.Frame, frame uint32) (journal.Tx, error) {
	s := &db.wal
	s.newest(prev.PageCount, end.Commit)
	s.nos = s.nos[:0]
	for _, r := range s.refs {
		s.nos = append(s.nos, r.page)
	}
	known := db.commits.at(frame)
	tx := journal.Tx{
		Time: known.time, Note: known.note, PageSize: s.hdr.PageSize, PageCount: end.Commit,
		Origin: journal.Origin{WAL: true, Salt: s.hdr.Salt, Frame: frame, Checksum: end.Checksum},
	}
	if tx.Time == 0 {
		tx.Time = db.now()
	}
	if prev.PageCount != 0 && prev.PageSize != tx.PageSize {
		return tx, fmt.Errorf("the WAL's pages are of %d bytes, the database's of %d", tx.PageSize, prev.PageSize)
	}
	tx, _, err := db.b.record(db.w, db.table, prev, tx, s.nos, from, false)
	if err != nil {
		return tx, err
	}
	return tx, db.table.store(db.b.entries)
}

// flush writes what was added, up to and with tx, and the table for it.
func (db *DB) flush(tx journal.Tx) error {
	if err := db.w.Flush(); err != nil {
		return err
	}
	db.took()
	db.last = tx
	if tx.Origin.WAL {
		db.commits.forget(tx.Origin.Frame)
	}
	return db.table.flush(tx)
}

const (
	// linger is how long the encoder waits while commits come in close
	// succession, so that they share locks, reads and writes, and the processor
	// need not go back and forth between writer and encoder. The WAL holds them
	// meanwhile.
	linger = 2 * time.Millisecond
	// brisk is the time a commit below which they do. Where they take longer
	// there is little to share, and whoever follows would wait for nothing.
	brisk = linger / 4
)

// pauseAfter is how long the encoder waits after a round that found so many
// transactions, so long after the round before.
func pauseAfter(found uint64, since time.Duration) time.Duration {
	if since/brisk >= time.Duration(found) {
		return 0
	}
	return linger
}

// startEncoder begins to record commits beside their writers.
func (db *DB) startEncoder() {
	if db.running.Load() || db.own.wal == nil {
		return
	}
	db.running.Store(true)
	db.stop, db.stopped = make(chan struct{}), make(chan struct{})
	go db.encode(db.stop, db.stopped)
}

func (db *DB) encode(stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	pause := time.NewTimer(0)
	var last time.Time
	for range db.wake {
		found, end := db.encodeOnce()
		if end {
			return
		}
		if found == 0 {
			continue
		}
		d := pauseAfter(found, time.Since(last))
		last = time.Now()
		if d == 0 {
			continue
		}
		pause.Reset(d)
		select {
		case <-pause.C:
		case <-stop: // whoever closes the database does not wait
		}
	}
}

// encodeOnce records what there is, and says how many transactions that were.
func (db *DB) encodeOnce() (found uint64, end bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.running.Load() {
		return 0, true
	}
	if db.w == nil || !db.attached || db.det != nil {
		return 0, false
	}
	before := db.last.TXID
	err := db.guarded(func() error {
		if err := db.lock(); err != nil {
			return err
		}
		defer db.unlock()
		return db.catchUp(files{end: db.exclusiveEnd.Load()})
	})
	if err != nil {
		db.broken.Store(&err)
		if db.opt.Full == Detach && db.trailFailed(err) {
			db.detach(err, time.Time{})
		} else {
			db.opt.Log.Error("record transactions of the WAL", "trail", db.opt.Dir, "err", err)
		}
	} else {
		db.broken.Store(nil)
	}
	return uint64(max(db.last.TXID, before) - before), false
}

// guarded turns a panic of ours into an error, so that a bug here is never
// worse for the program than a failed write.
func (db *DB) guarded(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pagetrail: internal error: %v", p)
			db.setDoubt(true)
		}
	}()
	return fn()
}

// notify wakes the encoder; it never waits.
func (db *DB) notify() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// stopEncoder ends the encoder and waits for it.
func (db *DB) stopEncoder() {
	db.mu.Lock()
	if !db.running.Load() {
		db.mu.Unlock()
		return
	}
	db.running.Store(false)
	stopped := db.stopped
	close(db.stop)
	db.mu.Unlock()
	db.notify()
	<-stopped
}
