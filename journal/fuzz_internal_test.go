package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// These tests are white-box because checksums would keep a fuzzer out of the decoders: here they are set right
// after each mutation.

// fuzzMemory is what a decoder may allocate over all for a small input: a few blocks at their limits.
const fuzzMemory = 8*maxStreams + 64<<20

// bounded runs f and fails when it allocated more than any input may make it.
func bounded(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > fuzzMemory {
		t.Fatalf("%d bytes allocated", n)
	}
}

// setChecksums makes the checksums, chains and lengths of a file right, as far as it can be followed.
func setChecksums(data []byte, magic [8]byte) {
	if len(data) < fileHeaderSize {
		return
	}
	copy(data, magic[:])
	le.PutUint32(data[124:], crcOf(data[:124]))
	sealed := magic == baseMagic || data[10]&flagSealed != 0
	var chain chainHash
	if magic == segmentMagic {
		chain = sha256.Sum256(data[:fileHeaderSize])
	}
	at := fileHeaderSize
	for at+blockHeaderSize <= len(data) {
		b := data[at:]
		n := int(le.Uint32(b[4:]))
		if n > len(b)-blockHeaderSize {
			break
		}
		payload := b[blockHeaderSize : blockHeaderSize+n]
		if sealed && n >= chainSize {
			copy(payload, chain[:])
		}
		if b[0] == blockFooter && magic == baseMagic && n >= 2*chainSize && b[1] == codecRaw {
			h := sha256.Sum256(data[:fileHeaderSize])
			copy(payload[chainSize:], h[:])
		}
		le.PutUint32(b[24:], crcOf(payload))
		le.PutUint32(b[28:], crcOf(b[:28]))
		chain = sha256.Sum256(b[:blockHeaderSize+n])
		if b[0] == blockFooter && len(data)-at-blockHeaderSize-n == trailerSize {
			t := trailer{off: int64(at), length: uint32(blockHeaderSize + n)}
			t.append(data[:at+blockHeaderSize+n])
			return
		}
		at += blockHeaderSize + n
	}
}

func FuzzBlockHeader(f *testing.F) {
	var b [blockHeaderSize]byte
	for _, kind := range []byte("TPCNEBFX") {
		h := blockHeader{kind: kind, first: 7, records: 3, length: 100, decoded: 90}
		h.put(b[:])
		f.Add(bytes.Clone(b[:]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < blockHeaderSize {
			return
		}
		data = bytes.Clone(data[:blockHeaderSize])
		le.PutUint32(data[28:], crcOf(data[:28]))
		var h blockHeader
		if h.parse(data) != nil {
			return
		}
		h.put(b[:])
		if !bytes.Equal(b[:], data) {
			t.Fatalf("% x read and written is % x", data, b)
		}
	})
}

// TestRecordsRefused reads records that no writer makes.
func TestRecordsRefused(t *testing.T) {
	before := state{txid: 4, time: 100, pageSize: 512, pageCount: 5}
	for _, c := range []struct {
		name string
		tx   Tx
		ps   parts
		body diff.Body
		full bool
	}{
		{"an origin without the sum", Tx{Time: 101, PageSize: 512, Origin: Origin{ChangeCounter: 6}}, parts{}, diff.Body{}, false},
		{"a base of pages", Tx{Time: 101, PageSize: 512, Kind: Base}, parts{}, diff.Body{Pages: []byte{1, 3}}, true},
		{"a base of groups", Tx{Time: 101, PageSize: 512, Kind: Base}, parts{1, 2, 3}, diff.Body{}, true},
	} {
		var r rawRecord
		fs := fields{b: appendRecord(nil, before, &c.tx, c.ps, c.body, uint32(len(c.body.Pages)/2), c.full)}
		if err := r.parse(&fs, &before); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	before := state{txid: 4, time: 100, pageSize: 512, pageCount: 5}
	for _, tx := range []Tx{
		{Time: 101, PageSize: 512, PageCount: 5},
		{Time: 1 << 40, Kind: Base, PageSize: 4096, PageCount: 1, Note: "note", Super: "super"},
		{Time: 102, PageSize: 512, PageCount: 9, Origin: Origin{WAL: true, Salt: [2]uint32{1, 2}, Frame: 3, Checksum: [2]uint32{4, 5}, ChangeCounter: 6}},
	} {
		for _, full := range []bool{false, true} {
			f.Add(appendRecord(nil, before, &tx, parts{}, diff.Body{}, 0, full))
			f.Add(appendRecord(nil, before, &tx, parts{1, 2, 3}, diff.Body{Pages: []byte{1}}, 1, full))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r rawRecord
		fs := fields{b: data}
		if r.parse(&fs, &before) != nil {
			return
		}
		tx := r.tx()
		body := diff.Body{Pages: make([]byte, r.p), Tokens: make([]byte, r.t), Literals: make([]byte, r.l)}
		got := appendRecord(nil, before, &tx, r.parts, body, r.pages, r.fullSum)
		if want := data[:len(data)-len(fs.b)]; !bytes.Equal(got, want) {
			t.Fatalf("% x read and written is % x", want, got)
		}
	})
}

func FuzzStreams(f *testing.F) {
	var scratch []byte
	text := bytes.Repeat([]byte("text "), 30)
	for _, level := range []compression{compressNot, compressDefault, compressBest} {
		b, _ := appendStreams(nil, [][]byte{text, {1}, nil, text}, level, &scratch)
		f.Add(b, uint32(2*len(text)+1))
	}
	f.Fuzz(func(t *testing.T, data []byte, decoded uint32) {
		bounded(t, func() {
			for codec := range byte(2) {
				for n := 3; n <= 4; n++ {
					var s streamReader
					h := blockHeader{kind: blockTx, codec: codec, decoded: min(decoded, maxStreams)}
					_, _ = s.decode(&h, data, n)
				}
			}
		})
	})
}

func FuzzFooter(f *testing.F) {
	hdr := fileHeader{magic: segmentMagic, first: 5, before: state{txid: 4, time: 10, pageSize: 512, pageCount: 1}}
	var x indexer
	x.begin(&hdr)
	x.unit(fileHeaderSize)
	r := rawRecord{after: state{txid: 5, time: 20, pageSize: 512, pageCount: 3}, kind: Base}
	if err := x.record(&r, diff.Body{}); err != nil {
		f.Fatal(err)
	}
	f.Add(x.encode())
	x.f.points = []Point{{Name: "p", TXID: 5, Time: 1}}
	x.runs = []pageRun{{1, 4, 0}, {9, 10, 0}}
	f.Add(x.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, func() {
			got, err := parseFooter(data, &hdr, 1<<20)
			if err != nil {
				return
			}
			var index []byte
			if got.pages != nil {
				index = got.pages.b
				for _, page := range []uint32{0, 1, 2, 5, 1000, maxPageCount} {
					_, _ = got.pages.find(page)
				}
			}
			if again := got.append(nil, index); !bytes.Equal(again, data) {
				t.Fatalf("% x read and written is % x", data, again)
			}
		})
	})
}

