package journal

import (
	"errors"
	"io"

	"github.com/pagetrail/pagetrail/diff"
)

// errStopped says that the caller of an iterator wants no more.
var errStopped = errors.New("stopped")

// partReader reads the P blocks of a large transaction when they are asked for, so that no more than
// one group is in memory.
type partReader struct {
	parts
	r       io.ReaderAt
	path    string
	id      TXID
	off     int64 // of the first P block
	end     int64 // of the T block
	sealed  bool
	shared  *blockReader  // its buffer is used again from record to record
	streams *streamReader // likewise
}

func (p *partReader) each(yield func(diff.Body, error) bool) error {
	br := p.shared
	br.r, br.off, br.limit, br.sealed = p.r, p.off, p.end, p.sealed
	br.buf, br.bufOff = br.buf[:0], 0
	var found parts
	for br.off < p.end {
		var h blockHeader
		err := br.header(&h)
		if err == nil && (h.kind != blockPart || TXID(h.first) != p.id) {
			err = because(ErrCorrupt, "block %q of transaction %d among groups", h.kind, h.first)
		}
		if err != nil {
			return located(notTorn(err), p.path, br.off, p.id)
		}
		payload, _, err := br.payload(&h, 0)
		if err != nil {
			return located(notTorn(err), p.path, br.off, p.id)
		}
		s, err := p.streams.decode(&h, payload, 3)
		if err != nil {
			return located(err, p.path, br.off, p.id)
		}
		found.count++
		found.pages += h.records
		found.bytes += int64(h.decoded)
		br.off += h.size()
		if !yield(diff.Body{Pages: s[0], Tokens: s[1], Literals: s[2]}, nil) {
			return errStopped
		}
	}
	if found != p.parts {
		return located(because(ErrCorrupt, "groups are not what their transaction says"), p.path, p.off, p.id)
	}
	return nil
}

// notTorn makes an incomplete block corruption, where blocks are known to have been whole.
func notTorn(err error) error {
	if errors.Is(err, ErrTorn) || err == io.EOF {
		return because(ErrCorrupt, "cut short: %v", err)
	}
	return err
}
