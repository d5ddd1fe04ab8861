package serve

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// SendOptions for Send; nil means defaults.
type SendOptions struct {
	// Base begins the stream with the newest base, for a receiver that has nothing; where there is none, with the
	// first transaction. After does not count then.
	Base bool
	// After is the transaction that the receiver has: what follows it is sent.
	After journal.TXID
	// Live goes on with what comes, until the context ends. Default: the stream ends with what there is.
	Live bool
	// Heartbeat is how often a live stream says that it is alive when nothing comes; default 5 s.
	Heartbeat time.Duration
	// TempDir is for batches that are too large for memory; default os.TempDir().
	TempDir string
}

// Send writes a stream to w: what GET /NAME/stream answers, byte for byte, but for the clock in its frames. It returns
// the last transaction that was sent.
func Send(ctx context.Context, w io.Writer, trail *journal.Trail, o *SendOptions) (journal.TXID, error) {
	var opt SendOptions
	if o != nil {
		opt = *o
	}
	last, err := trail.Last()
	if err != nil {
		return 0, err
	}
	all := (&Options{TempDir: opt.TempDir, Heartbeat: opt.Heartbeat}).filled()
	f := &feed{name: trail.Dir(), trail: trail, o: &all, last: last, news: make(chan struct{})}
	s := &stream{f: f, w: writer{w: w}, next: opt.After + 1, base: opt.Base, beat: all.Heartbeat, pipe: true}
	if held := f.extent(); !opt.Base && (s.next < held.First || opt.After > held.Last) {
		held.Want = s.next
		return 0, held
	}
	if opt.Live {
		f.join(ctx)
		defer f.leave()
		err := s.run(ctx)
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			err = nil
		}
		return s.next - 1, err
	}
	s.beat, f.first = 0, journal.MaxTXID // all that is sent is in files
	if s.to = last.TXID; s.to == 0 {
		return 0, errors.Join(s.start(ctx), s.w.frame(s.frame(Ended, 0, 0), nil))
	}
	err = s.run(ctx)
	return s.next - 1, err
}
