package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// Policy says what becomes of commits that the trail cannot take, because its
// disk is full or fails.
//
// It is about errors of the system on the trail's files. A trail that is
// damaged, of another database or of a newer version has commits refused
// whatever the policy: going on would hide it.
type Policy uint8

const (
	// Refuse makes the commit fail, so that SQLite rolls it back. In WAL mode,
	// where a commit does not write the trail, it is the next write
	// transaction that fails, and the checkpoint that would overwrite what is
	// not recorded: what was committed before waits in the WAL, which grows no
	// further.
	Refuse Policy = iota
	// Detach lets commits go on without the trail. With the first write after
	// there is room the trail takes in what it missed: one by one what the WAL
	// still has, else merged into one catch-up, whose note says what it stands
	// for. A checkpoint ends the WAL's keeping.
	Detach
)

// Detachment says since when commits have gone on without the trail, and what
// it has missed.
type Detachment struct {
	Since  journal.Time // when the trail could not be written for the first time
	After  journal.TXID // the last transaction that it has
	Reason string       // why it could not be written
	// Merged says that the transactions can no longer be told apart.
	Merged bool
	// Transactions are how many there were, as far as connections of the VFS
	// made them, First and Last when the first and the last were committed.
	Transactions uint64
	First, Last  journal.Time
}

// detachment is the state behind the policy Detach. The page table's stamp
// keeps a copy, since it can be written in place where a file can not grow: so
// another process, or this one after a crash, knows.
type detachment struct {
	Detachment
	retryAt time.Time // not before then
	notes   []string  // of the transactions, while they are few
}

const (
	// probeBytes is how much room there must be before the trail is tried again.
	probeBytes = 64 << 10
	// retryPause is how many times as long as it took one waits after a try for
	// which the room did not suffice: so that a database that is compared in
	// vain costs a tenth of the time at most.
	retryPause = 9
	// mergedNotes bounds the notes of merged transactions, in bytes.
	mergedNotes = 2048
)

// permit runs what the trail has to do before SQLite may go on. What it
// returns is to fail the program's commit or checkpoint; with nil and
// db.detached set the trail does not have it.
func (db *DB) permit(create bool, fn func() error) error {
	var began time.Time
	if db.detached.Load() {
		if !db.mayRetry() {
			return nil
		}
		began = db.opt.Now()
	}
	return db.excuse(db.do(create, fn), began)
}

// excuse decides by the policy about an error on the way of a commit; of a try
// to end a detachment began is when it began.
func (db *DB) excuse(err error, began time.Time) error {
	switch {
	case err == nil || errors.Is(err, journal.ErrLocked): // after which SQLite tries again
		return err
	case !db.trailFailed(err): // the trail is damaged, or another's: to go on without it would not be over by itself
		db.refuse(err, "the trail does not take commits: they are refused until it does")
		return err
	case db.opt.Full != Detach:
		db.refuse(err, "the trail cannot be written: commits are refused until it can; free some space there, move it (trail=), or have commits go on without it (full=detach)")
		return fmt.Errorf("pagetrail: the trail cannot be written: %w", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.detach(err, began)
	return nil
}

// refuse notes why commits are refused, and logs it if they were not.
func (db *DB) refuse(err error, why string) {
	if db.refusal.Swap(&err) == nil {
		db.opt.Log.Error(why, "trail", db.opt.Dir, "err", err)
	}
}

// excuse decides by the policy about an error of the trail within a
// transaction of a rollback mode, which then may go on without it.
func (c *Conn) excuse(err error) error {
	if err == nil {
		return nil
	}
	if err = c.db.excuse(err, time.Time{}); err == nil && c.db.detached.Load() {
		c.untracked, c.all = true, true
		c.prepared, c.unsynced = false, false
		c.pre.reset()
	}
	return err
}

// noteConfirmed has reconcile confirm a record whose transaction is committed,
// whatever happens to the database meanwhile.
func (db *DB) noteConfirmed(tx journal.Tx) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.confirmed = tx
}

// took notes that the trail took something.
func (db *DB) took() {
	if db.refusal.Load() != nil && db.refusal.Swap(nil) != nil {
		db.opt.Log.Warn("the trail takes commits again", "trail", db.opt.Dir)
	}
}

// trailFailed says that err is one of the system on a file of the trail.
func (db *DB) trailFailed(err error) bool {
	name := ""
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		name = e.Path
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		name = e.New
	}
	return name == db.opt.Dir || strings.HasPrefix(name, db.opt.Dir+string(filepath.Separator))
}

