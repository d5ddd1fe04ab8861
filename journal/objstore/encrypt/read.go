package encrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// opened is what is known of an object whose header was read. It does not change.
type opened struct {
	stream stream
	total  int64 // bytes of the encrypted object
	size   int64 // of the object
	ended  bool  // its last block was read, which proves the size
}

// unlock reads a header, with the nonce behind it, of an object of so many bytes.
func (s *store) unlock(key string, header []byte, total int64) (*opened, error) {
	written, _ := s.written.get(key)
	fileKey, err := openHeader(header, key, written, s.keys.Identities)
	switch {
	case errors.Is(err, errNoMatch) && len(s.keys.Identities) == 0:
		return nil, fmt.Errorf("to read it an identity is needed: it %w", objstore.ErrEncrypted)
	case errors.Is(err, errNoMatch):
		return nil, fmt.Errorf("it %w, and %w; give that of one of its recipients", objstore.ErrEncrypted, err)
	case err != nil:
		return nil, damaged(err)
	}
	size, ok := plainSize(total - int64(len(header)))
	if !ok {
		return nil, damaged(errChanged)
	}
	st, err := newStream(fileKey, header[len(header)-nonceBytes:])
	return &opened{stream: st, total: total, size: size}, err
}

// Get implements objstore.Bucket.
func (s *store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if err := s.check(objstore.OpGet, key); err != nil {
		return nil, 0, err
	}
	header, err := s.settle(ctx)
	if err != nil {
		return nil, 0, err
	}
	if header == 0 {
		return nil, 0, s.fail(objstore.OpGet, key, objstore.ErrNotFound)
	}
	if o, ok := s.opened.get(key); ok {
		body, err := s.read(ctx, key, int64(header), o, nil, off, n)
		if err == nil || !errors.Is(err, errStale) && !errors.Is(err, objstore.ErrDamaged) {
			return body, o.size, err
		}
		s.opened.forget(key) // it was deleted and created again
	}
	return s.getFresh(ctx, key, int64(header), off, n)
}

// errStale says that an object is another than the one whose header was read.
var errStale = fmt.Errorf("it was replaced while it was read: %w", objstore.ErrConflict)

// getFresh is Get of an object of which nothing is known. One request brings the header, and with it the range, if that
// begins near enough.
func (s *store) getFresh(ctx context.Context, key string, header, off, n int64) (io.ReadCloser, int64, error) {
	want := header
	near := off < blockBytes && n != 0
	if near {
		want = -1
		if n > 0 && n < 1<<50 { // more is as good as all
			want = header + (off+n-1)/blockBytes*sealedBytes + sealedBytes
		}
	}
	body, total, err := s.inner.Get(ctx, key, 0, want)
	if err != nil {
		return nil, 0, err
	}
	data := make([]byte, header)
	got, err := io.ReadFull(body, data)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
		if int64(got) < min(header, total) { // the connection broke off, not the object
			err = io.ErrUnexpectedEOF
		} else if int64(got) < header {
			err = notSealed(data[:got])
		}
	}
	if err == nil && headerLen(data) != len(data) {
		err = notSealed(data)
	}
	var o *opened
	if err == nil {
		o, err = s.unlock(key, data, total)
	}
	if err != nil || !near {
		err = errors.Join(err, body.Close())
		body = nil
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	plain, err := s.read(ctx, key, header, o, body, off, n)
	return plain, o.size, err
}

// read opens a range. body, if there is one, stands at the first block.
func (s *store) read(ctx context.Context, key string, header int64, o *opened, body io.ReadCloser, off, n int64) (_ io.ReadCloser, err error) {
	defer func() {
		if err != nil && body != nil {
			_ = body.Close() // the error found is the one to report
		}
	}()
	if left := max(o.size-off, 0); n < 0 || n > left {
		n = left
	}
	last := blocks(o.size) - 1
	to := max(off+n-1, 0) / blockBytes
	if n == 0 || to < last {
		if o, err = s.end(ctx, key, header, o); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		if body != nil {
			err = body.Close()
		}
		return io.NopCloser(bytes.NewReader(nil)), s.fail(objstore.OpGet, key, err)
	}
	p := &plainBody{s: s, key: key, o: o, src: body, next: off / blockBytes, skip: int(off % blockBytes), left: n}
	if body == nil {
		length := min((to-p.next+1)*sealedBytes, o.total-header-p.next*sealedBytes)
		var total int64
		if body, total, err = s.inner.Get(ctx, key, header+p.next*sealedBytes, length); err != nil {
			return nil, err
		}
		if p.src = body; total != o.total {
			return nil, s.fail(objstore.OpGet, key, errStale)
		}
	}
	if err = p.fill(); err != nil { // so that a key that is not its own is found now
		return nil, err
	}
	if last > 0 { // ranges of it may follow
		s.opened.put(key, o)
	}
	return p, nil
}

// end reads the last block, unless that was done.
func (s *store) end(ctx context.Context, key string, header int64, o *opened) (*opened, error) {
	if o.ended {
		return o, nil
	}
	last := blocks(o.size) - 1
	body, total, err := s.inner.Get(ctx, key, header+last*sealedBytes, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(body, sealedBytes+1))
	switch err = errors.Join(err, body.Close()); {
	case err != nil:
	case total != o.total:
		err = errStale
	case header+last*sealedBytes+int64(len(data)) < total:
		err = io.ErrUnexpectedEOF
	default:
		if _, err = o.stream.open(nil, data, last, true); err != nil {
			err = damaged(err)
		}
	}
	if err != nil {
		return nil, s.fail(objstore.OpGet, key, err)
	}
	proved := *o
	proved.ended = true
	return &proved, nil
}

// plainBody decrypts a range as it is read.
type plainBody struct {
	s    *store
	key  string
	o    *opened
	src  io.ReadCloser
	next int64 // block
	skip int   // bytes of it that come before the range
	left int64 // bytes of the range
	buf  []byte
	in   []byte
	err  error
}

// fill decrypts the next block into buf.
func (p *plainBody) fill() error {
	last := blocks(p.o.size) - 1
	size := min(p.o.size-p.next*blockBytes, blockBytes)
	want := int(sealedSize(size))
	if cap(p.in) < want {
		p.in = make([]byte, want)
	}
	if _, err := io.ReadFull(p.src, p.in[:want]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return p.s.fail(objstore.OpGet, p.key, err)
	}
	plain, err := p.o.stream.open(p.in[:0], p.in[:want], p.next, p.next == last)
	if err != nil {
		return p.s.fail(objstore.OpGet, p.key, damaged(err))
	}
	p.buf, p.skip = plain[p.skip:], 0
	p.buf = p.buf[:min(int64(len(p.buf)), p.left)]
	p.next++
	return nil
}

func (p *plainBody) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.left == 0 {
		return 0, io.EOF
	}
	if len(p.buf) == 0 {
		if p.err = p.fill(); p.err != nil {
			return 0, p.err
		}
	}
	n := copy(b, p.buf)
	p.buf = p.buf[n:]
	p.left -= int64(n)
	return n, nil
}

func (p *plainBody) Close() error { return p.src.Close() }