// seedTrail is a trail with all that there is: sealed, rotated and growing segments, and a base.
func seedTrail(f testing.TB) string {
	f.Helper()
	must := func(err error) {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
	}
	dir := filepath.Join(f.TempDir(), "trail")
	w, err := OpenWriter(dir, &WriterOptions{Create: true, Database: DatabaseID{1}})
	must(err)
	defer w.Close()
	_, err = w.Lock()
	must(err)
	var e diff.Encoder
	for i := range 3 {
		b, n := e.Encode(diff.Body{}, 512, []diff.Page{{No: uint32(i + 1), New: bytes.Repeat([]byte{byte(i)}, 512)}})
		must(w.AddPart(b, n))
		_, err = w.Add(Tx{Time: 5, PageSize: 512, PageCount: 4, Note: "n"}, b, n, false)
		must(err)
		_, err = w.Add(Tx{PageSize: 512, PageCount: uint32(i), Origin: Origin{ChangeCounter: 3}}, diff.Body{}, 0, false)
		must(err)
		_, err = w.AddPoint("point", 6)
		must(err)
		bw, err := w.CreateBase(512, 2, 7, true)
		must(err)
		must(bw.WritePages(1, make([]byte, 1024)))
		_, err = bw.Commit()
		must(err)
		_, err = w.Add(Tx{Kind: Base, PageSize: 512, PageCount: 2, Sum: bw.Sum()}, diff.Body{}, 0, true)
		must(err)
		if i < 2 {
			must(w.Confirm())
			must(w.Rotate())
		} else {
			must(w.Flush())
		}
		if i == 0 {
			_, err = Seal(f.Context(), dir, nil)
			must(err)
		}
	}
	return dir
}

func seedFiles(f *testing.F, pattern string) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join(seedTrail(f), pattern))
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func FuzzSegment(f *testing.F) {
	seedFiles(f, "*.seg")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fix := range []bool{false, true} {
			data := bytes.Clone(data)
			if fix {
				setChecksums(data, segmentMagic)
			}
			bounded(t, func() {
				s, err := NewSegmentReader(bytes.NewReader(data), int64(len(data)), "fuzzed")
				if err != nil {
					return
				}
				last := s.Before().TXID
				for r, err := range s.Records(t.Context(), 0) {
					if err != nil {
						break
					}
					if r.TXID != last+1 {
						t.Fatalf("%d after %d", r.TXID, last)
					}
					last = r.TXID
					for _, err := range r.Groups() {
						if err != nil {
							break
						}
					}
				}
				for page := range uint32(10) {
					_, _, _ = s.BlocksOf(page)
				}
				if err := s.Verify(t.Context()); err == nil && last != s.Info().Last {
					t.Fatalf("verified, and read to %d of %d", last, s.Info().Last)
				}
			})
		}
	})
}

func FuzzBase(f *testing.F) {
	seedFiles(f, "*.base")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fix := range []bool{false, true} {
			data := bytes.Clone(data)
			if fix {
				setChecksums(data, baseMagic)
			}
			bounded(t, func() {
				b, err := NewBaseReader(bytes.NewReader(data), int64(len(data)), "fuzzed")
				if err != nil {
					return
				}
				next, lock := uint32(1), diff.LockPage(b.Info().PageSize)
				for i := range b.Blocks() {
					if next == lock {
						next++
					}
					first, pages, err := b.ReadBlock(i, nil)
					if err != nil {
						return
					}
					if first != next || b.BlockOf(first) != i {
						t.Fatalf("block %d begins with page %d, want %d", i, first, next)
					}
					next += uint32(len(pages) / b.Info().PageSize)
				}
				_ = b.verify(t.Context(), func(int64) {})
			})
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"database":"000102030405060708090a0b0c0d0e0f","timeline":1}`))
	f.Add([]byte(`{"format":1,"database":"000102030405060708090a0b0c0d0e0f","timeline":2,` +
		`"parent":{"database":"000102030405060708090a0b0c0d0e0f","timeline":1,"txid":9,"sum":"000102030405060708090a0b0c0d0e0f"}}`))
	f.Add([]byte(`{"format":2,"new":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := ParseIdentity(data)
		if err != nil {
			return
		}
		text, err := id.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		if second, _ := again.Encode(); !bytes.Equal(text, second) {
			t.Fatalf("%s and %s", text, second)
		}
	})
}
