package sqlitefile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// realWAL makes a database in WAL mode with the C library and returns copies of
// its three files, taken while it was open, so that nothing was checkpointed.
func realWAL(t testing.TB, size int) (db, wal, shm []byte) {
	t.Helper()
	dir := t.TempDir()
	shell(t, filepath.Join(dir, "a.db"), fmt.Sprintf(`
		PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
		CREATE TABLE t(a INTEGER PRIMARY KEY, b);
		INSERT INTO t VALUES(1, randomblob(3000));
		WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x+1 FROM n WHERE x<40)
		INSERT INTO t SELECT x, randomblob(700) FROM n;
		UPDATE t SET b = 'x' WHERE a = 7;
		.system cp a.db db.copy
		.system cp a.db-wal wal.copy
		.system cp a.db-shm shm.copy`, size))
	return readFile(t, filepath.Join(dir, "db.copy")),
		readFile(t, filepath.Join(dir, "wal.copy")),
		readFile(t, filepath.Join(dir, "shm.copy"))
}

// scan collects what a scanner yields: numbers and headers; pages are compared
// with the bytes of the log.
func scan(t testing.TB, s *sqlitefile.WALScanner, wal []byte, limit uint32) []sqlitefile.Frame {
	t.Helper()
	var frames []sqlitefile.Frame
	for {
		n, f, page, err := s.Next(limit)
		if err == io.EOF {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		off := s.Header().FrameOffset(n) + sqlitefile.FrameHeaderSize
		if !bytes.Equal(page, wal[off:off+int64(s.Header().PageSize)]) {
			t.Fatalf("frame %d: not its page", n)
		}
		frames = append(frames, f)
	}
}

func TestWALOfRealFiles(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			_, wal, shm := realWAL(t, size)
			h, err := sqlitefile.ParseWALHeader(wal)
			if err != nil {
				t.Fatal(err)
			}
			if h.PageSize != size || h.BigEndian {
				t.Errorf("header %+v", h)
			}
			frames := scan(t, sqlitefile.NewWALScanner(bytes.NewReader(wal), h), wal, math.MaxUint32)
			if got, want := len(frames), int(h.Frames(int64(len(wal)))); got != want || got < 4 {
				t.Fatalf("%d valid frames of %d", got, want)
			}
			commits := 0
			for _, f := range frames {
				if f.Commit != 0 {
					commits++
				}
			}
			if commits != 4 {
				t.Errorf("%d commits, want 4", commits)
			}
			// The library's own index must say the same.
			x, ok := sqlitefile.ParseIndexHeader(shm)
			if !ok {
				t.Fatal("wal-index not accepted")
			}
			last := frames[len(frames)-1]
			if x.MxFrame != uint32(len(frames)) || x.FrameChecksum != last.Checksum ||
				x.PageCount != last.Commit || x.Salt != h.Salt || x.PageSize != size || x.BigEndian || x.Backfill != 0 {
				t.Errorf("index %+v\nlast frame %+v of %d", x, last, len(frames))
			}
		})
	}
}

// reorder rewrites a log with checksums in big-endian order, as a machine of
// that kind would have written it.
func reorder(t testing.TB, wal []byte) []byte {
	t.Helper()
	wal = bytes.Clone(wal)
	put := func(off int64, sum [2]uint32) {
		binary.BigEndian.PutUint32(wal[off:], sum[0])
		binary.BigEndian.PutUint32(wal[off+4:], sum[1])
	}
	h, err := sqlitefile.ParseWALHeader(wal)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(wal, sqlitefile.WALMagicBig)
	sum := sqlitefile.Checksum(true, [2]uint32{}, wal[:24])
	put(24, sum)
	for n := uint32(1); n <= h.Frames(int64(len(wal))); n++ {
		off := h.FrameOffset(n)
		sum = sqlitefile.Checksum(true, sum, wal[off:off+8])
		sum = sqlitefile.Checksum(true, sum, wal[off+24:off+int64(h.FrameSize())])
		put(off+16, sum)
	}
	return wal
}

// The C library is the judge of our big-endian checksums: it recovers from a
// log that we rewrote, and finds every row.
func TestBigEndianWAL(t *testing.T) {
	db, wal, _ := realWAL(t, 4096)
	wal = reorder(t, wal)
	h, err := sqlitefile.ParseWALHeader(wal)
	if err != nil || !h.BigEndian {
		t.Fatal(h, err)
	}
	frames := scan(t, sqlitefile.NewWALScanner(bytes.NewReader(wal), h), wal, math.MaxUint32)
	if got := uint32(len(frames)); got != h.Frames(int64(len(wal))) {
		t.Fatalf("%d valid frames", got)
	}
	name := filepath.Join(t.TempDir(), "b.db")
	writeFile(t, name, db)
	writeFile(t, name+"-wal", wal)
	if got := shell(t, name, "PRAGMA integrity_check; SELECT count(*) FROM t;"); got != "ok\n40" {
		t.Errorf("the C library reads %q from the rewritten log", got)
	}
}

