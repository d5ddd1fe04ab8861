package capture

import (
	"reflect"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// TestNewest reduces the frames of a commit to the pages of its record.
func TestNewest(t *testing.T) {
	const lock = 1<<30/65536 + 1 // with pages of 64 KiB
	type frames = []frameRef
	for _, c := range []struct {
		name          string
		before, count uint32
		refs, want    frames
	}{
		{"as they are", 5, 5, frames{{2, 1, 0}, {4, 2, 1}}, frames{{2, 1, 0}, {4, 2, 1}}},
		{"the later write wins", 5, 5, frames{{4, 1, 0}, {2, 2, 1}, {4, 3, 2}}, frames{{2, 2, 1}, {4, 3, 2}}},
		{"beyond the committed size", 5, 3, frames{{2, 1, 0}, {4, 2, 1}}, frames{{2, 1, 0}}},
		{"grown", 2, 4, frames{{4, 1, 0}, {3, 2, 1}}, frames{{3, 2, 1}, {4, 1, 0}}},
		{"grown by pages never written", 2, 5, frames{{1, 1, 0}, {4, 2, 1}}, frames{{1, 1, 0}, {3, 0, -1}, {4, 2, 1}, {5, 0, -1}}},
		{"grown from nothing", 0, 2, nil, frames{{1, 0, -1}, {2, 0, -1}}},
		{"the lock-byte page", lock - 2, lock + 1, frames{{lock - 1, 1, 0}, {lock, 2, 1}, {lock + 1, 3, 2}}, frames{{lock - 1, 1, 0}, {lock + 1, 3, 2}}},
		{"nothing", 5, 5, nil, nil},
	} {
		s := walState{hdr: sqlitefile.WALHeader{PageSize: 65536}, refs: append(frames(nil), c.refs...)}
		s.newest(c.before, c.count)
		if !reflect.DeepEqual(append(frames(nil), s.refs...), c.want) {
			t.Errorf("%s: %v, want %v", c.name, s.refs, c.want)
		}
	}
}

// TestCommitLog has commits fail after they were noted: SQLite writes the next
// in their place, and they must not be told of as if they stood.
func TestCommitLog(t *testing.T) {
	var l commitLog
	for _, c := range []commitNote{{3, 10, "a"}, {7, 11, "failed"}, {12, 12, "failed too"}, {7, 13, "b"}, {9, 14, "c"}} {
		l.add(c)
	}
	want := []commitNote{{3, 10, "a"}, {7, 13, "b"}, {9, 14, "c"}}
	if got := l.list(); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if got := l.at(7); got != want[1] {
		t.Errorf("at frame 7: %v", got)
	}
	if got := l.at(8); got != (commitNote{}) {
		t.Errorf("at frame 8: %v", got)
	}
	l.forget(8)
	if got := l.drain(); !slices.Equal(got, want[2:]) {
		t.Errorf("after frame 8: %v", got)
	}
	if got := l.list(); len(got) != 0 {
		t.Errorf("drained, and still %v", got)
	}
}
