package journal

import (
	"io"
)

// maxLookahead bounds the payloads that are checked in search of a later block, so that a file made
// to deceive costs no more than reading it a few times.
const maxLookahead = 4

// laterSynced searches the bytes from off on, at every position, for whole T and C blocks of transactions
// after last, and returns the farthest offset that one of them says was durable.
func laterSynced(r io.ReaderAt, off, size int64, last TXID) (int64, error) {
	br := blockReader{r: r, limit: size}
	probe := blockReader{r: r, limit: size}
	best, budget := int64(0), maxLookahead*(size-off)+readChunk
	for off+blockHeaderSize <= size {
		w, err := br.window(off, readChunk)
		if err != nil {
			return 0, err
		}
		if len(w) < blockHeaderSize {
			break
		}
		at := 0
		for ; at+blockHeaderSize <= len(w); at++ {
			if w[at] != blockTx && w[at] != blockCommit || w[at+1] > codecZstd || w[at+3] != 0 {
				continue
			}
			var h blockHeader
			if h.parse(w[at:]) != nil || TXID(h.first) <= last || off+int64(at)+h.size() > size {
				continue
			}
			if budget -= h.size(); budget < 0 {
				return best, nil
			}
			probe.off = off + int64(at)
			synced, err := probe.syncedBy(&h)
			if err != nil {
				return 0, err
			}
			if synced > best {
				best = synced
			}
		}
		off += int64(at)
	}
	return best, nil
}

// syncedBy is what the T or C block at off says was durable; 0 when it is not a whole block.
func (b *blockReader) syncedBy(h *blockHeader) (int64, error) {
	if h.kind == blockCommit {
		if h.flags&flagSynced != 0 && h.length == 0 {
			return b.off, nil
		}
		return 0, nil
	}
	if err := b.checkPayload(h); err != nil {
		if isDamage(err) {
			return 0, nil
		}
		return 0, err
	}
	// In a tail the streams are raw: eight lengths of at most five bytes, then H with its preamble.
	w, err := b.window(b.off+blockHeaderSize, int(min(int64(h.length), 8*5+preambleSize)))
	if err != nil {
		return 0, err
	}
	f := fields{b: w}
	for range 8 {
		f.uvarint()
	}
	var p preamble
	if f.bad || p.parse(&f, TXID(h.first)) != nil || p.synced > b.off {
		return 0, nil
	}
	return p.synced, nil
}
