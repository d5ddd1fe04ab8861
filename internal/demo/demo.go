// Package demo is the story that `pagetrail demo` tells, with real work and nothing faked: a
// service's database is recorded while it is written and read, a deploy destroys its main table,
// and the moment before is brought back, bit for bit, from the trail alone.
//
// Everything that is claimed on the way is checked: each hydrated file is compared with a copy that
// was taken at its moment, checked by SQLite, and asked for the checksums that the workload
// foretold. Run fails when any of it is not so.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/internal/workload"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs" // the VFS that records
)

// Options for Run. Out, Width and Now must be set.
type Options struct {
	Dir   string           // for all files; made if it does not exist, and must be empty
	Out   io.Writer        // the story
	Term  bool             // Out is a terminal: draw progress that moves
	Paint ui.Painter       // colours
	Width func() int       // cells of the terminal
	Now   func() time.Time // the clock

	Seed  uint64 // of the workload; the same seed makes the same database
	Short bool   // a hundredth of the work, for tests
}

// The names of the files in Options.Dir.
const (
	databaseName = "buckets.db"
	pointName    = "before-deploy"
	noteText     = "deploy 1.4.2: tidy up"
)

// demo is one run.
type demo struct {
	*Options
	scale   workload.BucketScale
	db      string // the primary's file
	conn    *sqlite3.Conn
	bucket  *workload.Bucket
	live    *live
	begin   time.Time
	moments [2]moment
	bad     journal.TXID // of the bad deploy
}

// moment is a state of the database that will be made again from the trail.
type moment struct {
	title string
	file  string // the copy taken at the moment
	txid  journal.TXID
	rows  int64 // in the operation log
	state workload.State
}

// Run tells the story. It leaves its files in o.Dir when all is well, and on an error removes what
// it made.
func Run(ctx context.Context, o Options) error {
	d := &demo{Options: &o, scale: workload.BucketSmall, begin: o.Now()}
	if o.Short {
		d.scale = workload.BucketTiny
	}
	made, err := emptyDir(o.Dir)
	if err != nil {
		return err
	}
	d.db = filepath.Join(o.Dir, databaseName)
	if err := d.story(ctx); err != nil {
		return errors.Join(err, clearDir(o.Dir, made))
	}
	return nil
}

// emptyDir makes dir, or sees that it is empty, and says whether it made it.
func emptyDir(dir string) (made bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, os.MkdirAll(dir, 0o755)
	}
	if err == nil && len(entries) > 0 {
		return false, fmt.Errorf("%s is not empty: name a new directory", dir)
	}
	return false, err
}

