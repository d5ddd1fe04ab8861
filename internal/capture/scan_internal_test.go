package capture

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// numbered is a database file whose pages begin with their numbers. Its
// lock-byte page is locked, as on Windows: who reads any of it fails.
type numbered struct {
	size, pages int64
	reads       int
}

func (f *numbered) ReadAt(p []byte, off int64) (int, error) {
	f.reads++
	lock := (int64(diff.LockPage(int(f.size))) - 1) * f.size
	if off < lock+f.size && off+int64(len(p)) > lock {
		return 0, errors.New("the lock-byte page was read")
	}
	n := min(int64(len(p)), max(f.pages*f.size-off, 0))
	clear(p[:n])
	for at := (f.size - off%f.size) % f.size; at+4 <= n; at += f.size {
		binary.LittleEndian.PutUint32(p[at:], uint32((off+at)/f.size)+1)
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// TestScan has all pages scanned that are the database's, in order, in few
// reads, those that the WAL has from there, and those beyond the file's end as
// zeros.
func TestScan(t *testing.T) {
	const size = 65536
	lock := diff.LockPage(size)
	for _, c := range []struct{ count, file uint32 }{
		{0, 0},
		{1, 1},
		{3, 3},
		{4, 4},
		{5, 5},
		{8, 8},
		{9, 6},
		{7, 0},
		{lock - 1, lock - 1},
		{lock, lock},
		{lock + 1, lock + 1},
		{lock + 6, lock + 3},
	} {
		main := &numbered{size: size, pages: int64(c.file)}
		frame := append(make([]byte, 32+24), make([]byte, size)...)
		binary.LittleEndian.PutUint32(frame[32+24:], 99)
		s := walState{index: map[uint32]uint32{3: 1}}
		s.hdr.PageSize = size
		v := view{size: size, count: c.count, main: main, wal: &walSource{s: &s, wal: readerOf(frame)}}
		next, reads := uint32(1), main.reads
		err := v.scan(func(no uint32, page []byte) error {
			if next == lock {
				next++
			}
			want := no
			switch {
			case no == 3:
				want = 99
			case no > c.file:
				want = 0
			}
			if got := binary.LittleEndian.Uint32(page); no != next || got != want || len(page) != size {
				t.Fatalf("%v: page %d of %d bytes with %d, want page %d with %d", c, no, len(page), got, next, want)
			}
			next++
			return nil
		})
		if next == lock && c.count == lock {
			next++
		}
		if err != nil || next != c.count+1 {
			t.Errorf("%v: ended before page %d: %v", c, next, err)
		}
		if got, most := main.reads-reads, int(c.count)*size/scanBytes+2; got > most {
			t.Errorf("%v: %d reads, want %d at the most", c, got, most)
		}
	}
}

type readerOf []byte

func (r readerOf) ReadAt(p []byte, off int64) (int, error) { return copy(p, r[off:]), nil }