// slowChecksum is the algorithm as the documentation states it.
func slowChecksum(big bool, s [2]uint32, data []byte) [2]uint32 {
	var order binary.ByteOrder = binary.LittleEndian
	if big {
		order = binary.BigEndian
	}
	for i := 0; i+8 <= len(data); i += 8 {
		s[0] += order.Uint32(data[i:]) + s[1]
		s[1] += order.Uint32(data[i+4:]) + s[0]
	}
	return s
}

func TestChecksumAtEdges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	for _, n := range []int{0, 7, 8, 9, 16, 24, 31, 32, 33, 40, 64, 72, 4088, 4095, 4096} {
		for _, big := range []bool{false, true} {
			seed := [2]uint32{rnd.Uint32(), rnd.Uint32()}
			if got, want := sqlitefile.Checksum(big, seed, data[:n]), slowChecksum(big, seed, data[:n]); got != want {
				t.Errorf("%d bytes, big %v: %08x, want %08x", n, big, got, want)
			}
		}
	}
}

// makeWAL builds a valid log of n frames of random pages; every third commits.
func makeWAL(size, n int, big bool) []byte {
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(n)))
	be := binary.BigEndian
	magic := uint32(sqlitefile.WALMagicLittle)
	if big {
		magic = sqlitefile.WALMagicBig
	}
	b := be.AppendUint32(nil, magic)
	for _, v := range []uint32{sqlitefile.WALVersion, uint32(size), 3, 0xaaaa, 0xbbbb} {
		b = be.AppendUint32(b, v)
	}
	sum := slowChecksum(big, [2]uint32{}, b)
	b = be.AppendUint32(be.AppendUint32(b, sum[0]), sum[1])
	for i := range n {
		page := make([]byte, size)
		for j := range page {
			page[j] = byte(rnd.Uint32())
		}
		head := be.AppendUint32(nil, uint32(i+1))
		head = be.AppendUint32(head, map[bool]uint32{true: uint32(n)}[i%3 == 2])
		sum = slowChecksum(big, slowChecksum(big, sum, head), page)
		for _, v := range []uint32{0xaaaa, 0xbbbb, sum[0], sum[1]} {
			head = be.AppendUint32(head, v)
		}
		b = append(append(b, head...), page...)
	}
	return b
}

// countingReader counts reads, and can fail beyond an offset.
type countingReader struct {
	b     []byte
	reads int
	end   int64 // highest offset asked for
	fail  int64 // first offset that cannot be read; 0: all can
}

var errDisk = errors.New("disk")

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	r.reads++
	r.end = max(r.end, off+int64(len(p)))
	if r.fail != 0 && off+int64(len(p)) > r.fail {
		n, _ := bytes.NewReader(r.b[:r.fail]).ReadAt(p, off)
		return n, errDisk
	}
	return bytes.NewReader(r.b).ReadAt(p, off)
}

func TestScannerResumesAndReadsOnce(t *testing.T) {
	wal := makeWAL(4096, 200, false)
	h, err := sqlitefile.ParseWALHeader(wal)
	if err != nil {
		t.Fatal(err)
	}
	r := &countingReader{b: wal}
	s := sqlitefile.NewWALScanner(r, h)
	all := scan(t, s, wal, math.MaxUint32)
	if len(all) != 200 {
		t.Fatalf("%d frames", len(all))
	}
	if r.reads > 200*4120/(256<<10)+3 {
		t.Errorf("%d reads for 200 frames", r.reads)
	}
	for _, from := range []uint32{0, 1, 63, 197, 199, 200} {
		sum := h.Checksum
		if from > 0 {
			sum = all[from-1].Checksum
		}
		s.Resume(from, sum)
		r.reads, r.end = 0, 0
		limit := min(from+3, 200)
		if got := scan(t, s, wal, limit); len(got) != int(limit-from) {
			t.Errorf("from %d: %d frames", from, len(got))
		}
		if n, sum := s.Position(); n != limit || sum != all[limit-1].Checksum {
			t.Errorf("from %d: stands at %d", from, n)
		}
		if r.end > h.FrameOffset(limit+1) {
			t.Errorf("from %d: read up to offset %d, beyond frame %d", from, r.end, limit)
		}
		if from < limit && r.reads != 1 {
			t.Errorf("from %d: %d reads for %d frames", from, r.reads, limit-from)
		}
	}
	// A wrong starting sum makes the next frame invalid.
	s.Resume(5, all[5].Checksum)
	if got := scan(t, s, wal, math.MaxUint32); len(got) != 0 {
		t.Errorf("%d frames after a wrong sum", len(got))
	}
}

