package vfs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

var checkpoints = []struct {
	kind  string
	mode  sqlite3.CheckpointMode
	tries int // until it has copied all, and has the WAL begin anew if it is to
}{
	{"PASSIVE", sqlite3.CHECKPOINT_PASSIVE, 1},
	{"FULL", sqlite3.CHECKPOINT_FULL, 1},
	{"RESTART", sqlite3.CHECKPOINT_RESTART, 2}, // at the first nobody may hold a mark
	{"TRUNCATE", sqlite3.CHECKPOINT_TRUNCATE, 2},
}

// TestWatchExplicit: a checkpoint that a program asks for succeeds as soon as what was committed is recorded, and one
// that begins the WAL anew a step later, however often and at whatever frame that is, and without waiting for locks; also
// of a writer that checkpointed by itself before.
func TestWatchExplicit(t *testing.T) {
	const rounds = 30
	for _, k := range checkpoints {
		for _, automatic := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%v", k.kind, automatic), func(t *testing.T) {
				d, late := newWide(t, "", nil), 0
				if automatic {
					run(t, d.c, "PRAGMA wal_autocheckpoint=100")
					for range 400 {
						d.update(t, d.c)
						step(t, d.w)
					}
				}
				run(t, d.c, "PRAGMA wal_autocheckpoint=0", "PRAGMA busy_timeout=0")
				for i := range rounds {
					for range 20 + i*37%60 {
						d.update(t, d.c)
					}
					for try := 1; ; try++ {
						step(t, d.w)
						frames, copied, err := d.c.WALCheckpoint("main", k.mode)
						if err == nil && frames == copied {
							break
						}
						if err != nil && !errors.Is(err, sqlite3.BUSY) {
							t.Fatal(err)
						}
						if try == k.tries {
							late++
							break
						}
					}
				}
				if late > 0 {
					t.Errorf("%d of %d checkpoints were in vain", late, rounds)
				}
				d.end(t, 20) // as a writer's own checkpoint here leaves no time to record the last commit
			})
		}
	}
}