func clearDir(dir string, made bool) error {
	if made {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

func (d *demo) story(ctx context.Context) (err error) {
	d.title("pagetrail demo", "a sync service's database, recorded while it is written, and walked back")
	if err := d.open(); err != nil {
		return err
	}
	defer func() {
		if d.conn != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := d.serve(ctx); err != nil {
		return err
	}
	if err := d.disaster(ctx); err != nil {
		return err
	}
	if err := d.close(); err != nil {
		return err
	}
	trail, err := journal.Open(d.db+"-pagetrail", nil)
	if err != nil {
		return err
	}
	defer trail.Close()
	if err := d.showLog(ctx, trail); err != nil {
		return err
	}
	if err := d.restore(ctx, trail); err != nil {
		return err
	}
	if err := d.weigh(ctx, trail); err != nil {
		return err
	}
	return d.farewell()
}

func (d *demo) dsn() string { return "file:" + filepath.ToSlash(d.db) + "?vfs=pagetrail" }

// open opens the writer's connection and makes the schema.
func (d *demo) open() error {
	d.step("A program opens its database with ?vfs=pagetrail: one word in a DSN, nothing else changes")
	conn, err := sqlite3.Open(d.dsn())
	if err != nil {
		return err
	}
	d.conn = conn
	d.live = newLive(d)
	d.bucket = workload.NewBucket(conn, d.scale, d.Seed, workload.Hooks{Committed: d.live.committed})
	if err := d.bucket.Setup(context.Background()); err != nil {
		return err
	}
	d.done("%s, journal_mode=wal", d.dsn())
	return nil
}

func (d *demo) close() error {
	err := errors.Join(d.bucket.Close(), d.conn.Close())
	d.conn = nil
	return err
}

// serve runs the service up to the deploy, with readers beside the writer.
func (d *demo) serve(ctx context.Context) error {
	d.step("A sync service runs on it: one writer, and two clients that read and check beside it")
	stop, err := d.live.readers(ctx, 2)
	if err != nil {
		return err
	}
	rounds := d.scale.Rounds
	err = d.live.run("copies the source", func() error { return d.bucket.Copy(ctx) })
	if err == nil {
		err = d.live.run("follows changes", func() error { return d.bucket.Live(ctx, rounds) })
	}
	if err == nil {
		err = d.live.run("compacts its log", func() error { return d.bucket.Compact(ctx) })
	}
	if err == nil {
		err = d.live.run("follows changes", func() error { return d.bucket.Live(ctx, rounds/10) })
	}
	reads, readErr := stop()
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	d.done("%s read transactions beside it saw %s, every checksum right, no checkpoint going back",
		ui.Count(reads.Snapshots), ui.Plural(reads.Rows, "row", "rows"))
	return nil
}

// disaster names a restore point, destroys the table, and lets the service go on.
func (d *demo) disaster(ctx context.Context) error {
	d.step("A deploy is due: name the moment before it")
	if err := d.conn.Exec("PRAGMA pagetrail_point='" + pointName + "'"); err != nil {
		return err
	}
	before, err := d.keep(ctx, pointName)
	if err != nil {
		return err
	}
	d.moments[0] = before
	d.code("PRAGMA pagetrail_point='" + pointName + "'")
	d.done("TXID %d, %s in the operation log; a copy of this moment is put aside, to compare with later",
		before.txid, ui.Plural(before.rows, "row", "rows"))

	d.step("The deploy goes wrong: a DELETE without WHERE, committed")
	if err := d.conn.Exec("PRAGMA pagetrail_note='" + noteText + "'; DELETE FROM oplog"); err != nil {
		return err
	}
	if d.bad, err = d.txid(); err != nil {
		return err
	}
	d.code("DELETE FROM oplog")
	d.fail("TXID %d: %s gone, and nobody has noticed yet: the service goes on", d.bad, ui.Plural(before.rows, "row", "rows"))
	if err := d.live.run("goes on, unaware", func() error { return d.bucket.Live(ctx, d.scale.Rounds/10) }); err != nil {
		return err
	}
	d.moments[1], err = d.keep(ctx, "latest")
	return err
}

// keep copies the database file, after bringing everything from the WAL into it: the copy is what
// hydrating this moment must make. (The checkpoint is for the copy's sake; the trail needs none.)
func (d *demo) keep(ctx context.Context, title string) (moment, error) {
	m := moment{title: title, file: filepath.Join(d.Dir, "copy-"+title+".db")}
	_, _, err := d.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	if err != nil {
		return m, err
	}
	if m.txid, err = d.txid(); err != nil {
		return m, err
	}
	if err := copyFile(ctx, m.file, d.db); err != nil {
		return m, err
	}
	if m.rows, err = integer(d.conn, "SELECT count(*) FROM oplog"); err != nil {
		return m, err
	}
	m.state, err = workload.ReadState(d.conn)
	return m, err
}

func (d *demo) txid() (journal.TXID, error) {
	n, err := integer(d.conn, "PRAGMA pagetrail_txid")
	return journal.TXID(n), err
}

// integer returns the first column of a query's first row.
func integer(conn *sqlite3.Conn, sql string) (int64, error) {
	stmt, _, err := conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	if !stmt.Step() {
		return 0, fmt.Errorf("%s gave no row: %w", sql, stmt.Err())
	}
	return stmt.ColumnInt64(0), nil
}

func copyFile(ctx context.Context, to, from string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
