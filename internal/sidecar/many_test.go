package sidecar_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestMain lets the test binary be a sidecar in a process of its own, whose memory and files can be counted.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PAGETRAIL_TEST_SIDECAR"); dir != "" {
		beSidecar(dir)
		return
	}
	os.Exit(m.Run())
}

// report is a line of what that process says.
type report struct {
	Status     sidecar.Status
	Requests   int64
	Goroutines int
}

// beSidecar looks after dir/*/app.db, and captures dir/*/plain.db, as pagetrail run does, until its input ends.
func beSidecar(dir string) {
	debug.SetMemoryLimit(64 << 20) // as the command does
	s, err := sidecar.New(context.Background(), &sidecar.Options{
		Sources: []sidecar.Source{
			{Glob: filepath.Join(dir, "*", "app.db"), To: "store", Key: nameOf},
			{Glob: filepath.Join(dir, "*", "plain.db"), To: "store", Key: nameOf, Capture: true},
		},
		Open: func(context.Context, string) (objstore.Store, error) { return file.Open(dir+"-store", nil), nil },
	})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		out := json.NewEncoder(os.Stdout)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			r := report{Status: s.Status(func(*sidecar.DatabaseStatus) bool { return false }), Goroutines: runtime.NumGoroutine()}
			for _, n := range r.Status.Requests {
				r.Requests += n.Requests
			}
			if err := out.Encode(r); err != nil {
				panic(err)
			}
		}
		cancel()
	}()
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func nameOf(path string) (string, error) { return filepath.Base(filepath.Dir(path)), nil }

// child is that process, as the test sees it.
type child struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func startChild(tb testing.TB, dir string) *child {
	c := &child{tb: tb, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), "PAGETRAIL_TEST_SIDECAR="+dir)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	c.out = json.NewDecoder(out)
	tb.Cleanup(func() { c.cmd.Process.Kill(); c.cmd.Wait() })
	return c
}

func (c *child) ask() (r report) {
	c.tb.Helper()
	if _, err := io.WriteString(c.in, "?\n"); err != nil {
		c.tb.Fatal(err)
	}
	if err := c.out.Decode(&r); err != nil {
		c.tb.Fatal(err)
	}
	return r
}

func (c *child) until(what string, ok func(r report) bool) report {
	c.tb.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r := c.ask()
		if ok(r) {
			return r
		}
		if time.Now().After(end) {
			c.tb.Fatalf("waited two minutes for %s: %+v", what, r)
		}
	}
}

// files counts its open files, rss is its memory in bytes; -1 where the system does not tell.
func (c *child) files() int {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		return -1
	}
	return len(names)
}

func (c *child) rss() int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	_, rest, ok := strings.Cut(string(data), "VmHWM:")
	if !ok {
		return -1
	}
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		return -1
	}
	return n << 10
}

// tenant is a kind of databases: with programs that use the VFS, or that are captured.
type tenant struct {
	name    string
	params  string
	capture bool
	trail   int64 // transactions that each has at first
}

var (
	ofVFS   = tenant{"app.db", "?vfs=pagetrail", false, 3}
	watched = tenant{"plain.db", "", true, 1}
)

