//go:build linux || darwin

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// canFollow says whether there are followers here.
const canFollow = true

func init() {
	jobs["served"] = servedJob
	jobs["relay"] = relayJob
	jobs["followers"] = followersJob
	jobs["catchup"] = catchUpJob
}

// told is the job's input.
var told = bufio.NewReader(os.Stdin)

// serveTrail serves a trail on a free port of this machine.
func serveTrail(dir string) (url string, end func(), err error) {
	trail, err := journal.Open(dir, nil)
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, errors.Join(err, trail.Close())
	}
	h := serve.New(&serve.Options{Databases: map[string]*journal.Trail{"app": trail}})
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // until it is closed
	return "http://" + l.Addr().String() + "/app", func() {
		_, _, _ = h.Close(), s.Close(), trail.Close() // all of it was only read
	}, nil
}

// used is the processor's time that this process took.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// servedJob is a primary that serves its own trail. Told to go, it commits n transactions, one a millisecond, and
// says which was the last; each inserts a row that says when it began.
func servedJob(j *job) (_ map[string]float64, err error) {
	conn, err := j.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, at INTEGER, name TEXT); PRAGMA pagetrail_txid"); err != nil {
		return nil, err
	}
	url, end, err := serveTrail(j.DB + "-pagetrail")
	if err != nil {
		return nil, err
	}
	defer end()
	fmt.Println(url)
	if _, err := told.ReadString('\n'); err != nil {
		return nil, err
	}
	before := used()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	err = statement(conn, "INSERT INTO t(at, name) VALUES(?, 'some text of a row')", j.N, func(s *sqlite3.Stmt, _ int) error {
		<-tick.C
		return s.BindInt64(1, time.Now().UnixMicro())
	})
	if err != nil {
		return nil, err
	}
	last, err := number(conn, "PRAGMA pagetrail_txid")
	if err != nil {
		return nil, err
	}
	fmt.Println(last)
	_, err = io.Copy(io.Discard, told) // until all followers have it
	return map[string]float64{"cpu": (used() - before).Seconds()}, err
}

func number(conn *sqlite3.Conn, sql string) (n int64, err error) {
	s, _, err := conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.Step()
	return s.ColumnInt64(0), s.Err()
}

// follower is one replica, and when what became visible in it.
type follower struct {
	src *remote.Source

	mu      sync.Mutex
	changed *sync.Cond
	at      journal.TXID
	visible map[journal.TXID]time.Time
	ended   bool
	err     error
}

// start follows into path until ctx ends. The replica is there when it returns.
func startFollower(ctx context.Context, url, path string, o follow.Options) (*follower, error) {
	// A connection of its own, as a process of its own has.
	src, err := remote.Open(ctx, url, &remote.Options{Client: &http.Client{Transport: new(http.Transport)}})
	if err != nil {
		return nil, err
	}
	f := &follower{src: src, visible: make(map[journal.TXID]time.Time)}
	f.changed = sync.NewCond(&f.mu)
	o.Events = follow.Events{
		Attached: func(pos journal.Position) { f.seen(pos.TXID, time.Time{}) },
		Applied:  func(a follow.Applied) { f.seen(a.Position.TXID, time.Now()) },
	}
	go func() {
		err := follow.Run(ctx, path, src, &o)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended, f.err = true, errors.Join(err, src.Close())
		f.changed.Broadcast()
	}()
	return f, f.await(1)
}

func (f *follower) seen(id journal.TXID, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := f.at + 1; at <= id && !now.IsZero(); at++ {
		f.visible[at] = now
	}
	f.at = id
	f.changed.Broadcast()
}

// await waits until a transaction is visible.
func (f *follower) await(id journal.TXID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.at < id && !f.ended {
		f.changed.Wait()
	}
	if f.at < id {
		return fmt.Errorf("a follower ended at transaction %d: %w", f.at, f.err)
	}
	return nil
}

