package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/asof"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/query"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

const oltpSchema = `CREATE TABLE IF NOT EXISTS oltp(id INTEGER PRIMARY KEY, k BLOB, body TEXT);
	CREATE INDEX IF NOT EXISTS oltp_k ON oltp(k)`

// oltpText is as long as each row's text, in bytes.
const oltpText = 187

// oltpFiller makes rows with random keys and text of words.
type oltpFiller struct {
	r    *rand.Rand
	text []byte
}

func (f *oltpFiller) key() []byte {
	key := make([]byte, 16)
	for i := range key {
		key[i] = byte(f.r.Uint32())
	}
	return key
}

func (f *oltpFiller) body() string {
	f.text = f.text[:0]
	for len(f.text) < oltpText {
		f.text = fmt.Appendf(f.text, "word%d ", f.r.IntN(5000))
	}
	return string(f.text[:oltpText])
}

// oltpFill makes a database of n rows, in transactions of ten thousand.
func oltpFill(conn *sqlite3.Conn, n int) error {
	if err := conn.Exec(oltpSchema); err != nil {
		return err
	}
	f := oltpFiller{r: random()}
	for n > 0 {
		some := min(n, 10_000)
		n -= some
		err := conn.Exec("BEGIN")
		err = errors.Join(err, statement(conn, "INSERT INTO oltp(k,body) VALUES(?,?)", some, func(s *sqlite3.Stmt, _ int) error {
			return errors.Join(s.BindBlob(1, f.key()), s.BindText(2, f.body()))
		}))
		if err := errors.Join(err, conn.Exec("COMMIT")); err != nil {
			return err
		}
	}
	return nil
}

// adoptJob opens the database as a program does that has just been given the VFS: the trail begins with a base.
func adoptJob(j *job) (map[string]float64, error) {
	conn, err := j.open()
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(conn.Exec("UPDATE oltp SET body='adopted' WHERE id=1"), conn.Close())
}

// oltpJob is the writer: each transaction inserts a row and updates one at random.
func oltpJob(j *job) (_ map[string]float64, err error) {
	conn, err := j.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	rows, err := oltpRows(conn)
	if err != nil {
		return nil, err
	}
	var stmts [4]*sqlite3.Stmt
	for i, sql := range []string{"BEGIN IMMEDIATE", "INSERT INTO oltp(k,body) VALUES(?,?)", "UPDATE oltp SET body=? WHERE id=?", "COMMIT"} {
		if stmts[i], _, err = conn.Prepare(sql); err != nil {
			return nil, err
		}
		defer stmts[i].Close()
	}
	f := oltpFiller{r: rand.New(rand.NewPCG(5, 8))}
	times := make([]time.Duration, 0, j.N)
	var wal int64
	start := time.Now()
	for i := range j.N {
		if j.Rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(j.Rate))))
		}
		key, body, other := f.key(), f.body(), f.body()
		began := time.Now()
		err := errors.Join(stmts[1].BindBlob(1, key), stmts[1].BindText(2, body),
			stmts[2].BindText(1, other), stmts[2].BindInt(2, 1+f.r.IntN(rows+i)))
		for _, s := range stmts {
			if err == nil {
				err = s.Exec()
			}
		}
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first finds a database that was copied, and looks at all of its pages
			times = append(times, time.Since(began))
		}
		if i%100 == 0 || i == j.N-1 {
			if info, err := os.Stat(j.DB + "-wal"); err == nil {
				wal = max(wal, info.Size())
			}
		}
	}
	took := time.Since(start)
	slices.Sort(times)
	return map[string]float64{
		"seconds": took.Seconds(), "longest": times[len(times)-1].Seconds(),
		"p999": times[len(times)*999/1000].Seconds(), "wal": float64(wal),
	}, nil
}

func oltpRows(conn *sqlite3.Conn) (int, error) {
	s, _, err := conn.Prepare("SELECT max(id) FROM oltp")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Step()
	return s.ColumnInt(0), s.Err()
}

