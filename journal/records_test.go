package journal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// firstError reads from a TXID on and returns the records read before the first error, and the error.
func firstError(t *testing.T, tr *journal.Trail, from journal.TXID) (n int, err error) {
	t.Helper()
	for r, err := range tr.Records(t.Context(), from) {
		if err == nil {
			for _, gerr := range r.Groups() {
				err = gerr
			}
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// TestRecordsErrors: what is not there, what is missing between, and what is damaged.
func TestRecordsErrors(t *testing.T) {
	w, dir := rotated(t, 3, 4)
	add(t, w, 1)
	adoptBase(t, w) // 14
	add(t, w, 1)
	flush(t, w)
	seal(t, dir, 3)
	w.Close()
	tr := openTrail(t, dir)
	if n, err := firstError(t, tr, 16); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	for _, id := range []journal.TXID{17, 1 << 62} {
		var e *journal.RangeError
		if _, err := firstError(t, tr, id); !errors.As(err, &e) || *e != (journal.RangeError{Want: id, First: 1, Last: 15}) {
			t.Fatalf("from %d: %v", id, err)
		}
		if _, err := tr.Find(t.Context(), id); !errors.As(err, &e) || e.Want != id {
			t.Fatal(err)
		}
	}
	if removed, err := journal.Prune(t.Context(), dir, 15, nil); err != nil || len(removed) != 3 {
		t.Fatal(removed, err)
	}
	for range 2 {
		if _, err := firstError(t, tr, 2); !errors.Is(err, journal.ErrGap) && !errors.Is(err, journal.ErrRange) {
			t.Fatal(err)
		}
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	var e *journal.RangeError
	if _, err := firstError(t, tr, 2); !errors.As(err, &e) || *e != (journal.RangeError{Want: 2, First: 13, Last: 15}) {
		t.Fatal(err)
	}
}

// TestRecordsMeetDamage: records before the damage come, then the error.
func TestRecordsMeetDamage(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 2)
	for i := range 3 {
		if err := w.AddPart(patch(uint32(i+1), byte(i)), 1); err != nil {
			t.Fatal(err)
		}
	}
	add(t, w, 1)
	flush(t, w)
	rotate(t, w)
	w.Close()
	path := filepath.Join(dir, firstSegment)
	for _, sealed := range []bool{false, true} {
		if sealed {
			seal(t, dir, 1)
		}
		whole := readFile(t, path)
		tr := openTrail(t, dir)
		if n, err := firstError(t, tr, 1); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		seen := map[int]bool{}
		for at := 128; at < len(whole); at += 3 {
			data := bytes.Clone(whole)
			data[at] ^= 4
			writeFile(t, path, data)
			n, err := firstError(t, tr, 1)
			if err != nil && !errors.Is(err, journal.ErrCorrupt) && !errors.Is(err, journal.ErrFlag) {
				t.Fatalf("byte %d: %v", at, err)
			}
			seen[n] = true
		}
		// The third's damage is met when it, or its groups, are read; what follows it is not read, but for a footer.
		if !seen[0] || !seen[2] || seen[3] == sealed {
			t.Fatal(seen)
		}
		writeFile(t, path, whole)
	}
	if err := os.Truncate(path, 300); err != nil {
		t.Fatal(err)
	}
	tr, err := journal.Open(dir, &journal.ReadOptions{Damaged: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	// A list has what can be read, and reading what cannot says why.
	if segments, err := tr.Segments(); err != nil || len(segments) != 1 || segments[0].Sealed {
		t.Fatal(segments, err)
	}
	if n, err := firstError(t, tr, 1); n != 0 || !errors.Is(err, journal.ErrCorrupt) {
		t.Fatal(n, err)
	}
}

// TestCancelled: long work ends when its context does, and leaves nothing behind.
func TestCancelled(t *testing.T) {
	_, dir := rotated(t, 2, 10)
	tr := openTrail(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range tr.Records(ctx, 1) {
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	_, verr := tr.Verify(ctx, nil)
	_, werr := tr.Window(ctx)
	n, serr := journal.Seal(ctx, dir, nil)
	for _, err := range []error{verr, werr, serr} {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.sealing"))
	if n != 0 || err != nil || len(left) != 0 {
		t.Fatal(n, left, err)
	}
}

// TestVerifyProgress: what is reported grows to the whole.
func TestVerifyProgress(t *testing.T) {
	w, dir := rotated(t, 2, 200)
	adoptBase(t, w)
	seal(t, dir, 2)
	var last, whole int64
	_, err := openTrail(t, dir).Verify(t.Context(), func(done, total int64) {
		if done < last || done > total || whole != 0 && total != whole {
			t.Fatal(done, last, total, whole)
		}
		last, whole = done, total
	})
	if err != nil || last != whole || whole == 0 {
		t.Fatal(last, whole, err)
	}
}
