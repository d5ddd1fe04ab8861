package vfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// written notes the writes that reach a file.
type written struct {
	calls []string
	err   error
}

func (w *written) WriteAt(p []byte, off int64) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.calls = append(w.calls, fmt.Sprintf("%d+%d", off, len(p)))
	return len(p), nil
}

// TestFrameWriter has the calls that SQLite makes, and those that reach the
// file. "=" is any other call.
func TestFrameWriter(t *testing.T) {
	const header, first, second = "0+32", "32+24 56+512", "568+24 592+512"
	for name, c := range map[string][2]string{
		"a commit of two pages":             {header + " " + first + " " + second, "0+32 32+536 568+536"},
		"a page in two, around a sync":      {first + " = 568+24 592+100 = 692+412", "32+536 568+124 692+412"},
		"a header that is read back":        {"32+24 = 56+512", "32+24 56+512"},
		"checksums renewed":                 {first + " " + second + " = 32+24 = 568+24", "32+536 568+536 32+24 568+24"},
		"a page written over in place":      {first + " 56+512", "32+536 56+512"},
		"frames again after a rollback":     {first + " " + second + " " + first, "32+536 568+536 32+24 56+512"},
		"a new generation":                  {second + " " + header + " " + first, "568+536 0+32 32+536"},
		"a header and something else":       {"32+24 592+512", "32+24 592+512"},
		"two headers, the first given up":   {"32+24 568+24 592+512", "32+24 568+536"},
		"a header in parts, around a sync ": {"32+10 = 42+14 56+512", "32+10 42+14 56+512"},
	} {
		t.Run(name, func(t *testing.T) {
			var file written
			w := frameWriter{f: &file}
			for call := range strings.FieldsSeq(c[0]) {
				if call == "=" {
					if err := w.settle(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				var off int64
				var n int
				fmt.Sscanf(call, "%d+%d", &off, &n)
				if got, err := w.WriteAt(make([]byte, n), off); got != n || err != nil {
					t.Fatalf("%s: %d, %v", call, got, err)
				}
			}
			if want := strings.Fields(c[1]); !slices.Equal(file.calls, want) {
				t.Errorf("%s\nreached the file as %v\nwant %v", c[0], file.calls, want)
			}
		})
	}
}

// TestFrameWriterFails has the write of a frame fail: it is reported, and not
// tried again behind SQLite's back.
func TestFrameWriterFails(t *testing.T) {
	full := errors.New("disk full")
	file := written{err: full}
	w := frameWriter{f: &file}
	if _, err := w.WriteAt(make([]byte, 24), 32); err != nil {
		t.Fatal(err)
	}
	if n, err := w.WriteAt(make([]byte, 512), 56); n != 0 || !errors.Is(err, full) {
		t.Fatalf("%d, %v", n, err)
	}
	file.err = nil
	if err := w.settle(); err != nil || len(file.calls) > 0 {
		t.Fatalf("%v after the failure, %v", file.calls, err)
	}
}
