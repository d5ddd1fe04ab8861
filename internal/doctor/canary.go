package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// canary is a small database, and what it was.
type canary struct {
	path   string
	states map[journal.TXID][]byte
	last   journal.TXID
}

// canaryRows are written in as many transactions.
const canaryRows = 40

// hatch makes the database and its trail, through SQLite and the VFS as a program would.
func hatch(dir string) (c canary, err error) {
	c = canary{path: filepath.Join(dir, "canary.db"), states: make(map[journal.TXID][]byte)}
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(c.path) + "?vfs=" + vfs.Name)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.Exec("PRAGMA journal_mode=WAL; CREATE TABLE canary(id INTEGER PRIMARY KEY, song BLOB)"); err != nil {
		return c, err
	}
	for i := range canaryRows {
		if err := conn.Exec("INSERT INTO canary(song) VALUES(randomblob(700))"); err != nil {
			return c, err
		}
		if i%(canaryRows/2) != canaryRows/2-1 {
			continue
		}
		if err := conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return c, err
		}
		db, err := vfs.Of(conn, "main")
		if err != nil {
			return c, err
		}
		at, err := db.Position()
		if err != nil {
			return c, err
		}
		c.last = at.TXID
		if c.states[at.TXID], err = os.ReadFile(c.path); err != nil {
			return c, err
		}
	}
	return c, nil
}

// nest is where in the prefix the canary's archive is.
const nest = "canary"

// ship makes the canary and ships it. The store was probed, or found wanting, by then.
func (p *patient) ship(ctx context.Context) (string, error) {
	var err error
	if p.canary, err = hatch(p.dir); err != nil {
		return "", fmt.Errorf("the canary on this machine: %w", err)
	}
	r, err := ship.Run(ctx, p.canary.path+"-pagetrail", &ship.Options{
		Store: objstore.Sub(p.store, nest), Archive: nest, Once: true, Tries: 3, Pause: 200 * time.Millisecond, BatchBytes: 10_000,
		Trusted: true, TempDir: p.dir,
	})
	if err != nil {
		return "", err
	}
	if r.Last != p.canary.last {
		return "", fmt.Errorf("transactions up to %d were shipped, there are %d", r.Last, p.canary.last)
	}
	return fmt.Sprintf("%s of a canary database in %s, %s", ui.Plural(r.Transactions, "transaction", "transactions"),
		ui.Plural(r.Batches, "batch", "batches"), ui.Bytes(r.Bytes)), nil
}

// hydrate restores the canary twice, and compares it with what it was, byte for byte.
func (p *patient) hydrate(ctx context.Context) (string, error) {
	r, err := archive.Open(ctx, objstore.Sub(p.store, nest), &archive.Options{Name: nest})
	if err != nil {
		return "", err
	}
	defer r.Close()
	for id, want := range p.canary.states {
		var got bytes.Buffer
		if _, err := apply.HydrateTo(ctx, r.Trail, &got, apply.AtTXID(id), nil); err != nil {
			return "", err
		}
		if !bytes.Equal(got.Bytes(), want) {
			return "", fmt.Errorf("transaction %d: %w", id, errAltered)
		}
	}
	return fmt.Sprintf("the canary as it was in %s, byte for byte", ui.Plural(len(p.canary.states), "state", "states")), nil
}

func (p *patient) verify(ctx context.Context) (string, error) {
	r, err := archive.Open(ctx, objstore.Sub(p.store, nest), &archive.Options{Name: nest})
	if err != nil {
		return "", err
	}
	defer r.Close()
	report, err := apply.Verify(ctx, r.Trail, nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s of its archive agree with their checksums", ui.Plural(report.Files.Transactions, "transaction", "transactions")), nil
}
