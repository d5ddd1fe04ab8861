package ship

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// pruneEvery is how often it is looked for what Options.Keep lets go, at most, and pruneLarge how often for what KeepBytes
// does: it reads the trail's directory.
const (
	pruneEvery = time.Minute
	pruneLarge = 5 * time.Second
)

// mayPrune says that something may go at some time.
func (s *Shipper) mayPrune() bool { return s.opt.Keep > 0 || s.opt.KeepBytes > 0 }

// crowded says whether room is asked for now, and how many bytes may stay.
func (s *Shipper) crowded() (keep int64, ok bool) {
	if s.opt.Full != nil && s.opt.Full() && s.mayPrune() {
		return 0, true
	}
	return journal.Crowded(s.opt.FS, s.dir)
}

// prune removes from the trail what was shipped and is older than Options.Keep, or more than KeepBytes, or as much as is
// asked for: that is looked up in each step, since a busy writer has few seconds until it is refused.
func (s *Shipper) prune(ctx context.Context) error {
	now := s.opt.Clock.Now()
	keep, asked := s.crowded()
	if s.prev == nil || !asked && (!s.mayPrune() || now.Before(s.pruneAt)) {
		return nil
	}
	d := journal.Disposable{UpTo: s.prev.Last, Most: s.opt.KeepBytes}
	if s.pruneAt = now.Add(pruneLarge); s.opt.Keep > 0 {
		d.Before = journal.TimeOf(now.Add(-s.opt.Keep))
	}
	if s.opt.KeepBytes <= 0 {
		s.pruneAt = now.Add(max(s.opt.Keep/16, pruneEvery))
	}
	if asked && (d.Most <= 0 || keep < d.Most) {
		d.Most = max(keep, 1)
	}
	o := &journal.WriterOptions{FS: s.opt.FS}
	_, err := journal.Seal(ctx, s.dir, o) // a process that ended a segment may not have lived to seal it
	if err == nil {
		var removed []string
		var size int64
		removed, size, err = journal.Discard(ctx, s.dir, d, o)
		if len(removed) > 0 && s.opt.Events.Pruned != nil {
			s.opt.Events.Pruned(removed, size)
		}
		if asked && (len(removed) > 0 || s.last < s.next()) { // all that there is to be had; who needs more asks again
			err = errors.Join(err, journal.Eased(s.opt.FS, s.dir))
		}
	}
	if errors.Is(err, journal.ErrLocked) { // its writer is sealing
		return nil
	}
	return err
}

// markName is the file in the trail that has a Mark.
const markName = "shipped"

// Mark says how the trail looked when everything in it had been shipped. As long as it looks like that there is
// nothing to ship, and nobody has to be asked. It is kept in the trail, for the next process; a lost one costs
// requests, and nothing else.
type Mark struct {
	Format  int          `json:"format"`
	Archive string       `json:"archive"`
	Last    journal.TXID `json:"last"`
	Tail    string       `json:"tail"` // the segment that grows: name, bytes and time of its last change
	Size    int64        `json:"bytes"`
	MTime   int64        `json:"mtime_ns"`
}

// Rest closes the trail's files until the next Step, and keeps what is known of the archive. When all is shipped it
// leaves a mark, which it returns; ok is false when there is something to ship.
func (s *Shipper) Rest() (m Mark, ok bool, err error) {
	if s.trail == nil {
		return m, false, nil
	}
	if m, ok, err = s.mark(); ok && err == nil {
		err = m.write(s.opt.FS, s.dir)
	}
	return m, ok, errors.Join(err, s.close())
}

// mark looks at the file first and at what is in it then, so that what comes between makes the mark a stale one.
func (s *Shipper) mark() (m Mark, ok bool, err error) {
	tail := s.trail.Tail().Name
	info, err := s.opt.FS.Stat(filepath.Join(s.dir, tail))
	if err != nil {
		return m, false, err
	}
	if err := s.trail.Refresh(); err != nil {
		return m, false, err
	}
	last, err := s.trail.Last()
	if err != nil || s.w == nil || last.TXID+1 != s.next() || s.trail.Tail().Name != tail {
		return m, false, err
	}
	if s.trail.Ended() { // what comes next does not change it
		return m, false, nil
	}
	return Mark{
		Format: 1, Archive: s.opt.Archive, Last: last.TXID, Tail: tail, Size: info.Size(), MTime: info.ModTime().UnixNano(),
	}, true, nil
}

func (m *Mark) write(fsys durable.FS, dir string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := fsys.OpenFile(filepath.Join(dir, markName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	return errors.Join(err, f.Close())
}

// ReadMark reads the mark that a process left in a trail; ok is false when there is none for that archive.
func ReadMark(fsys durable.FS, dir, archive string) (m Mark, ok bool) {
	f, err := fsys.OpenFile(filepath.Join(dir, markName), os.O_RDONLY, 0)
	if err != nil {
		return m, false
	}
	defer f.Close()
	var b [1024]byte
	n, _ := f.ReadAt(b[:], 0)
	err = json.Unmarshal(b[:n], &m)
	return m, err == nil && m.Format == 1 && m.Archive == archive && m.Tail == filepath.Base(m.Tail)
}

// Holds says that the trail in dir still looks as the mark says, by one stat of its last segment: that grows with
// every transaction, and when another takes its place.
func (m *Mark) Holds(fsys durable.FS, dir string) bool {
	info, err := fsys.Stat(filepath.Join(dir, m.Tail))
	return err == nil && info.Size() == m.Size && info.ModTime().UnixNano() == m.MTime
}
