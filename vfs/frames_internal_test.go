package vfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
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

// frameCalls makes calls as SQLite does: "off+len" is a write, of a frame's header
// if it is 24 bytes, of a commit's last with a "!" behind it, of another generation
// with a "~", and without salts with a "-"; "=off+len" is a read, "^" an operation
// on the wal-index, "|" any other on the WAL. A call that fails is followed by "?".
func frameCalls(t *testing.T, w *frameWriter, calls string) {
	t.Helper()
	for call := range strings.FieldsSeq(calls) {
		var off int64
		var n int
		var err error
		name, fails := strings.CutSuffix(call, "?")
		switch name, commit := strings.CutSuffix(name, "!"); {
		case name == "^":
			w.indexOperation()
		case name == "|":
			err = w.settle()
		case name[0] == '=':
			fmt.Sscanf(name, "=%d+%d", &off, &n)
			err = w.read(n, off)
		default:
			fmt.Sscanf(name, "%d+%d", &off, &n)
			p := make([]byte, n)
			if n == sqlitefile.FrameHeaderSize {
				p[8] = map[bool]byte{false: 1, true: 2}[strings.Contains(call, "~")] // the salt
				if strings.Contains(call, "-") {
					p[8] = 0
				}
				if commit {
					p[7] = 9 // the database's size
				}
			}
			_, err = w.WriteAt(p, off)
		}
		if (err != nil) != fails {
			t.Fatalf("%s: %v", call, err)
		}
	}
}

// TestFrameWriter has the calls that SQLite makes, and those that reach the file.
func TestFrameWriter(t *testing.T) {
	const header, first, second, last = "0+32", "32+24 56+512", "568+24 592+512", "1104+24! 1128+512"
	for name, c := range map[string][2]string{
		"a commit of three pages":                {"^ " + header + " " + first + " " + second + " " + last, "0+32 32+1608"},
		"the wal-index is not seen":              {first + " " + second + " " + last, "32+536 568+536 1104+536"},
		"nor after a commit":                     {"^ " + last + " 1640+24 1664+512 2176+24 2200+512", "1104+536 1640+536 2176+536"},
		"a page before its commit":               {"^ " + first + " ^ " + second + " " + last, "32+536 568+1072"},
		"a page before its commit, that is read": {"^ " + first + " =56+512 " + second + " " + last, "32+536 568+1072"},
		"an operation in between":                {"^ " + first + " | " + second + " " + last, "32+536 568+1072"},
		"a page in two, around a sync":           {"^ " + first + " | 568+24 592+100 | 692+412", "32+536 568+124 692+412"},
		"a header that is read back":             {"^ 32+24 =32+24 56+512", "32+24 56+512"},
		"checksums renewed":                      {"^ " + first + " " + second + " =32+536 32+24 =568+536 568+24!", "32+1072 32+24 568+24"},
		"checksums left for the commit":          {"^ " + first + " 568+24- 592+512 =32+536 32+24 =568+536 568+24!", "32+536 568+536 32+24 568+24"},
		"another began the WAL anew":             {"^ " + first + " " + second + " ^ 32+24~ 56+512 568+24~! 592+512", "32+1072 32+1072"},
		"a page written over in place":           {"^ " + first + " 56+512", "32+536 56+512"},
		"frames again after a rollback":          {"^ " + first + " " + second + " ^ " + first, "32+1072 32+24 56+512"},
		"a new generation":                       {"^ " + second + " ^ " + header + " 32+24~ 56+512 ^", "568+536 0+32 32+536"},
		"a header and something else":            {"^ 32+24 592+512", "32+24 592+512"},
		"two headers, the first given up":        {"^ 32+24 568+24 592+512 |", "32+24 568+536"},
		"a header in parts, around a sync":       {"^ 32+10 | 42+14 56+512", "32+10 42+14 56+512"},
	} {
		t.Run(name, func(t *testing.T) {
			var file written
			w := frameWriter{f: &file, overtaken: func(uint32, [2]uint32) (bool, error) { return false, nil }}
			frameCalls(t, &w, c[0])
			if want := strings.Fields(c[1]); !slices.Equal(file.calls, want) {
				t.Errorf("%s\nreached the file as %v\nwant %v", c[0], file.calls, want)
			}
		})
	}
}

