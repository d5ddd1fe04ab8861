//go:build real

package realtest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/internal/workload"
)

// works are both workloads at their smallest.
var works = map[string]func(context.Context, *sqlite3.Conn, workload.Hooks) error{
	"bucket": func(ctx context.Context, conn *sqlite3.Conn, hooks workload.Hooks) error {
		b := workload.NewBucket(conn, workload.BucketTiny, 3, hooks)
		return errors.Join(b.Run(ctx), b.Close())
	},
	"document": func(ctx context.Context, conn *sqlite3.Conn, hooks workload.Hooks) error {
		d := workload.NewDocument(conn, workload.DocumentTiny, 3, hooks)
		return errors.Join(d.Run(ctx), d.Close())
	},
}

// TestSameBytesWithoutTheVFS does the same work through our VFS and through the operating system's:
// the databases must be the same, byte for byte; and the trail makes them too.
func TestSameBytesWithoutTheVFS(t *testing.T) {
	ways := []struct{ mode, dsn string }{
		{"wal", ""},
		{"wal", "&encode=inline"},
		{"wal", "&checkpoint=background"},
		{"delete", ""},
		{"truncate", ""},
		{"persist", ""},
		{"memory", ""},
	}
	for name := range works {
		for _, way := range ways {
			t.Run(name+"/"+way.mode+way.dsn, func(t *testing.T) {
				plain := filepath.Join(t.TempDir(), "plain.db")
				conn := connect(t, "file:"+plain)
				work(t, conn, name, way.mode)
				p := openPrimary(t, filepath.Join(t.TempDir(), "ours.db"), way.dsn)
				work(t, p.conn, name, way.mode)

				// Checkpoints come when they like in the background, but the same is in them.
				if way.dsn == "" {
					same(t, "before the checkpoint", read(t, p.path), read(t, plain))
					if ours, theirs := journalSize(t, p.path), journalSize(t, plain); ours != theirs {
						t.Errorf("a journal of %d bytes, without the VFS of %d", ours, theirs)
					}
				}
				if err := conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
					t.Fatal(err)
				}
				last, ours := p.txid(), p.content()
				same(t, "after the checkpoint", ours, read(t, plain))
				trail := p.trail()
				defer trail.Close()
				same(t, "the replica", read(t, p.hydrate(trail, last)), ours)
			})
		}
	}
}

func work(t *testing.T, conn *sqlite3.Conn, name, mode string) {
	t.Helper()
	if err := works[name](t.Context(), conn, workload.Hooks{JournalMode: mode}); err != nil {
		t.Fatal(err)
	}
}

// journalSize is the size of the WAL or rollback journal beside a database, -1 without one. What is
// in it differs between any two runs, by a nonce or a salt.
func journalSize(t *testing.T, path string) int64 {
	t.Helper()
	for _, suffix := range []string{"-journal", "-wal"} {
		info, err := os.Stat(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	return -1
}
