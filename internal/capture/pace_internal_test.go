package capture

import (
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// TestPaceMark: the mark is at what is recorded; it is opened shortly before a checkpoint, which is expected where the last
// one was, if nearly all is recorded then, or never will be; and not for a writer that does not checkpoint there any more.
func TestPaceMark(t *testing.T) {
	p, idx := pace{due: busyFrames}, sqlitefile.IndexHeader{}
	at := func(what string, frame, missing, want uint32) {
		t.Helper()
		idx.MxFrame = frame
		p.look(idx)
		if got := p.mark(frame - missing); got != want {
			t.Errorf("%s: at frame %d the mark is to be %d, not %d", what, frame, got, want)
		}
	}
	for _, due := range []uint32{1000, 1003, 300, 5000} {
		idx = sqlitefile.IndexHeader{Salt: [2]uint32{due}}
		early := p.due - p.margin()
		at("far", early-1, 100, early-101)
		at("far, and all there", early-1, 0, early-1)
		at("near, and behind", early, 100+p.margin(), early-100-p.margin())
		at("near", early+1, p.margin(), unusedMark)
		at("due, and behind", p.due+9, 50+p.margin(), p.due-41-p.margin())
		at("there again", p.due+10, 0, unusedMark)
		idx.BackfillAttempted = due
		at("begun", due, 0, unusedMark)
		if p.due != due {
			t.Errorf("the next is expected at frame %d, the last was at %d", p.due, due)
		}
		at("far beyond, and behind", 4*due, 2*due, 2*due)
		at("too far behind", 4*due+1, 3*due, unusedMark)
	}
	idx = sqlitefile.IndexHeader{Salt: [2]uint32{1}}
	at("due", 5000, 0, unusedMark)
	at("not begun", 6300, 0, 6300)
	if p.due <= 6300 {
		t.Errorf("one is expected at frame %d, and none came until 6300", p.due)
	}
}
