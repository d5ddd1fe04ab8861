package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// A ShipMark says, durably and in the trail itself, up to which transaction the trail was shipped. It is written
// before a batch leaves, so that a writer which finds that the database lost transactions knows whether somebody else
// may have them. The caller excludes other shippers of the trail. Not safe for concurrent use.
type ShipMark struct {
	o    WriterOptions
	dir  string
	f    durable.File
	last shipSlot
}

// shipSlot is one of the two places of a mark; the one with the higher number counts. The file is written in place,
// and in turns, so that a mark needs no room on a disk that is full.
type shipSlot struct {
	number   uint64
	timeline Timeline
	last     Shipped
}

// Shipped is the last transaction that may have left a trail; TXID 0 when none has.
type Shipped struct {
	TXID TXID
	Time Time
	Sum  diff.Sum
}

const (
	leftName      = "left"
	shipSlotBytes = 64
	shipSlotAt    = 512 // distance of the two, so that no write touches both
)

var shipMagic = [8]byte{0x89, 'P', 'T', 'S', 'H', 'P', '\r', '\n'}

func (s *shipSlot) put(b []byte) {
	clear(b[:shipSlotBytes])
	copy(b, shipMagic[:])
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], uint32(s.timeline))
	le.PutUint64(b[16:], uint64(s.last.TXID))
	le.PutUint64(b[24:], s.number)
	le.PutUint64(b[32:], uint64(s.last.Time))
	appendSum(b[40:40], s.last.Sum)
	le.PutUint32(b[60:], crcOf(b[:60]))
}

// parse reads a slot; false when there is none, or one that a crash tore.
func (s *shipSlot) parse(b []byte) (bool, error) {
	if [8]byte(b) != shipMagic || crcOf(b[:60]) != le.Uint32(b[60:]) {
		return false, nil
	}
	if v := le.Uint32(b[8:]); v > formatVersion {
		return false, because(ErrVersion, "mark of what was shipped, of version %d", v)
	}
	*s = shipSlot{number: le.Uint64(b[24:]), timeline: Timeline(le.Uint32(b[12:]))}
	s.last = Shipped{TXID: TXID(le.Uint64(b[16:])), Time: Time(le.Uint64(b[32:])), Sum: getSum(b[40:])}
	return true, nil
}

// readShipped reads the mark; the zero slot when nothing was ever shipped.
func readShipped(f durable.File) (last shipSlot, err error) {
	var b [shipSlotAt + shipSlotBytes]byte
	if n, err := f.ReadAt(b[:], 0); n < len(b) && !isEOF(err) {
		return last, err
	}
	for _, at := range []int{0, shipSlotAt} {
		var s shipSlot
		ok, err := s.parse(b[at : at+shipSlotBytes])
		if err != nil {
			return last, located(err, f.Name(), int64(at), 0)
		}
		if ok && s.number > last.number {
			last = s
		}
	}
	return last, nil
}

// OpenShipMark opens the mark of the trail in a directory. Of o, FS and Mode count.
func OpenShipMark(dir string, o *WriterOptions) (*ShipMark, error) {
	opt := o.filled()
	name := filepath.Join(dir, leftName)
	_, err := opt.FS.Stat(name)
	made := errors.Is(err, fs.ErrNotExist)
	f, err := opt.FS.OpenFile(name, os.O_RDWR|os.O_CREATE, opt.Mode)
	if err != nil {
		return nil, err
	}
	m := &ShipMark{o: opt, dir: dir, f: f}
	if m.last, err = readShipped(f); err == nil && made {
		// Both places are taken at once: later marks overwrite.
		if _, err = f.WriteAt(make([]byte, shipSlotAt+shipSlotBytes), 0); err == nil {
			err = errors.Join(f.Sync(), opt.FS.SyncDir(dir))
		}
	}
	if err != nil {
		return nil, joinClose(err, f)
	}
	return m, nil
}

// Mark notes that the transactions of a timeline up to last are about to leave. It is durable when it returns. No
// writer takes transactions back meanwhile: still, if set, is called then, and is to look whether the trail still has
// them; with its error nothing is marked, and they must not leave.
func (m *ShipMark) Mark(timeline Timeline, last Shipped, still func() error) (err error) {
	lock, err := lockShipped(&m.o, m.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if still != nil {
		if err := still(); err != nil {
			return err
		}
	}
	if timeline == m.last.timeline && last.TXID <= m.last.last.TXID {
		return nil
	}
	return m.write(timeline, last)
}

// lockShipped excludes marking what is shipped, and taking back what was not, from each other.
func lockShipped(o *WriterOptions, dir string) (durable.Lock, error) {
	return o.FS.Lock(filepath.Join(dir, leftLockName), o.Mode, true, true)
}

func (m *ShipMark) write(timeline Timeline, last Shipped) error {
	next := shipSlot{number: m.last.number + 1, timeline: timeline, last: last}
	var b [shipSlotBytes]byte
	next.put(b[:])
	if _, err := m.f.WriteAt(b[:], int64(next.number%2)*shipSlotAt); err != nil {
		return err
	}
	if err := m.f.Sync(); err != nil {
		return err
	}
	m.last = next
	return nil
}

// Close closes the file.
func (m *ShipMark) Close() error { return m.f.Close() }

// TakeBack removes the records after id, which the database has lost. When none of them was shipped it is CutAfter; else
// others may have them, and it is Fork. shipped is the last of them that may have left the trail, 0 when none has; kept
// is the directory that has what the trail had of them, to be opened as a trail, "" when it had none.
func (w *Writer) TakeBack(id TXID) (shipped TXID, kept string, err error) {
	lock, err := lockShipped(&w.o, w.dir)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s, err := w.Shipped()
	if err != nil {
		return 0, "", err
	}
	if s.TXID <= id {
		kept, err = w.cutAfter(id)
		return 0, kept, err
	}
	if w.last.TXID > id {
		kept = filepath.Join(w.dir, branchName(w.identity.Timeline))
	}
	return s.TXID, kept, w.Fork(id)
}

// Shipped is the last transaction of the present timeline that may have left the trail. The lock must be held.
func (w *Writer) Shipped() (none Shipped, err error) {
	if err := w.ready(); err != nil {
		return none, err
	}
	f, err := w.o.FS.OpenFile(filepath.Join(w.dir, leftName), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	s, err := readShipped(f)
	if err = errors.Join(err, f.Close()); err != nil || s.timeline != w.identity.Timeline {
		return none, err
	}
	return s.last, nil
}