// TestFrameWriterLarge has a commit of many pages, which need not fit into memory.
func TestFrameWriterLarge(t *testing.T) {
	var file written
	w := frameWriter{f: &file, overtaken: func(uint32, [2]uint32) (bool, error) { return false, nil }}
	w.indexOperation()
	for i := range int64(100) {
		frameCalls(t, &w, fmt.Sprintf("%d+24 %d+4096", 32+4120*i, 56+4120*i))
		if len(w.wait) >= gatherBytes {
			t.Fatalf("%d bytes wait", len(w.wait))
		}
	}
	if n := len(file.calls); n < 2 || n > 10 {
		t.Errorf("%d calls: %v", n, file.calls)
	}
}

// TestFrameWriterFails has the write of a frame fail in the call that SQLite made
// for it: it is reported, and not tried again behind SQLite's back.
func TestFrameWriterFails(t *testing.T) {
	for name, before := range map[string]string{"a frame alone": "", "a commit": "^ 32+24 56+512 "} {
		t.Run(name, func(t *testing.T) {
			file := written{err: errors.New("disk full")}
			w := frameWriter{f: &file, overtaken: func(uint32, [2]uint32) (bool, error) { return false, nil }}
			frameCalls(t, &w, before+"568+24! 592+512?")
			file.err = nil
			frameCalls(t, &w, "^ | =592+512")
			if len(file.calls) > 0 {
				t.Fatalf("%v after the failure", file.calls)
			}
		})
	}
}

// TestFrameWriterFailsLater has frames fail that SQLite believes to be written.
// It is told with its next call. As long as nobody else has committed in their
// place they are read by nobody and written before anything else; then they count
// no more.
func TestFrameWriterFailsLater(t *testing.T) {
	const frames = "^ 568+24 592+512 1104+24 1128+512 "
	for name, c := range map[string]struct {
		failing, overtaken string // calls while writes fail, and when another has committed
		well, want         string // calls when writes succeed, and those that reach the file
	}{
		"at a read":                            {"=600+10?", "", "1640+24! 1664+512", "568+1072 1640+536"},
		"at an operation on the wal-index":     {"^", "", "1640+24! 1664+512", "568+1072 1640+536"},
		"read after an operation":              {"^ =600+10? =600+10?", "", "=600+10? ^ | =600+10?", ""},
		"elsewhere read":                       {"^ =32+536 =1640+10", "", "=32+536", ""},
		"written on meanwhile":                 {"^ 1640+24? 1640+24?", "", "1640+24! 1664+512", "568+1072 1640+536"},
		"while the next page is gathered":      {"1640+24 ^", "", "32+24 1664+512", "568+1096 32+24 1664+512"},
		"overtaken, and read":                  {"^", "=600+10", "^ | 1640+24! 1664+512", "1640+536"},
		"overtaken, and written on":            {"^", "1640+24! 1664+512?", "1640+24! 1664+512", "1640+24 1664+512"},
		"not overtaken, and a new transaction": {"^", "", "=600+10? 568+24 592+512 |", "568+1072 568+24 592+512"},
	} {
		t.Run(name, func(t *testing.T) {
			var file written
			passed := false
			w := frameWriter{f: &file, overtaken: func(frame uint32, salt [2]uint32) (bool, error) {
				if frame != 2 || salt != [2]uint32{1 << 24} {
					t.Errorf("asked for frame %d under %v", frame, salt)
				}
				return passed, nil
			}}
			frameCalls(t, &w, frames)
			file.err = errors.New("disk full")
			frameCalls(t, &w, c.failing)
			passed = c.overtaken != ""
			frameCalls(t, &w, c.overtaken)
			file.err = nil
			frameCalls(t, &w, c.well)
			if want := strings.Fields(c.want); !slices.Equal(file.calls, want) {
				t.Errorf("reached the file as %v\nwant %v", file.calls, want)
			}
		})
	}
}

// TestFrameWriterDoubts has frames that could not be written and a wal-index that
// cannot be read: then nothing is written over what may be another's.
func TestFrameWriterDoubts(t *testing.T) {
	file := written{err: errors.New("disk full")}
	w := frameWriter{f: &file, overtaken: func(uint32, [2]uint32) (bool, error) { return false, errors.New("no wal-index") }}
	frameCalls(t, &w, "^ 32+24 56+512 ^")
	file.err = nil
	frameCalls(t, &w, "=56+512? 568+24? 32+24? ^ |")
	if len(file.calls) > 0 {
		t.Errorf("reached the file as %v", file.calls)
	}
}
