package journal

import (
	"bytes"
	"context"
	"iter"

	"github.com/pagetrail/pagetrail/diff"
)

// allRecords yields the records of one segment file.
func allRecords(ctx context.Context, o *openedFile) iter.Seq2[*Record, error] {
	return recordsFrom(ctx, o, o.hdr.first)
}

// recordsFrom yields those from a TXID on.
func recordsFrom(ctx context.Context, o *openedFile, from TXID) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		c := recordCursor{ctx: ctx, yield: yield}
		if err := c.segment(o, from, MaxTXID); err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

func pullRecords(ctx context.Context, o *openedFile) (next func() (*Record, error, bool), stop func()) {
	return iter.Pull2(allRecords(ctx, o))
}

// sameRecord compares a record with its sealed form.
func sameRecord(ctx context.Context, a, b *Record) error {
	tx := a.Tx
	if !b.SumKnown {
		tx.Sum, tx.SumKnown = diff.Sum{}, false
	}
	if b.Origin == (Origin{}) {
		tx.Origin = Origin{}
	}
	if tx != b.Tx || a.parts.parts != b.parts.parts {
		return because(ErrCorrupt, "sealing changed the record")
	}
	if !sameBody(a.body, b.body) {
		return because(ErrCorrupt, "sealing changed the patches")
	}
	if a.parts.count == 0 {
		return nil
	}
	next, stop := iter.Pull2(b.Groups())
	defer stop()
	for g, err := range a.Groups() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		h, err, ok := next()
		if err != nil {
			return err
		}
		if !ok || !sameBody(g, h) {
			return because(ErrCorrupt, "sealing changed the patches")
		}
	}
	return nil
}

func sameBody(a, b diff.Body) bool {
	return bytes.Equal(a.Pages, b.Pages) && bytes.Equal(a.Tokens, b.Tokens) && bytes.Equal(a.Literals, b.Literals)
}