// detach begins, or goes on, to let commits pass. The caller holds db.mu.
func (db *DB) detach(err error, began time.Time) {
	now := db.opt.Now()
	if db.det == nil {
		db.det = &detachment{Detachment: Detachment{Since: journal.TimeOf(now), After: db.last.TXID, Reason: reasonOf(err)}}
		db.opt.Log.Error("the trail cannot be written: commits go on without it, and are taken in when it can be",
			"trail", db.opt.Dir, "after", uint64(db.last.TXID), "err", err)
	}
	if db.detached.Store(true); !began.IsZero() {
		db.det.retryAt = now.Add(retryPause * now.Sub(began))
	}
	if db.walRefs == 0 {
		db.merge()
		return
	}
	db.saveDetachment(true)
}

// reasonOf is the system's word for what went wrong.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	s := strings.ToValidUTF8(err.Error(), "?")
	return s[:min(len(s), reasonBytes)]
}

// merge notes that the transactions which the trail missed are not to be told
// apart any more: nothing but the database has them. The caller holds db.mu.
func (db *DB) merge() {
	d := db.det
	if d == nil {
		return
	}
	for _, c := range db.commits.drain() {
		d.missed(c)
	}
	if !d.Merged || !db.doubt {
		d.Merged = true
		db.setDoubt(true)
		db.saveDetachment(true)
	}
}

// missed counts a transaction that is to be merged.
func (d *detachment) missed(c commitNote) {
	d.Transactions++
	if d.First == 0 {
		d.First = c.time
	}
	d.First, d.Last = min(d.First, c.time), max(d.Last, c.time)
	if c.note != "" {
		d.notes = append(d.notes, c.note)
	}
}

// missed counts a transaction of a rollback mode.
func (db *DB) missed(note string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.det != nil {
		db.det.missed(commitNote{time: db.now(), note: note})
		db.saveDetachment(false)
	}
}

