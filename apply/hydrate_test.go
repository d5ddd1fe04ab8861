package apply_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// occupy puts files and links around a trail at which outputs are refused.
func occupy(t *testing.T, dir string) {
	t.Helper()
	home := filepath.Dir(dir)
	for name, content := range map[string]string{
		"app.db": "live", "exists.db": "old", "wal.db": "old", "wal.db-wal": "frames",
		"lonely.db-wal": "frames", "hot.db": "old", "hot.db-journal": "pages",
	} {
		write(t, filepath.Join(home, name), []byte(content))
	}
	for name, to := range map[string]string{"link.db": filepath.Join(home, "app.db"), "linkdir": dir} {
		if err := os.Symlink(to, filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedOutputs(t *testing.T) {
	b, images := sample(t, 6)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	home := filepath.Dir(b.dir)
	live := strings.TrimSuffix(b.dir, "-pagetrail")
	occupy(t, b.dir)
	tests := []struct {
		name  string
		force bool
		is    error
		says  string
	}{
		{"exists.db", false, fs.ErrExist, "it exists"},
		{"app.db", false, fs.ErrExist, "take the database itself back with pagetrail rewind"},
		{"app.db", true, fs.ErrExist, "take the database itself back with pagetrail rewind"},
		{"link.db", true, fs.ErrExist, "take the database itself back with pagetrail rewind"},
		{"wal.db", true, fs.ErrExist, "wal.db-wal beside it"},
		{"lonely.db", false, fs.ErrExist, "lonely.db-wal beside it"},
		{"hot.db", true, fs.ErrExist, "hot.db-journal beside it"},
		{"app.db-pagetrail/out.db", true, fs.ErrInvalid, "inside the trail"},
		{"app.db-pagetrail/identity", true, fs.ErrInvalid, "inside the trail"},
		{"linkdir/out.db", true, fs.ErrInvalid, "inside the trail"},
		{"app.db-pagetrail", true, fs.ErrInvalid, "inside the trail"},
		{".", true, fs.ErrInvalid, "is a directory"},
		{"missing/out.db", false, fs.ErrNotExist, "cannot be made"},
	}
	for _, test := range tests {
		out := filepath.Join(home, test.name)
		before := names(t, home)
		_, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{Force: test.force})
		var refused *apply.OutputError
		if !errors.As(err, &refused) || !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s (force %v): %v; want %q, %v", test.name, test.force, err, test.says, test.is)
		}
		if after := names(t, home); len(after) != len(before) {
			t.Errorf("%s: directory was %q, is %q", test.name, before, after)
		}
	}
	if got, _ := os.ReadFile(live); string(got) != "live" {
		t.Errorf("the live database is %q", got)
	}
	out := filepath.Join(home, "exists.db")
	if _, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(out); !bytes.Equal(got, images[6].bytes()) {
		t.Error("forced output is not the latest state")
	}
}

// TestLostDatabase restores to the trail's own database, which is gone.
func TestLostDatabase(t *testing.T) {
	b, images := sample(t, 6)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	got, _ := hydrated(t, trail, strings.TrimSuffix(b.dir, "-pagetrail"), apply.Latest())
	if !bytes.Equal(got, images[6].bytes()) {
		t.Error("not the latest state")
	}
}

// TestModes gives the output the mode of the trail, or of what it replaces.
func TestModes(t *testing.T) {
	b, _ := sample(t, 3)
	b.close()
	if err := os.Chmod(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	trail := openTrail(t, b.dir)
	defer trail.Close()
	out := filepath.Join(t.TempDir(), "out.db")
	for _, test := range []struct {
		o    apply.Options
		want fs.FileMode
	}{
		{apply.Options{}, 0o600},
		{apply.Options{Mode: 0o640, Force: true}, 0o640},
		{apply.Options{Force: true}, 0o640},
	} {
		if _, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &test.o); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != test.want {
			t.Errorf("options %+v: mode %v, want %v", test.o, got, test.want)
		}
	}
}

func TestTargets(t *testing.T) {
	b, images := sample(t, 10)
	if _, err := b.w.AddPoint("deploy", b.times[9]); err != nil {
		t.Fatal(err)
	}
	next := images[10].clone()
	next.pages[0] = filled(512, 1, '!')
	b.commit(next, journal.Ordinary)
	images = append(images, next)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	out := filepath.Join(t.TempDir(), "out.db")
	for _, test := range []struct {
		target apply.Target
		want   journal.TXID
		next   journal.TXID
	}{
		{apply.Latest(), 11, 0},
		{apply.Target{}, 11, 0},
		{apply.AtTXID(0), 0, 1},
		{apply.AtTXID(5), 5, 6},
		{apply.AtTXID(11), 11, 0},
		{apply.AtPoint("deploy"), 10, 11},
		{apply.AtTime(b.times[2]), 3, 4},
		{apply.AtTime(b.times[2] + 999), 3, 4},
		{apply.AtTime(b.times[10] + 1e12), 11, 0},
	} {
		got, result := hydrated(t, trail, out, test.target)
		if result.Tx.TXID != test.want || !bytes.Equal(got, images[test.want].bytes()) {
			t.Errorf("%v is %d, want %d", test.target, result.Tx.TXID, test.want)
		}
		if (result.Next == nil) != (test.next == 0) || result.Next != nil && result.Next.TXID != test.next {
			t.Errorf("%v: next is %+v, want %d", test.target, result.Next, test.next)
		}
		if result.Size != int64(len(got)) || result.Transactions != uint64(test.want) {
			t.Errorf("%v: result %+v", test.target, result)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	b, _ := sample(t, 10)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	dir := t.TempDir()
	for _, test := range []struct {
		target apply.Target
		is     error
		says   string
	}{
		{apply.AtTXID(11), journal.ErrRange, "the last is transaction 10 of 2026-"},
		{apply.AtTXID(1 << 63), journal.ErrRange, "the last is transaction 10"},
		{apply.AtTime(b.times[0] - 1), journal.ErrRange, "the first is transaction 1 of 2026-"},
		{apply.AtPoint("nowhere"), journal.ErrNotFound, "nowhere"},
	} {
		_, err := apply.Hydrate(context.Background(), trail, filepath.Join(dir, "out.db"), test.target, nil)
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v; want %q", test.target, err, test.says)
		}
		var out *apply.RangeError
		if test.is == journal.ErrRange && !errors.As(err, &out) {
			t.Errorf("%v: %T is no *RangeError", test.target, err)
		}
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

// TestWrongSum plants transactions whose checksum is not that of their pages,
// in records that are otherwise sound.
func TestWrongSum(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		b, images := sample(t, 5)
		next := images[5].clone()
		next.pages[0] = filled(512, 1, '?')
		wrong := next.sum().Add(diff.Sum{Hi: 1, Lo: 1 << 20})
		if sealed {
			wrong.Lo++ // the cut must differ too
		}
		b.commitWith(next, journal.Tx{Sum: wrong})
		if sealed {
			b.rotate(true)
		}
		b.close()
		trail := openTrail(t, b.dir)
		dir := t.TempDir()
		_, err := apply.Hydrate(context.Background(), trail, filepath.Join(dir, "out.db"), apply.Latest(), nil)
		var mismatch *apply.MismatchError
		if !errors.As(err, &mismatch) || mismatch.TXID != 6 || !errors.Is(err, journal.ErrDiverged) {
			t.Errorf("sealed %v: %v", sealed, err)
		} else if mismatch.Got != next.sum() {
			t.Errorf("sealed %v: got %v, want %v", sealed, mismatch.Got, next.sum())
		}
		if left := names(t, dir); len(left) != 0 {
			t.Errorf("left %q", left)
		}
		report, err := apply.Verify(context.Background(), trail, nil)
		if d := report.Divergence(); err == nil || d == nil || d.TXID != 6 {
			t.Errorf("sealed %v: verify says %v, %+v", sealed, err, report)
		}
		if len(report.Spans) != 1 || report.Spans[0].Last != 5 {
			t.Errorf("sealed %v: spans %+v", sealed, report.Spans)
		}
		trail.Close()
	}
}

func TestHydrateTo(t *testing.T) {
	b, images := sample(t, 10)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	o := &apply.Options{TempDir: t.TempDir()}
	var got bytes.Buffer
	result, err := apply.HydrateTo(context.Background(), trail, &got, apply.AtTXID(7), o)
	if err != nil || result.Tx.TXID != 7 || !bytes.Equal(got.Bytes(), images[7].bytes()) {
		t.Errorf("streamed %d bytes of transaction %d: %v", got.Len(), result.Tx.TXID, err)
	}
	broken := errors.New("pipe closed")
	_, err = apply.HydrateTo(context.Background(), trail, writerFunc(func([]byte) (int, error) { return 0, broken }), apply.Latest(), o)
	if !errors.Is(err, broken) {
		t.Errorf("a broken pipe: %v", err)
	}
	_, err = apply.HydrateTo(context.Background(), trail, iotest.TruncateWriter(io.Discard, 10), apply.Latest(), o)
	if err != nil {
		t.Errorf("a writer that swallows: %v", err)
	}
	if left := names(t, o.TempDir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestProgress sees every phase come to its end, with growing numbers.
func TestProgress(t *testing.T) {
	b, images := sample(t, 10)
	b.base(images[10], false)
	next := images[10].clone()
	next.pages[0] = filled(512, 1, '!')
	b.commit(next, journal.Ordinary)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	last := map[apply.Phase]apply.Progress{}
	o := &apply.Options{Progress: func(p apply.Progress) {
		if p.Bytes < last[p.Phase].Bytes || p.Transactions < last[p.Phase].Transactions {
			t.Errorf("%+v after %+v", p, last[p.Phase])
		}
		last[p.Phase] = p
	}}
	if _, err := apply.HydrateTo(context.Background(), trail, io.Discard, apply.Latest(), o); err != nil {
		t.Fatal(err)
	}
	size := int64(len(next.bytes()))
	for _, phase := range []apply.Phase{apply.PhaseBase, apply.PhaseCheck, apply.PhaseCopy} {
		if p := last[phase]; p.Bytes != size || p.BytesTotal != size {
			t.Errorf("%s ended with %+v, size %d", phase, p, size)
		}
	}
	if p := last[apply.PhaseReplay]; p.Transactions != 1 || p.TransactionsTotal != 1 {
		t.Errorf("replay ended with %+v", p)
	}
}

// TestNearestBase replays from the last base at or before the target, and
// says so.
func TestNearestBase(t *testing.T) {
	b, images := sample(t, 10)
	for i := range 3 {
		b.base(b.state, false)
		next := mutated(b.state, byte('0'+i))
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	out := filepath.Join(t.TempDir(), "out.db")
	for id, want := range map[journal.TXID]journal.TXID{9: 0, 10: 10, 11: 11, 12: 12, 13: 12} {
		got, result := hydrated(t, trail, out, apply.AtTXID(id))
		if !bytes.Equal(got, images[id].bytes()) {
			t.Errorf("transaction %d came out wrong", id)
		}
		if result.Start() != want || result.Transactions != uint64(id-want) {
			t.Errorf("transaction %d: %d transactions replayed from %d, want from %d", id, result.Transactions, result.Start(), want)
		}
		if result.Bytes <= 0 && id > 0 {
			t.Errorf("transaction %d: plan to read %d bytes", id, result.Bytes)
		}
	}
}

// TestPruned restores from a trail whose beginning is gone: what lies before
// its first base is there to read, and cannot be restored.
func TestPruned(t *testing.T) {
	b, images := sample(t, 4)
	b.rotate(true)
	next := images[4]
	for i := range 6 {
		if i == 2 {
			b.base(next, false)
		}
		next = mutated(next, byte('0'+i))
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	b.close()
	if err := os.Remove(filepath.Join(b.dir, "0000000000000001.seg")); err != nil {
		t.Fatal(err)
	}
	trail := openTrail(t, b.dir)
	defer trail.Close()
	out := filepath.Join(t.TempDir(), "out.db")
	for id := journal.TXID(0); id <= 10; id++ {
		if id >= 6 {
			if got, _ := hydrated(t, trail, out, apply.AtTXID(id)); !bytes.Equal(got, images[id].bytes()) {
				t.Errorf("transaction %d came out wrong", id)
			}
			continue
		}
		_, err := apply.Hydrate(context.Background(), trail, out, apply.AtTXID(id), nil)
		if !errors.Is(err, journal.ErrRange) || !strings.Contains(err.Error(), "the first is transaction 6 of 2026-") {
			t.Errorf("transaction %d: %v", id, err)
		}
	}
	for i, at := range b.times {
		_, err := apply.Resolve(context.Background(), trail, apply.AtTime(at))
		if id := i + 1; (err == nil) != (id >= 6) {
			t.Errorf("time of transaction %d: %v", id, err)
		}
	}
	if report, err := apply.Verify(context.Background(), trail, nil); err != nil || len(report.Spans) != 1 || report.Spans[0].First != 6 {
		t.Errorf("verify: %v, %+v", err, report)
	}
}
