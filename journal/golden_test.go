package journal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

var update = flag.Bool("update", false, "write the golden trails of the current version anew")

// verdict is what verdicts.json says of one directory.
type verdict struct {
	Error     string          `json:"error,omitempty"` // the sentinel's text, when opening or verifying fails
	File      string          `json:"file,omitempty"`  // which the error names
	Last      journal.TXID    `json:"last"`            // last committed transaction, when it opens
	Torn      bool            `json:"torn,omitempty"`
	Undecided journal.TXID    `json:"undecided,omitempty"`
	Points    []journal.Point `json:"points,omitempty"`
	Bases     []journal.TXID  `json:"bases,omitempty"`

	Cuts []cutVerdict `json:"cuts,omitempty"`
}

// cutVerdict is that of a cut, as a trail of its own.
type cutVerdict struct {
	Dir   string       `json:"dir"`
	After journal.TXID `json:"after"`
	verdict
}

var sentinels = []error{
	journal.ErrCorrupt, journal.ErrTorn, journal.ErrGap, journal.ErrDiverged, journal.ErrVersion,
	journal.ErrFlag, journal.ErrForeign, journal.ErrNotFound,
}

// judge opens, reads and verifies a trail.
func judge(t testing.TB, dir string) verdict {
	t.Helper()
	var v verdict
	tr, err := journal.Open(dir, nil)
	if err == nil {
		defer tr.Close()
		last, lerr := tr.Last()
		if lerr != nil {
			t.Fatal(lerr)
		}
		v.Last, v.Torn = last.TXID, tr.Torn() != nil
		if u := tr.Undecided(); u != nil {
			v.Undecided = u.TXID
		}
		_, err = tr.Verify(t.Context(), nil)
	}
	if err == nil {
		v.Points, err = tr.Points()
	}
	if err == nil {
		bases, berr := tr.Bases()
		for _, b := range bases {
			v.Bases = append(v.Bases, b.TXID)
		}
		err = berr
	}
	if err == nil {
		cuts, cerr := tr.Cuts()
		for _, c := range cuts {
			v.Cuts = append(v.Cuts, cutVerdict{filepath.Base(c.Dir), c.After, judge(t, c.Dir)})
		}
		err = cerr
	}
	if err == nil && len(v.Bases) == 0 {
		segments, serr := tr.Segments()
		if serr != nil {
			t.Fatal(serr)
		}
		wantRecords(t, tr, segments[0].First, v.Last)
	}
	if err != nil {
		for _, s := range sentinels {
			if errors.Is(err, s) {
				v.Error = s.Error()
			}
		}
		if e, ok := errors.AsType[*journal.Error](err); ok {
			v.File = filepath.Base(e.Path)
		}
		if v.Error == "" {
			t.Fatalf("%s: %v is none of the errors", dir, err)
		}
	}
	return v
}

// TestGolden opens the trails that each version's release wrote, whole and damaged, and compares the verdicts.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t, filepath.Join("testdata", "v1"))
	}
	versions, err := filepath.Glob(filepath.Join("testdata", "v*"))
	if err != nil || len(versions) == 0 {
		t.Fatal("no golden trails", err)
	}
	for _, version := range versions {
		var verdicts map[string]verdict
		if err := json.Unmarshal(readFile(t, filepath.Join(version, "verdicts.json")), &verdicts); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(version)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries)-1 != len(verdicts) {
			t.Errorf("%s: %d trails, %d verdicts", version, len(entries)-1, len(verdicts))
		}
		for name, want := range verdicts {
			t.Run(filepath.Base(version)+"/"+name, func(t *testing.T) {
				if got := judge(t, filepath.Join(version, name)); !reflect.DeepEqual(got, want) {
					t.Errorf("%+v, want %+v", got, want)
				}
			})
		}
	}
}

// goldenWriter makes a trail with a known database ID and takes its lock.
func goldenWriter(t *testing.T, dir string) *journal.Writer {
	t.Helper()
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Database: exampleID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	return w
}