// shipJob is the sidecar: it ships the trail until its input ends, and then what is left, as pagetrail ship does. With the VFS "watch" it
// captures what the writer commits, too.
func shipJob(j *job) (_ map[string]float64, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends
		cancel()
	}()
	o := ship.Options{Store: file.Open(j.To, nil), Trusted: true}
	var watched chan error
	if j.VFS == "watch" {
		w, err := vfs.NewWatcher(j.DB, nil)
		if err != nil {
			return nil, err
		}
		// The file was copied, so all of its pages are compared first. The writer is asked what it costs to be
		// watched, not to be found: the time of that is the sidecar's, and the WAL would grow meanwhile.
		if _, err := w.Step(); err != nil {
			return nil, errors.Join(err, w.Close())
		}
		watched = make(chan error, 1)
		go func() { watched <- watch(ctx, w) }()
	}
	fmt.Println() // for whoever waits until it has begun
	s, err := ship.Open(j.DB+"-pagetrail", &o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for err == nil {
		var wait time.Duration
		if wait, err = s.Step(ctx); err == nil {
			err = pause.For(ctx, wait)
		}
	}
	if !errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("ended early: %w", err)
	}
	if watched != nil {
		if err := <-watched; err != nil {
			return nil, err
		}
	}
	err = s.Drain(context.Background())
	r := s.Progress().Result
	return map[string]float64{
		"bytes": float64(r.Bytes), "transactions": float64(r.Transactions), "batches": float64(r.Batches),
	}, err
}

// watch records commits until ctx ends and there are no more.
func watch(ctx context.Context, w *vfs.Watcher) (err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	for {
		wait, err := w.Step()
		if err != nil && !vfs.Busy(err) {
			return err
		}
		if ctx.Err() != nil && err == nil && wait > 10*time.Millisecond { // the default of WatchOptions.Poll: it found nothing
			return nil
		}
		if w.Wait(ctx, wait) != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// restoreJob restores the state N/2 transactions before the last from the archive, and counts what it asks for.
func restoreJob(j *job) (_ map[string]float64, err error) {
	meter, ctx := new(objstore.Meter), context.Background()
	r, err := archive.Open(ctx, objstore.Metered(file.Open(j.To, nil), meter), nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	last, err := r.Last()
	if err != nil {
		return nil, err
	}
	tx, err := r.Find(ctx, last.TXID-journal.TXID(j.N/2))
	if err != nil {
		return nil, err
	}
	result, err := apply.Hydrate(ctx, r.Trail, j.DB+".restored", apply.AtTime(tx.Time), nil)
	calls, read := meter.Counts()
	return map[string]float64{
		"requests": float64(meter.Requests()), "lists": float64(calls[objstore.OpList].Requests), "bytes": float64(read),
		"size": float64(result.Size),
	}, err
}

// questionJob asks the archive for one row as it was in the middle of its transactions, and counts what that fetches.
func questionJob(j *job) (_ map[string]float64, err error) {
	meter, ctx := new(objstore.Meter), context.Background()
	r, err := archive.Open(ctx, objstore.Metered(file.Open(j.To, nil), meter), &archive.Options{Scattered: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	last, err := r.Last()
	if err != nil {
		return nil, err
	}
	view, err := asof.Open(ctx, r.Trail, apply.AtTXID(last.TXID/2), nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	rows := 0
	err = query.Ask(ctx, view, fmt.Sprintf("SELECT body FROM oltp WHERE id=%d", j.N), func([]string) error { return nil },
		func(query.Row) error { rows++; return nil })
	if err == nil && rows != 1 {
		err = fmt.Errorf("%d rows %d", rows, j.N)
	}
	_, read := meter.Counts()
	return map[string]float64{"requests": float64(meter.Requests()), "bytes": float64(read)}, err
}