func TestScannerGoesOnWhenTheLogHasGrown(t *testing.T) {
	wal := makeWAL(512, 9, true)
	h, _ := sqlitefile.ParseWALHeader(wal)
	r := &countingReader{b: wal[:h.FrameOffset(4)+100]}
	s := sqlitefile.NewWALScanner(r, h)
	if got := scan(t, s, wal, math.MaxUint32); len(got) != 3 {
		t.Fatalf("%d frames", len(got))
	}
	r.b = wal
	if got := scan(t, s, wal, math.MaxUint32); len(got) != 6 {
		t.Fatalf("%d frames more", len(got))
	}
}

// A writer may rewrite a frame in place before it commits: what was read of an
// invalid frame must not be believed the next time.
func TestScannerForgetsAnInvalidFrame(t *testing.T) {
	wal := makeWAL(512, 9, false)
	h, _ := sqlitefile.ParseWALHeader(wal)
	wal[h.FrameOffset(4)+99]++
	s := sqlitefile.NewWALScanner(&countingReader{b: wal}, h)
	if got := scan(t, s, wal, math.MaxUint32); len(got) != 3 {
		t.Fatalf("%d frames", len(got))
	}
	wal[h.FrameOffset(4)+99]--
	if got := scan(t, s, wal, math.MaxUint32); len(got) != 6 {
		t.Fatalf("%d frames more", len(got))
	}
}

func TestFrameOffsets(t *testing.T) {
	for _, c := range []struct {
		size int
		n    uint32
		want int64
	}{
		{512, 1, 32},
		{512, 2, 568},
		{65536, 65536, 32 + 65535*65560}, // just beyond 4 GiB
		{65536, 1<<32 - 1, 32 + (1<<32-2)*int64(65560)}, // the last there can be
	} {
		h := sqlitefile.WALHeader{PageSize: c.size}
		if got := h.FrameOffset(c.n); got != c.want {
			t.Errorf("frame %d of %d: offset %d, want %d", c.n, c.size, got, c.want)
		}
		for _, d := range []int64{-1, 0, 1} {
			want := c.n - 1 // what is before frame n
			if d < 0 && want > 0 {
				want--
			}
			if got := h.Frames(c.want + d); got != want {
				t.Errorf("%d bytes: %d frames, want %d", c.want+d, got, want)
			}
		}
	}
}

func TestScannerStops(t *testing.T) {
	const size, frames = 1024, 6
	for what, spoil := range map[string]func(b []byte) []byte{
		"salt":           func(f []byte) []byte { f[11]++; return f },
		"second salt":    func(f []byte) []byte { f[15]++; return f },
		"checksum":       func(f []byte) []byte { f[23]++; return f },
		"first checksum": func(f []byte) []byte { f[16]++; return f },
		"page number":    func(f []byte) []byte { f[3]++; return f },
		"commit size":    func(f []byte) []byte { f[4]++; return f },
		"page":           func(f []byte) []byte { f[len(f)-1]++; return f },
	} {
		for bad := 1; bad <= frames; bad++ {
			wal := makeWAL(size, frames, false)
			h, _ := sqlitefile.ParseWALHeader(wal)
			off := h.FrameOffset(uint32(bad))
			spoil(wal[off : off+int64(h.FrameSize())])
			got := scan(t, sqlitefile.NewWALScanner(bytes.NewReader(wal), h), wal, math.MaxUint32)
			if len(got) != bad-1 {
				t.Errorf("%s of frame %d changed: %d frames", what, bad, len(got))
			}
		}
	}
	// Page number 0, with a checksum that agrees.
	zero := makeWAL(size, 1, false)
	binary.BigEndian.PutUint32(zero[32:], 0)
	zh, _ := sqlitefile.ParseWALHeader(zero)
	sum := slowChecksum(false, slowChecksum(false, zh.Checksum, zero[32:40]), zero[56:])
	binary.BigEndian.PutUint32(zero[48:], sum[0])
	binary.BigEndian.PutUint32(zero[52:], sum[1])
	if got := scan(t, sqlitefile.NewWALScanner(bytes.NewReader(zero), zh), zero, 9); len(got) != 0 {
		t.Errorf("a frame of page 0 is valid")
	}
	// Cut at every length: whole frames only.
	wal := makeWAL(512, 3, false)
	h, _ := sqlitefile.ParseWALHeader(wal)
	for n := sqlitefile.WALHeaderSize; n <= len(wal); n++ {
		got := scan(t, sqlitefile.NewWALScanner(bytes.NewReader(wal[:n]), h), wal, math.MaxUint32)
		if len(got) != int(h.Frames(int64(n))) {
			t.Fatalf("%d bytes: %d frames, Frames says %d", n, len(got), h.Frames(int64(n)))
		}
	}
}