// goldenWhole makes a trail of two sealed segments (1, 5), a rotated one (8), a tail (10) and a base at 4.
func goldenWhole(t *testing.T, dir string) {
	w := goldenWriter(t, dir)
	add(t, w, 3)
	flush(t, w)
	if _, err := w.AddPoint("before the base", 5); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	rotate(t, w)
	add(t, w, 3)
	flush(t, w)
	rotate(t, w)
	seal(t, dir, 2)
	add(t, w, 1)
	flush(t, w)
	prepare(t, w)
	if err := w.Confirm(); err != nil {
		t.Fatal(err)
	}
	rotate(t, w)
	add(t, w, 1)
	flush(t, w)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	add(t, w, 2)
	flush(t, w)
	if _, err := w.AddPoint("naïve", 7); err != nil {
		t.Fatal(err)
	}
	prepare(t, w)
	flush(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	removeLocks(t, dir)
}

// removeLocks removes the lock files, which are made when needed.
func removeLocks(t *testing.T, dir string) {
	names, err := filepath.Glob(filepath.Join(dir, "lock*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// goldenBase makes a trail that begins with a base.
func goldenBase(t *testing.T, dir string) {
	w := goldenWriter(t, dir)
	b, err := w.CreateBase(512, 1, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WritePages(1, bytes.Repeat([]byte("base"), 128)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	tx := journal.Tx{Kind: journal.Base, PageSize: 512, PageCount: 1, Sum: b.Sum(), Time: 1000}
	if _, err := w.Add(tx, diff.Body{}, 0, false); err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	removeLocks(t, dir)
}

// goldenCommits has a writer for each of three transactions, which syncs before it confirms.
func goldenCommits(t *testing.T, dir string) {
	t.Helper()
	for i := range 3 {
		w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: i == 0, Database: journal.DatabaseID{15: 3}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Lock(); err != nil {
			t.Fatal(err)
		}
		prepare(t, w)
		flush(t, w)
		if err := errors.Join(w.Sync(), w.Confirm(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	removeLocks(t, dir)
}

// goldenCut cuts the records after 10 off a copy of a trail.
func goldenCut(t *testing.T, from, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	w := lockedWriter(t, dir)
	if err := errors.Join(w.CutAfter(10), w.Close()); err != nil {
		t.Fatal(err)
	}
	cuts, err := filepath.Glob(filepath.Join(dir, "cut-*"))
	if err != nil || len(cuts) != 1 {
		t.Fatal(cuts, err)
	}
	if err := os.Rename(cuts[0], filepath.Join(dir, "cut-1700000000000000")); err != nil {
		t.Fatal(err)
	}
	removeLocks(t, dir)
}

// alter changes a file of a copy of a trail.
func alter(t *testing.T, from, to, file string, change func([]byte) []byte) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(to, file)
	if change == nil {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	data := []byte{}
	if _, err := os.Stat(path); err == nil {
		data = readFile(t, path)
	}
	writeFile(t, path, change(data))
}

// set returns a change of one byte.
func set(at int, value byte) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] = value
		return b
	}
}

// flipped returns a change of one bit.
func flipped(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x10
		return b
	}
}

// then makes changes in order.
func then(changes ...func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte {
		for _, c := range changes {
			b = c(b)
		}
		return b
	}
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// headerCRC makes the checksum of the file's header right.
func headerCRC(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[124:], crc32c(b[:124]))
	return b
}

// blockCRC makes the checksums of the first block right.
func blockCRC(b []byte) []byte {
	n := binary.LittleEndian.Uint32(b[132:])
	binary.LittleEndian.PutUint32(b[152:], crc32c(b[160:160+n]))
	binary.LittleEndian.PutUint32(b[156:], crc32c(b[128:156]))
	return b
}

// anotherBlock has the first restore point say that it was written after a block with another checksum.
func anotherBlock(b []byte) []byte {
	at := 128
	for b[at] != 'N' {
		at += 32 + int(binary.LittleEndian.Uint32(b[at+4:]))
	}
	b[at+16] ^= 1
	binary.LittleEndian.PutUint32(b[at+28:], crc32c(b[at:at+28]))
	return b
}

// ofPages has the record of the first block, which is of no pages, patch one.
func ofPages(b []byte) []byte {
	h := b[168 : 168+int(b[160])]
	copy(h[len(h)-20:], []byte{1, 2, 4, 0})
	one := bytes.Join([][]byte{b[:160], {byte(len(h)), 0, 2, 0, 4, 0, 0, 0}, h, {1, 3}, {0xbf, 0xe1, 3, 'a'}}, nil)
	binary.LittleEndian.PutUint32(one[132:], uint32(len(one)-160))
	binary.LittleEndian.PutUint32(one[148:], uint32(len(h)+6))
	return blockCRC(one)
}

// damage is each damaged golden trail: what is changed in which file of the whole one.
var damage = []struct {
	name, file string
	change     func([]byte) []byte
}{
	{"tail-cut-in-header", "000000000000000a.seg", func(b []byte) []byte { return b[:100] }},
	{"tail-cut-in-block", "000000000000000a.seg", func(b []byte) []byte { return b[:len(b)-5] }},
	{"tail-garbage", "000000000000000a.seg", func(b []byte) []byte { return append(b, "garbage behind the last block, not a block"...) }},
	{"tail-flip-synced", "000000000000000a.seg", flipped(170)},
	{"tail-flip-unsynced", "000000000000000a.seg", flipped(-40)},
	{"tail-version-2", "000000000000000a.seg", then(set(8, 2), headerCRC)},
	{"tail-header-flag", "000000000000000a.seg", then(set(10, 2), headerCRC)},
	{"tail-header-reserved", "000000000000000a.seg", then(set(110, 1), headerCRC)},
	{"tail-header-chain", "000000000000000a.seg", then(set(72, 1), headerCRC)},
	{"tail-foreign", "000000000000000a.seg", then(set(16, 0xff), headerCRC)},
	{"tail-later-timeline", "000000000000000a.seg", then(set(32, 2), headerCRC)},
	{"tail-wrong-name", "000000000000000a.seg", then(set(40, 11), headerCRC)},
	{"tail-sum-before", "000000000000000a.seg", then(flipped(48), headerCRC)},
	{"tail-block-kind", "000000000000000a.seg", then(set(128, 'X'), blockCRC)},
	{"tail-block-flag", "000000000000000a.seg", then(set(130, 2), blockCRC)},
	{"tail-block-codec", "000000000000000a.seg", then(set(129, 2), blockCRC)},
	{"tail-block-sum-before", "000000000000000a.seg", then(flipped(168), blockCRC)},
	{"tail-point-of-another-block", "000000000000000a.seg", anotherBlock},
	{"rotated-cut", "0000000000000008.seg", func(b []byte) []byte { return b[:len(b)-32] }},
	{"rotated-flip", "0000000000000008.seg", flipped(200)},
	{"sealed-flip-header", "0000000000000005.seg", flipped(60)},
	{"sealed-flip-block", "0000000000000005.seg", flipped(250)},
	{"sealed-flip-chain", "0000000000000005.seg", then(flipped(165), blockCRC)},
	{"sealed-flip-footer", "0000000000000005.seg", flipped(-80)},
	{"sealed-flip-trailer", "0000000000000005.seg", flipped(-30)},
	{"sealed-cut", "0000000000000005.seg", func(b []byte) []byte { return b[:len(b)-1] }},
	{"sealed-empty", "0000000000000005.seg", func(b []byte) []byte { return nil }},
	{"sealed-missing", "0000000000000005.seg", nil},
	{"first-missing", "0000000000000001.seg", nil},
	{"identity-missing", "identity", nil},
	{"identity-version-2", "identity", func([]byte) []byte { return []byte(`{"format":2,"something":"new"}`) }},
	{"identity-field", "identity", func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"new":1,`), 1) }},
	{"identity-cut", "identity", func(b []byte) []byte { return b[:20] }},
	{"base-of-no-record", "00000000000000ff.base", func([]byte) []byte { return []byte("not yet whole") }},
	{"not-ours", "notes.txt", func([]byte) []byte { return []byte("left alone") }},
}

// writeGolden writes the golden trails of the current version.
func writeGolden(t *testing.T, root string) {
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(root, "whole")
	goldenWhole(t, whole)
	for _, d := range damage {
		alter(t, whole, filepath.Join(root, d.name), d.file, d.change)
	}
	goldenCut(t, whole, filepath.Join(root, "cut"))
	commits := filepath.Join(root, "commits")
	goldenCommits(t, commits)
	alter(t, commits, filepath.Join(root, "commits-flip"), firstSegment, flipped(200))
	alter(t, commits, filepath.Join(root, "commits-flip-mark"), firstSegment, flipped(-20))
	base := filepath.Join(root, "base")
	goldenBase(t, base)
	alter(t, base, filepath.Join(root, "base-flip"), "0000000000000001.base", flipped(200))
	alter(t, base, filepath.Join(root, "base-flip-header"), "0000000000000001.base", flipped(50))
	alter(t, base, filepath.Join(root, "base-record-of-pages"), "0000000000000001.seg", ofPages)
	alter(t, base, filepath.Join(root, "base-cut"), "0000000000000001.base", func(b []byte) []byte { return b[:len(b)-1] })
	verdicts := map[string]verdict{}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		verdicts[e.Name()] = judge(t, filepath.Join(root, e.Name()))
	}
	data, err := json.MarshalIndent(verdicts, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(root, "verdicts.json"), append(data, '\n'))
}