// tenants makes n databases with trails that were shipped, by copying one: dir/<number>/<name>.
func tenants(tb testing.TB, k tenant, n int) (dir string) {
	tb.Helper()
	dir = filepath.Join(tb.TempDir(), "tenants")
	one := filepath.Join(tb.TempDir(), k.name)
	c := k.open(tb, one)
	for _, sql := range []string{schema, "INSERT INTO t(a) VALUES(randomblob(20000))", "PRAGMA pagetrail_txid"} {
		if err := c.Exec(sql); err != nil {
			tb.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		tb.Fatal(err)
	}
	if k.capture {
		w, err := vfs.NewWatcher(one, &vfs.WatchOptions{})
		if err == nil {
			_, err = w.Step()
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	tail := filepath.Join(one+"-pagetrail", "0000000000000001.seg")
	info, err := os.Stat(tail)
	if err != nil {
		tb.Fatal(err)
	}
	database, err := os.Stat(one)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		to := filepath.Join(dir, fmt.Sprint(i))
		if err := os.CopyFS(to, os.DirFS(filepath.Dir(one))); err != nil {
			tb.Fatal(err)
		}
		trail := filepath.Join(to, k.name+"-pagetrail")
		mark, err := json.Marshal(ship.Mark{
			Format: 1, Archive: fmt.Sprintf("store/%d", i), Last: journal.TXID(k.trail), Tail: filepath.Base(tail), Size: info.Size(), MTime: info.ModTime().UnixNano(),
		})
		if err == nil {
			err = os.WriteFile(filepath.Join(trail, "shipped"), mark, 0o644)
		}
		if err == nil {
			err = os.Chtimes(filepath.Join(trail, filepath.Base(tail)), info.ModTime(), info.ModTime())
		}
		if err == nil && k.capture {
			seen := fmt.Sprintf(`{"bytes":%d,"mtime_ns":%d}`, database.Size(), database.ModTime().UnixNano())
			err = errors.Join(os.WriteFile(filepath.Join(trail, "watched"), []byte(seen), 0o644),
				os.Chtimes(filepath.Join(to, k.name), database.ModTime(), database.ModTime()))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func (k tenant) open(tb testing.TB, path string) *sqlite3.Conn {
	tb.Helper()
	c, err := sqlite3.Open("file:" + path + k.params)
	if err == nil {
		err = c.Exec("PRAGMA busy_timeout=60000; PRAGMA journal_mode=WAL")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// many looks after n databases of which one in a hundred is written to, and says what that took.
func many(tb testing.TB, k tenant, n int) {
	dir := tenants(tb, k, n)
	begin := time.Now()
	c := startChild(tb, dir)
	r := c.until("ready", func(r report) bool { return r.Status.Ready })
	start := time.Since(begin)
	if r.Status.Databases != n || r.Status.States[sidecar.Resting] != n || r.Requests != 0 {
		tb.Fatalf("at the start: %+v", r)
	}
	idleFiles := c.files()
	busy := n / 100
	var goroutines, files int
	for i := range busy {
		t := k.open(tb, filepath.Join(dir, fmt.Sprint(i*100), k.name))
		defer t.Close()
		for range 5 {
			if err := t.Exec("INSERT INTO t(a) VALUES(randomblob(2000))"); err != nil {
				tb.Fatal(err)
			}
		}
		if err := t.Exec("PRAGMA pagetrail_txid"); err != nil { // so that it is in the trail
			tb.Fatal(err)
		}
	}
	r = c.until("all shipped", func(r report) bool {
		goroutines, files = max(goroutines, r.Goroutines), max(files, c.files())
		return r.Status.Totals.Transactions == int64(busy)*(k.trail+5) && r.Status.Behind == 0
	})
	// Each is looked at once; how many batches its commits are in, each with a hint, is up to how long they took.
	if most := int64(busy*6+10) + 2*r.Status.Totals.Batches; r.Requests > most {
		tb.Errorf("%d requests for %d databases that were written to, and %d batches, at most %d", r.Requests, busy, r.Status.Totals.Batches, most)
	}
	if goroutines > 100 || idleFiles > 64 || files > 64+k.files()*busy || c.rss() > 150<<20 {
		tb.Errorf("%d goroutines, %d files at rest, %d with %d active, %d bytes", goroutines, idleFiles, files, busy, c.rss())
	}
	tb.Logf("%d databases, %d active: ready after %v, %d goroutines, %d files at rest and %d active, %.0f MB, %d requests",
		n, busy, start.Round(time.Millisecond), goroutines, idleFiles, files, float64(c.rss())/1e6, r.Requests)
	if b, ok := tb.(*testing.B); ok {
		b.ReportMetric(start.Seconds(), "s-to-ready")
		b.ReportMetric(float64(c.rss())/1e6, "MB-rss")
		b.ReportMetric(float64(goroutines), "goroutines")
		b.ReportMetric(float64(idleFiles), "files-at-rest")
		b.ReportMetric(float64(files-idleFiles)/float64(busy), "files/active")
		if start > 5*time.Second {
			b.Errorf("ready after %v", start)
		}
	}
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		tb.Error(err)
	}
}

// files that are open of an active database at the most: a trail and its lock; and database, WAL, index and more of one
// that is captured.
func (k tenant) files() int {
	if k.capture {
		return 12
	}
	return 4
}

// Many databases cost next to nothing at rest.
func TestMany(t *testing.T) {
	for _, k := range []tenant{ofVFS, watched} {
		t.Run(k.name, func(t *testing.T) { many(t, k, 200) })
	}
}

// BenchmarkTenThousand: what do 10,000 databases take, of which 100 are active?
func BenchmarkTenThousand(b *testing.B) {
	for _, k := range []tenant{ofVFS, watched} {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				many(b, k, 10_000)
			}
		})
	}
}
