package journal

import (
	"errors"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Join makes the trail one of a later timeline, all of whose transactions so far belong to that timeline's history: it
// was left by the one before where the trail ends, or later. So a follower's trail goes on with its primary's next
// timeline, and a replica's that is promoted. What the trail has beyond the parent position is for Fork to part with.
// It may be done again. The result is durable when it returns.
func (w *Writer) Join(next Identity) error {
	if err := w.Reset(); err != nil {
		return err
	}
	if w.prepared {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Err: errors.New("a later timeline with a prepared transaction")}
	}
	p := next.Parent
	if next.Database != w.identity.Database || next.Timeline < w.identity.Timeline || p == nil && next.Timeline > w.identity.Timeline {
		return located(because(ErrForeign, "timeline %d of database %v, the trail's is %d of %v",
			next.Timeline, next.Database, w.identity.Timeline, w.identity.Database), w.dir, -1, 0)
	}
	if next.Timeline == w.identity.Timeline {
		return nil
	}
	if w.last.TXID > p.TXID || w.last.TXID == p.TXID && w.last.Sum != p.Sum {
		return &Error{
			Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Hint: hintDiverged,
			Err: because(ErrDiverged, "timeline %d began after transaction %d with sum %v, the trail has %d with %v",
				next.Timeline, uint64(p.TXID), p.Sum, uint64(w.last.TXID), w.last.Sum),
		}
	}
	if err := w.Sync(); err != nil {
		return err
	}
	next.Format, next.Common = formatVersion, nil
	data, err := next.Encode()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(w.o.FS, filepath.Join(w.dir, identityName), data, w.o.Mode); err != nil {
		return w.fail(err) // which of the two it is now, only opening it anew finds out
	}
	w.identity = next
	return w.Rotate() // so that the timelines are in segments of their own, and readers notice
}
