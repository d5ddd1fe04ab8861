package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// Is says whether the database file at path was followed into: whether it has a file of slots.
func Is(path string) bool {
	_, err := slots(path)
	return err == nil
}

// ErrNone: the file is no replica, or nothing says where it is.
var ErrNone = fmt.Errorf("not a replica, no follower has said where it is: %w", journal.ErrNotFound)

// slots is the newer of the two slots.
func slots(path string) (Mark, error) {
	f, err := os.Open(path + Suffix)
	if errors.Is(err, os.ErrNotExist) {
		return Mark{}, fmt.Errorf("%s: %w", path, ErrNone)
	}
	if err != nil {
		return Mark{}, err
	}
	defer f.Close()
	var newest Mark
	for i := range int64(2) {
		var b [MarkSize]byte
		n, err := f.ReadAt(b[:], i*SlotSize)
		if err != nil && err != io.EOF {
			return Mark{}, err
		}
		if m, ok := Parse(b[:n]); ok && m.Seq > newest.Seq {
			newest = m
		}
	}
	if newest.Seq == 0 {
		return Mark{}, fmt.Errorf("%s: %w", path, ErrNone)
	}
	return newest, nil
}

// Position is the state that readers see who begin now, in whatever process the follower is. It takes no lock.
//
//  1. The index says how many frames of the WAL count. A writer may be changing it: then it is read again.
//  2. With frames, the last of them is the position of the commit that it ends.
//  3. Without, the slots are: they are written before frames stop to count, and before the WAL is taken away.
//  4. If the index has begun anew meanwhile, what was read may be of either time: again.
func Position(path string) (Mark, error) {
	for range 1000 {
		h, there, whole, err := index(path)
		if err != nil {
			return Mark{}, err
		}
		if !whole {
			continue
		}
		var m Mark
		ok := true
		if there && h.MxFrame > 0 {
			m, ok, err = frame(path, &h)
		} else {
			m, err = slots(path)
		}
		if err != nil {
			return Mark{}, err
		}
		after, still, _, err := index(path)
		if err != nil {
			return Mark{}, err
		}
		if ok && still == there && after.Salt == h.Salt && (after.MxFrame == 0) == (h.MxFrame == 0) {
			return m, nil
		}
	}
	return Mark{}, fmt.Errorf("%s: the last commit in its WAL is of another program: %w", path, ErrNone)
}

// index reads the header of the wal-index; there is none when nobody has the replica open. One that is being written is
// not whole.
func index(path string) (h sqlitefile.IndexHeader, there, whole bool, err error) {
	f, err := os.Open(path + "-shm")
	if errors.Is(err, os.ErrNotExist) {
		return h, false, true, nil
	}
	if err != nil {
		return h, false, false, err
	}
	defer f.Close()
	var b [sqlitefile.IndexHeaderSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return h, false, false, err
	}
	if n < len(b) {
		return h, false, true, nil // the first to open it has not written it yet
	}
	// Of a WAL that a reader made, which has no frames, it is the empty one.
	h, whole = sqlitefile.ParseEmptyIndexHeader(b[:])
	return h, true, whole, nil
}

// frame reads the mark in the last frame that counts.
func frame(path string, h *sqlitefile.IndexHeader) (Mark, bool, error) {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, os.ErrNotExist) {
		return Mark{}, false, nil
	}
	if err != nil {
		return Mark{}, false, err
	}
	defer f.Close()
	b := make([]byte, sqlitefile.FrameHeaderSize+MarkSize)
	gen := sqlitefile.WALHeader{PageSize: h.PageSize}
	if _, err := f.ReadAt(b, gen.FrameOffset(h.MxFrame)); err != nil {
		if err == io.EOF {
			err = nil
		}
		return Mark{}, false, err
	}
	head := sqlitefile.ParseFrame(b)
	m, ok := Parse(b[sqlitefile.FrameHeaderSize:])
	return m, ok && head.Page == Page && head.Salt == h.Salt, nil
}

// The pauses between two looks of Wait.
const (
	pauseMin = 200 * time.Microsecond
	pauseMax = 10 * time.Millisecond
)

// Wait waits until the replica at path is at a position or beyond it: until a reader that begins then sees that
// transaction. It returns where the replica is. The error is a [journal.ErrForeign] when it is a replica of another
// database or of an older timeline's continuation, else the context's.
func Wait(ctx context.Context, path string, want journal.Position) (journal.Position, error) {
	for rest := pauseMin; ; rest = min(2*rest, pauseMax) {
		m, err := Position(path)
		if err != nil {
			return journal.Position{}, err
		}
		if err := check(path, &m, &want); err != nil {
			return m.Position, err
		}
		if m.TXID >= want.TXID {
			return m.Position, nil
		}
		if err := pause.For(ctx, rest); err != nil {
			return m.Position, fmt.Errorf("%s is at transaction %d, and not yet at %d: %w", path, m.TXID, want.TXID, err)
		}
	}
}

// check compares what can be compared of two positions. A zero database or checksum says nothing.
func check(path string, m *Mark, want *journal.Position) error {
	if want.Database != (journal.DatabaseID{}) && (m.Database != want.Database || m.Timeline != want.Timeline) {
		return fmt.Errorf("%s is a replica of database %v timeline %d, and the position is of %v timeline %d: %w",
			path, m.Database, m.Timeline, want.Database, want.Timeline, journal.ErrForeign)
	}
	if m.TXID == want.TXID && want.Database != (journal.DatabaseID{}) && m.Sum != want.Sum {
		return fmt.Errorf("transaction %d of %s is another than the one that is waited for: %w", m.TXID, path, journal.ErrDiverged)
	}
	return nil
}
