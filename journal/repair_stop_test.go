package journal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// TestRepairStopped stops a repair after each of its changes, with everything that may be damaged damaged, and lets
// another go on: it must come to the same end.
func TestRepairStopped(t *testing.T) {
	damage := func(p *patient) {
		p.flip(seg1, len(p.files[seg1])/2)
		p.flip(seg261, 400)
		p.flip(seg269, 400)
		p.leave("identity.tmp")
		writeFile(p, p.path("identity"), nil)
	}
	p := newPatient(t)
	damage(p)
	p.repair()
	want := p.runs()
	for n := 0; ; n++ {
		p := newPatient(t)
		damage(p)
		before := filesOf(t, p.dir)
		stopping := &stopFS{FS: lazyFS{durable.OS}, left: n}
		_, err := journal.Repair(t.Context(), p.dir, &journal.RepairOptions{FS: stopping})
		if err == nil {
			if n < 20 {
				t.Fatalf("only %d changes", n)
			}
			break
		}
		if !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		plan, err := journal.Repair(t.Context(), p.dir, quick)
		if err != nil {
			t.Fatalf("stopped after %d changes: %v", n, err)
		}
		p.kept(before)
		p.settled(plan)
		if got := p.runs(); got != want {
			t.Fatalf("stopped after %d changes: %s, want %s\n%s", n, got, want, show(plan))
		}
		p.goesOn(273)
	}
}

var errStopped = errors.New("stopped")

// stopFS allows so many changes of names.
type stopFS struct {
	durable.FS
	left int
}

func (s *stopFS) stop() bool {
	s.left--
	return s.left < 0
}

func (s *stopFS) Rename(from, to string) error {
	if s.stop() {
		return errStopped
	}
	return s.FS.Rename(from, to)
}

func (s *stopFS) Mkdir(name string, perm fs.FileMode) error {
	if s.stop() {
		return errStopped
	}
	return s.FS.Mkdir(name, perm)
}

func (s *stopFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag != os.O_RDONLY && !strings.HasPrefix(filepath.Base(name), "lock") && s.stop() {
		return nil, errStopped
	}
	return s.FS.OpenFile(name, flag, perm)
}

func (s *stopFS) Remove(name string) error {
	if s.left < 0 { // the process is no more
		return errStopped
	}
	return s.FS.Remove(name)
}
