package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/internal/workload"
)

// live counts what the service does and, on a terminal, draws it while it happens.
type live struct {
	d     *demo
	count atomic.Int64 // transactions
	rows  atomic.Int64 // changed by them
	bytes atomic.Int64 // of pages, written by the writer's connection
	reads atomic.Int64 // read transactions

	mu       sync.Mutex // of what is drawn
	rates    []float64  // transactions a second, one value a frame
	prev     int64
	last     time.Time
	start    time.Time
	base     int64 // transactions before this run
	baseRows int64
	name     string
}

func newLive(d *demo) *live { return &live{d: d} }

// committed is the workload's hook. It runs between transactions, where asking SQLite for its
// counters costs nothing.
func (l *live) committed(conn *sqlite3.Conn, c workload.Commit) error {
	l.count.Add(1)
	l.rows.Add(c.Rows)
	pages, _, err := conn.Status(sqlite3.DBSTATUS_CACHE_WRITE, true)
	l.bytes.Add(pages * 4096)
	return err
}

const framesPerSecond = 12

// run does one phase of the service and shows it: moving on a terminal, and at its end as a line.
func (l *live) run(name string, phase func() error) error {
	l.mu.Lock()
	l.name, l.start, l.last = name, l.d.Now(), l.d.Now()
	l.base, l.prev, l.rates = l.count.Load(), l.count.Load(), nil
	l.baseRows = l.rows.Load()
	l.mu.Unlock()
	stop := l.animate()
	err := phase()
	stop()
	if err != nil {
		return err
	}
	took := l.d.Now().Sub(l.start)
	n := l.count.Load() - l.base
	rate := ""
	if n > int64(len(l.rates)) { // less than one a frame says nothing
		rate = fmt.Sprintf("%7s/s", ui.Count(int64(float64(n)/max(took.Seconds(), 1e-6))))
	}
	if rate != "" && len(l.rates) > 2 {
		rate += "  " + l.d.Paint.Paint(ui.Dim, spark(l.rates, 24))
	}
	l.d.done("%-18s %7s transactions  %8s rows  %7s  %s", name, ui.Count(n), ui.Count(l.rows.Load()-l.baseRows), ui.Duration(took), rate)
	return nil
}

// animate draws frames until the returned function is called, which removes them.
func (l *live) animate() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(time.Second / framesPerSecond)
		defer ticks.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticks.C:
				l.frame()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		if l.d.Term {
			fmt.Fprint(l.d.Out, "\r\x1b[K")
		}
	}
}

// frame takes one sample of the rate and draws it.
func (l *live) frame() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, count := l.d.Now(), l.count.Load()
	if seconds := now.Sub(l.last).Seconds(); seconds > 0 {
		l.rates = append(l.rates, float64(count-l.prev)/seconds)
	}
	l.last, l.prev = now, count
	if !l.d.Term || len(l.rates) == 0 {
		return
	}
	trail := dirSize(l.d.db + "-pagetrail")
	line := fmt.Sprintf("  %-18s %s %6s tx/s  %s tx  pages %s → trail %s  reads %s", l.name, pad(spark(latest(l.rates, 24), 24), 24),
		ui.Count(int64(l.rates[len(l.rates)-1])), ui.Count(count), ui.Bytes(l.bytes.Load()), ui.Bytes(trail), ui.Count(l.reads.Load()))
	fmt.Fprint(l.d.Out, "\r\x1b[K"+ui.Cut(line, l.d.Width()-1))
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-ui.Width(s)))
}

// dirSize is the size of a directory's files; what cannot be asked is left out, since files come
// and go while it looks.
func dirSize(dir string) (total int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// readers starts n clients of the service, each on a connection of its own. The returned function
// stops them and says what they read, or what one of them found wrong.
func (l *live) readers(ctx context.Context, n int) (stop func() (workload.Reads, error), err error) {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		reads workload.Reads
		err   error
	}
	results := make(chan result, n)
	started := 0
	stop = func() (total workload.Reads, err error) {
		cancel()
		for range started {
			r := <-results
			total.Snapshots += r.reads.Snapshots
			total.Rows += r.reads.Rows
			err = errors.Join(err, r.err)
		}
		return total, err
	}
	for i := range n {
		conn, err := sqlite3.Open(l.d.dsn())
		if err == nil {
			err = conn.BusyTimeout(10 * time.Second)
		}
		if err != nil {
			_, stopErr := stop()
			return nil, errors.Join(err, conn.Close(), stopErr)
		}
		conn.SetInterrupt(ctx)
		started++
		go func() {
			reads, err := l.read(ctx, conn, uint64(i))
			results <- result{reads, errors.Join(err, conn.Close())}
		}()
	}
	return stop, nil
}

// read is one client. It pauses between snapshots as clients do, so that on a small machine the
// writer gets its share.
func (l *live) read(ctx context.Context, conn *sqlite3.Conn, seed uint64) (workload.Reads, error) {
	return workload.ReadBuckets(ctx, conn, seed, func() {
		l.reads.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	})
}