// goOn lets a checkpoint, or a new WAL, pass that overwrites what is not
// recorded, where the policy has let it.
func (db *DB) goOn() {
	if !db.detached.Load() {
		return
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.merge()
}

// mayRetry says whether to try the trail again: it finds out whether there is
// any room at all, which costs little, before more is tried.
func (db *DB) mayRetry() bool {
	db.mu.Lock()
	wait := db.det != nil && db.opt.Now().Before(db.det.retryAt)
	db.mu.Unlock()
	return !wait && db.probe() == nil
}

func (db *DB) probe() (err error) {
	if !db.exists() {
		return nil // it is to be made
	}
	f, err := durable.Scratch(db.limited, db.opt.Dir, db.opt.Mode)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, probeBytes), 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// recallDetachment takes in what another process, or this one before it ended,
// left in the stamp. The caller holds db.mu and the trail's lock.
func (db *DB) recallDetachment() {
	s, ok, err := readStamp(db.table.file)
	if err != nil || !ok {
		return
	}
	switch {
	case db.det == nil && s.Detachment.Since != 0:
		db.det = &detachment{Detachment: s.Detachment}
		db.detached.Store(db.opt.Full == Detach)
	case db.det != nil && db.det.After < db.last.TXID:
		// Another process has taken in what there was so far.
		db.det.Transactions, db.det.First, db.det.Last, db.det.notes = 0, 0, 0, nil
	}
}

// saveDetachment puts what is known into the stamp, as far as that can be
// written. The caller holds db.mu and not the trail's lock.
func (db *DB) saveDetachment(durably bool) {
	if db.w == nil || db.lockAnew() != nil {
		return
	}
	defer db.unlock()
	// What is in memory of a table that could not be written is not to be mixed
	// with this.
	if db.table.reload() != nil || !db.table.valid {
		return
	}
	db.table.stamp.Detachment = *db.pending()
	if db.table.writeStamp() == nil && durably {
		_ = db.table.file.Sync() // what is lost with it is the reason of a catch-up, not the catch-up
	}
}

// reattached ends the detachment: the trail has everything again. The caller
// holds db.mu and the trail's lock.
func (db *DB) reattached() error {
	d := db.det
	if d == nil {
		return nil
	}
	db.table.stamp.Detachment = Detachment{}
	if err := db.table.writeStamp(); err != nil {
		return err
	}
	db.det = nil
	db.detached.Store(false)
	db.broken.Store(nil)
	db.opt.Log.Warn("the trail can be written again and has everything", "trail", db.opt.Dir,
		"since", d.Since.String(), "after", uint64(d.After), "up to", uint64(db.last.TXID))
	return nil
}

// note is what the catch-up's record says of what it stands for.
func (d *detachment) note() string {
	var b strings.Builder
	switch d.Transactions {
	case 0:
		fmt.Fprintf(&b, "merges what was committed from %v on", d.Since)
	case 1:
		fmt.Fprintf(&b, "holds 1 transaction of %v", d.First)
	default:
		fmt.Fprintf(&b, "merges %d transactions from %v to %v", d.Transactions, d.First, d.Last)
	}
	fmt.Fprintf(&b, ", when the trail could not be written (%s)", d.Reason)
	for i, n := range d.notes {
		if b.Len()+len(n) > mergedNotes {
			fmt.Fprintf(&b, "; and %d more notes", len(d.notes)-i)
			break
		}
		b.WriteString("; " + n)
	}
	return b.String()
}

// Detached says whether commits go on without the trail, nil when they do not.
func (db *DB) Detached() *Detachment {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.pending()
}

// pending is the detachment with the commits that wait in the WAL.
func (db *DB) pending() *Detachment {
	if db.det == nil {
		return nil
	}
	d := detachment{Detachment: db.det.Detachment}
	for _, c := range db.commits.list() {
		d.missed(c)
	}
	return &d.Detachment
}

// ReadDetachment reads off a trail's directory whether commits go on without
// it; nil when they do not, as far as is known there.
func ReadDetachment(dir string) (*Detachment, error) {
	f, err := os.Open(filepath.Join(dir, tableName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, ok, err := readStamp(f)
	if err = errors.Join(err, f.Close()); err != nil || !ok || s.Detachment.Since == 0 {
		return nil, err
	}
	return &s.Detachment, nil
}

// detachedError is why there is no position to tell.
type detachedError struct{ Detachment }

func (e *detachedError) Error() string {
	return fmt.Sprintf("the trail ends with transaction %d: it cannot be written since %v (%s), and commits go on without it; they are taken in when it can be",
		uint64(e.After), e.Since, e.Reason)
}

// reasonBytes is how much of a reason a stamp has room for.
const reasonBytes = 80

// append encodes d for the stamp of a page table: five times 8 bytes, a flag,
// and the reason with its length.
func (d *Detachment) append(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range []uint64{uint64(d.Since), uint64(d.After), d.Transactions, uint64(d.First), uint64(d.Last)} {
		b = le.AppendUint64(b, v)
	}
	flags := byte(0)
	if d.Merged {
		flags = 1
	}
	reason := d.Reason[:min(len(d.Reason), reasonBytes)]
	b = append(b, flags, byte(len(reason)))
	return append(b, reason...)
}

func (d *Detachment) parse(b []byte) {
	le := binary.LittleEndian
	d.Since, d.After, d.Transactions = journal.Time(le.Uint64(b)), journal.TXID(le.Uint64(b[8:])), le.Uint64(b[16:])
	d.First, d.Last = journal.Time(le.Uint64(b[24:])), journal.Time(le.Uint64(b[32:]))
	d.Merged = b[40]&1 != 0
	d.Reason = string(b[42 : 42+min(int(b[41]), reasonBytes)])
}

// waiting notes that another transaction waits in the WAL.
func (db *DB) waiting() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.det == nil {
		return
	}
	if db.det.Merged {
		db.merge()
	}
	db.saveDetachment(false)
}