// over waits until it has ended, as its context has.
func (f *follower) over() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.ended {
		f.changed.Wait()
	}
	return f.err
}

// relayJob follows a server, and serves what it has.
func relayJob(j *job) (map[string]float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f, err := startFollower(ctx, j.To, j.DB, follow.Options{Trail: j.DB + "-pagetrail"})
	if err != nil {
		return nil, err
	}
	var url string
	var end func()
	for { // the trail begins with the first look for transactions
		if url, end, err = serveTrail(j.DB + "-pagetrail"); !errors.Is(err, journal.ErrNotFound) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	defer end()
	fmt.Println(url)
	if _, err := io.Copy(io.Discard, told); err != nil {
		return nil, err
	}
	cancel()
	return map[string]float64{}, f.over()
}

// followersJob follows a server into n replicas. Told up to which transaction it waits for all of them.
func followersJob(j *job) (map[string]float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all []*follower
	for i := range j.N {
		f, err := startFollower(ctx, j.To, fmt.Sprintf("%s%d.db", j.DB, i), follow.Options{})
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	fmt.Println("all are there")
	line, err := told.ReadString('\n')
	if err != nil {
		return nil, err
	}
	last, err := strconv.ParseUint(strings.TrimSpace(line), 10, 63)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if err := f.await(journal.TXID(last)); err != nil {
			return nil, err
		}
	}
	fmt.Println("they have it")
	if _, err := io.Copy(io.Discard, told); err != nil {
		return nil, err
	}
	cancel()
	for _, f := range all {
		if err := f.over(); err != nil {
			return nil, err
		}
	}
	return lags(j, all, journal.TXID(last))
}

// lags compares the times that the rows say with those at which they became visible.
func lags(j *job, all []*follower, last journal.TXID) (_ map[string]float64, err error) {
	if len(all) == 0 {
		return map[string]float64{}, nil
	}
	conn, err := sqlite3.Open("file:" + j.DB + "0.db")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	rows, err := number(conn, "SELECT count(*) FROM t")
	if err != nil {
		return nil, err
	}
	s, _, err := conn.Prepare("SELECT id, at FROM t")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var lags []time.Duration
	for s.Step() {
		id := last - journal.TXID(rows-s.ColumnInt64(0))
		for _, f := range all {
			lags = append(lags, f.visible[id].Sub(time.UnixMicro(s.ColumnInt64(1))))
		}
	}
	slices.Sort(lags)
	n := len(lags)
	if n == 0 || lags[0] <= 0 {
		return nil, fmt.Errorf("%d rows arrived, and the first %v after its commit: %w", rows, lags[:min(n, 1)], s.Err())
	}
	return map[string]float64{
		"p50": lags[n/2].Seconds(), "p99": lags[n*99/100].Seconds(), "max": lags[n-1].Seconds(),
	}, s.Err()
}

// catchUpJob brings a replica that has the first transaction up to date: in batches, one by one, or over HTTP.
func catchUpJob(j *job) (_ map[string]float64, err error) {
	ctx, dir, path := context.Background(), j.DB+"-pagetrail", j.DB+".replica"
	trail, err := journal.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, trail.Close()) }()
	if _, err := apply.Hydrate(ctx, trail, path, apply.AtTXID(1), nil); err != nil {
		return nil, err
	}
	src, o := follow.TrailSource(trail, ""), &follow.Options{}
	switch j.Setup {
	case "single":
		o.BatchTransactions = 1
	case "http":
		url, end, err := serveTrail(dir)
		if err != nil {
			return nil, err
		}
		defer end()
		s, err := remote.Open(ctx, url, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		src = s
	}
	r, err := follow.Open(ctx, path, src, o)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	n, err := r.CatchUp(ctx)
	out := map[string]float64{"transactions": float64(n), "seconds": time.Since(start).Seconds()}
	err = errors.Join(err, r.Close(), os.Remove(path), os.Remove(path+"-pos"))
	return out, err
}
