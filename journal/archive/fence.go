package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// fence is what stands where the next batch of a timeline would be, once another timeline has taken over: whoever
// still writes that one finds the name taken, looks at the head, and learns who did.
type fence struct {
	Timeline journal.Timeline `json:"timeline"` // that goes on
	Writer   string           `json:"writer"`
}

// fenceStart is how a fence begins, and no segment does.
const fenceStart = `{"fence":`

func (f fence) encode() ([]byte, error) {
	data, err := json.Marshal(map[string]fence{"fence": f})
	return append(data, '\n'), err
}

func parseFence(data []byte) (fence, bool) {
	if !bytes.HasPrefix(data, []byte(fenceStart)) {
		return fence{}, false
	}
	var f map[string]fence
	if json.Unmarshal(data, &f) != nil {
		return fence{}, false
	}
	return f["fence"], true
}

// errFenced says that there is a fence where a batch would be.
var errFenced = errors.New("the timeline has ended")

// fence ends the timeline that was written before the current one, if that was not done yet: from then on nothing can be added to
// it, whatever its writer believes.
func (w *Writer) fence(ctx context.Context) error {
	line, n := w.head.current(), len(w.head.Lines)
	if n < 2 || line.Fenced {
		return nil
	}
	before := w.head.Lines[n-2].Timeline
	data, err := fence{line.Timeline, line.Writer}.encode()
	if err != nil {
		return err
	}
	for next := line.Ended + 1; ; {
		err := w.store.Create(ctx, batchKey(before, next), bytes.NewReader(data), int64(len(data)))
		if err == nil {
			break
		}
		if !errors.Is(err, objstore.ErrExists) {
			return err
		}
		b, err := w.batch(ctx, batchKey(before, next))
		if errors.Is(err, errFenced) {
			break
		}
		if err != nil {
			return err
		}
		next = b.Last + 1 // it was added while the head was being swapped
	}
	line.Fenced = true // in the store with the next swap; without it, it is done again, which does no harm
	return nil
}
