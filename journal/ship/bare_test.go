package ship_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// A trail that has its last state as a base, and no transaction after it, has nothing to ship, and nobody says that its
// archive has that state; with the next transaction it has.
func TestBaseAlone(t *testing.T) {
	p, s := newPrimary(t, 40), new(mem.Store)
	p.commit(5)
	p.base(false)
	p.rotate(false)
	p.check(os.Remove(filepath.Join(p.dir, "0000000000000001.seg")))
	if r, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, TempDir: t.TempDir()}); err != nil || r != (ship.Result{}) {
		t.Errorf("%+v, %v", r, err)
	}
	p.commit(2)
	once(t, p, s, ship.Options{})
	p.checkArchive(s, 7, 2)
}