func TestScannerReportsTheReadersError(t *testing.T) {
	wal := makeWAL(512, 5, false)
	h, _ := sqlitefile.ParseWALHeader(wal)
	r := &countingReader{b: wal, fail: h.FrameOffset(3) + 7}
	s := sqlitefile.NewWALScanner(r, h)
	for n := range uint32(2) {
		if got, _, _, err := s.Next(math.MaxUint32); err != nil || got != n+1 {
			t.Fatal(got, err)
		}
	}
	if _, _, _, err := s.Next(math.MaxUint32); !errors.Is(err, errDisk) {
		t.Fatalf("error %v", err)
	}
	r.fail = 0
	if got := scan(t, s, wal, math.MaxUint32); len(got) != 3 {
		t.Errorf("%d frames after the disk came back", len(got))
	}
}

func TestParseWALHeaderRefuses(t *testing.T) {
	good := makeWAL(512, 0, false)
	resum := func(b []byte) []byte {
		sum := slowChecksum(false, [2]uint32{}, b[:24])
		binary.BigEndian.PutUint32(b[24:], sum[0])
		binary.BigEndian.PutUint32(b[28:], sum[1])
		return b
	}
	for what, b := range map[string][]byte{
		"empty":     nil,
		"short":     good[:31],
		"zeros":     make([]byte, 32),
		"magic":     resum(append([]byte{9}, good[1:]...)),
		"version":   resum(append(bytes.Clone(good[:7]), append([]byte{1}, good[8:]...)...)),
		"page size": resum(append(bytes.Clone(good[:10]), append([]byte{3}, good[11:]...)...)),
		"huge page": resum(append(bytes.Clone(good[:8]), append([]byte{128}, good[9:]...)...)),
		"checksum":  append(bytes.Clone(good[:31]), good[31]+1),
		"salt":      append(bytes.Clone(good[:16]), append([]byte{1}, good[17:]...)...),
	} {
		if _, err := sqlitefile.ParseWALHeader(b); !errors.Is(err, sqlitefile.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", what, err)
		}
	}
}

func FuzzWAL(f *testing.F) {
	f.Add(makeWAL(512, 3, false), uint32(3))
	f.Add(makeWAL(512, 2, true), uint32(1))
	f.Add(makeWAL(1024, 1, false)[:900], uint32(9))
	f.Fuzz(func(t *testing.T, b []byte, limit uint32) {
		h, err := sqlitefile.ParseWALHeader(b)
		if err != nil {
			return
		}
		s := sqlitefile.NewWALScanner(bytes.NewReader(b), h)
		sum := h.Checksum
		for i, got := range scan(t, s, b, limit) {
			off := h.FrameOffset(uint32(i + 1))
			sum = slowChecksum(h.BigEndian, sum, b[off:off+8])
			sum = slowChecksum(h.BigEndian, sum, b[off+24:off+int64(h.FrameSize())])
			if sum != got.Checksum || got.Page == 0 || got.Salt != h.Salt {
				t.Fatalf("frame %d should not be valid", i+1)
			}
		}
	})
}

// How fast are checksums? They are on the path of every commit in WAL mode.
func BenchmarkChecksum(b *testing.B) {
	for _, big := range []bool{false, true} {
		for _, size := range []int{512, 4096, 65536} {
			b.Run(fmt.Sprintf("big=%v/%d", big, size), func(b *testing.B) {
				page := make([]byte, size)
				var s [2]uint32
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s = sqlitefile.Checksum(big, s, page)
				}
			})
		}
	}
}

// What does one page of a long log cost to read and check?
func BenchmarkScan(b *testing.B) {
	wal := makeWAL(4096, 1000, false)
	h, _ := sqlitefile.ParseWALHeader(wal)
	r := bytes.NewReader(wal)
	s := sqlitefile.NewWALScanner(r, h)
	b.SetBytes(int64(len(wal)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(r, h)
		for {
			if _, _, _, err := s.Next(math.MaxUint32); err != nil {
				break
			}
		}
	}
}

func TestScannerTrusts(t *testing.T) {
	wal := makeWAL(512, 3, false)
	h, err := sqlitefile.ParseWALHeader(wal)
	if err != nil {
		t.Fatal(err)
	}
	wal[h.FrameOffset(2)+sqlitefile.FrameHeaderSize] ^= 1
	for trust, want := range map[uint32]int{0: 1, 1: 1, 2: 3, 3: 3} {
		s := sqlitefile.NewWALScanner(bytes.NewReader(wal), h)
		s.Trust(trust)
		n := 0
		for {
			if _, _, _, err := s.Next(math.MaxUint32); err != nil {
				break
			}
			n++
		}
		if n != want {
			t.Errorf("trusting %d frames, %d were read, want %d", trust, n, want)
		}
	}
}
