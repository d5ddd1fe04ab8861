package journal

import (
	"context"
	"errors"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// WriteBase writes a base that belongs to no trail's directory, of the state after tx, to f, which is empty. page reads
// one page into a buffer of page size. The sum of the pages must be tx's, else ErrDiverged. f is synced and closed,
// whatever comes out.
func WriteBase(ctx context.Context, f durable.File, id Identity, tx *Tx, page func(no uint32, b []byte) error) (BaseInfo, error) {
	hdr := fileHeader{magic: baseMagic, database: id.Database, timeline: id.Timeline, first: tx.TXID, before: stateAfter(tx)}
	hdr.before.sum = diff.Sum{} // summed again
	sum := tx.Sum
	b := &BaseWriter{hdr: hdr, page: 1, want: &sum, f: &sealedFile{f: f, path: baseName(tx.TXID), off: fileHeaderSize}}
	err := b.fill(ctx, page)
	if err == nil {
		err = b.finish()
	}
	if b.f.f != nil {
		err = errors.Join(err, b.f.f.Close())
	}
	return infoOfBase(baseName(tx.TXID), &b.hdr, b.f.off), err
}

// fill writes all pages, one by one.
func (b *BaseWriter) fill(ctx context.Context, page func(no uint32, b []byte) error) error {
	size, lock := int(b.hdr.before.pageSize), diff.LockPage(int(b.hdr.before.pageSize))
	if !validPageSize(uint32(size)) {
		return because(ErrRange, "base of pages of %d bytes", size)
	}
	buf := make([]byte, size)
	for no := uint64(1); no <= uint64(b.hdr.before.pageCount); no++ {
		n := uint32(no)
		if n == lock {
			continue
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := page(n, buf); err != nil {
			return err
		}
		if err := b.WritePages(n, buf); err != nil {
			return err
		}
	}
	return nil
}
