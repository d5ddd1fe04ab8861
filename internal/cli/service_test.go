package cli_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
)

// writer is a program that commits to a database until its input ends or it is killed: pagetrail-writer DB IMAGES. Now
// and then it puts what the database has after a checkpoint into IMAGES, under the transaction's number. It prints a
// line for each commit.
func writer() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	path, images := os.Args[1], os.Args[2]
	c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
	fail(err)
	fail(c.Exec("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a BLOB)"))
	for i := 0; ; i++ {
		fail(c.Exec(fmt.Sprintf("INSERT INTO t(a) VALUES(randomblob(%d))", rand.IntN(3000))))
		if rand.IntN(4) == 0 {
			fail(c.Exec("UPDATE t SET a=randomblob(50) WHERE id=(SELECT id FROM t ORDER BY random() LIMIT 1)"))
		}
		if i%8 == 0 {
			fail(c.Exec("PRAGMA wal_checkpoint(TRUNCATE)"))
			s, _, err := c.Prepare("PRAGMA pagetrail_txid")
			fail(err)
			s.Step()
			txid := s.ColumnText(0)
			fail(s.Close())
			data, err := os.ReadFile(path)
			fail(err)
			name := filepath.Join(images, txid)
			fail(os.WriteFile(name+".tmp", data, 0o600))
			fail(os.Rename(name+".tmp", name))
		}
		fmt.Println(i)
	}
}

// service is a process of the test.
type service struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string  // of stdout
	count atomic.Int64 // lines of stdout there were
	mu    sync.Mutex
	err   bytes.Buffer // under mu
}

func (s *service) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err.Write(p)
}

// said is what it has printed to stderr so far.
func (s *service) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err.String()
}

func launch(t testing.TB, name string, args ...string) *service {
	t.Helper()
	s := &service{t: t, cmd: exec.Command(name, args...), lines: make(chan string, 1<<16)}
	s.cmd.Stderr = s
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		s.in, err = s.cmd.StdinPipe()
	}
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.count.Add(1)
			s.lines <- in.Text()
		}
	}()
	t.Cleanup(func() { s.kill() })
	return s
}

// kill ends it without a warning.
func (s *service) kill() {
	s.cmd.Process.Kill()
	s.end()
}

// end waits for its end and returns the exit code.
func (s *service) end() int {
	for range s.lines {
	}
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// until waits for something on stderr.
func (s *service) until(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		if m := re.FindStringSubmatch(s.said()); m != nil {
			return m
		}
		if time.Now().After(end) {
			s.t.Fatalf("it never said %q:\n%s", pattern, s.said())
		}
	}
}

// commits waits for n lines of a writer.
func (s *service) commits(n int) {
	s.t.Helper()
	for range n {
		if _, ok := <-s.lines; !ok {
			s.t.Fatalf("the writer ended: %s", s.said())
		}
	}
}

// Writer and sidecar are killed at random, 200 times (12 under -short), and upkeep beside them; on the way the archive
// gives back what the primary had, at transactions at random, and no object that was there is written again. In the end
// it has each commit that the writer was told of, and is the database. PAGETRAIL_KILLS=2000 is a soak.
func TestKilledServices(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 12
	}
	if n, err := strconv.Atoi(os.Getenv("PAGETRAIL_KILLS")); err == nil {
		kills = n
	}
	const services = 4 // side by side: much of the time is waiting
	for i := range services {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			killServices(t, max(kills/services, 2))
		})
	}
}

// killServices is one writer with its sidecar, of which one or the other is killed so many times.
func killServices(t *testing.T, kills int) {
	dir := t.TempDir()
	db, store, images := filepath.Join(dir, "app.db"), filepath.Join(dir, "store"), filepath.Join(dir, "images")
	if err := os.Mkdir(images, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "run.yaml")
	text := fmt.Sprintf("to: file://%s\ninterval: 20ms\nscan: 50ms\nlook: 20ms\nrest: 200ms\ndatabases:\n- path: %s\n  name: app\n", store, db)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w, s := launch(t, "pagetrail-writer", db, images), launch(t, "pagetrail", "run", "--config", conf)
	var committed int64 // by the writers before
	seen := map[string]time.Time{}
	checked := 0
	for i := range kills {
		w.commits(10 + rand.IntN(80))
		if rand.IntN(2) == 0 {
			w.kill()
			committed += w.count.Load()
			w = launch(t, "pagetrail-writer", db, images)
			w.commits(1)
		} else {
			s.kill()
			s = launch(t, "pagetrail", "run", "--config", conf)
		}
		if i%5 == 4 {
			c := launch(t, "pagetrail", "compact", "file://"+store+"/app")
			w.commits(1 + rand.IntN(60))
			c.kill() // if it is not done yet
		}
		writtenOnce(t, store, seen)
		if i%2 == 1 || i == kills-1 { // else most sidecars die before they have shipped anything, or can be told to end
			for before := len(seen); len(seen) <= before; time.Sleep(time.Millisecond) {
				w.commits(1)
				writtenOnce(t, store, seen)
			}
			checked += restores(t, store+"/app", images, 2)
		}
	}
	w.commits(10)
	w.in.Close()
	w.end()
	committed += w.count.Load()
	rows := recovered(t, db)
	s.cmd.Process.Signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Fatalf("the sidecar ended with %d: %s", code, s.said())
	}
	writtenOnce(t, store, seen)
	checked += restores(t, store+"/app", images, 10)
	if checked == 0 {
		t.Error("nothing was restored")
	}
	if r := run(t, t.Context(), nil, "compact", "file://"+store+"/app"); r.code != 0 {
		t.Errorf("compact, which was killed before: %+v", r)
	}
	wholeHistory(t, store+"/app", db)
	out := filepath.Join(dir, "out.db")
	if r := run(t, t.Context(), nil, "hydrate", "file://"+store+"/app", "-o", out); r.code != 0 {
		t.Fatalf("hydrate: %+v", r)
	}
	want, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the archive's last state is not the database, %v", err)
	}
	if rows < committed {
		t.Errorf("the writer was told of %d commits, the database has %d", committed, rows)
	}
	t.Logf("%d kills, %d restores, %d objects, %d commits", kills, checked, len(seen), rows)
}

// writtenOnce checks that no object but the head, and what a probe tries, is another than when it was seen first.
func writtenOnce(t *testing.T, store string, seen map[string]time.Time) {
	t.Helper()
	for _, glob := range []string{"/app/*/0/*.seg", "/app/*/base/*.base"} {
		names, err := filepath.Glob(store + glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if was, ok := seen[name]; ok && !was.Equal(info.ModTime()) {
				t.Errorf("%s was written again", name)
			}
			seen[name] = info.ModTime()
		}
	}
}

// restores compares some of the images that the archive has, and the last one, with what it gives.
func restores(t *testing.T, store, images string, n int) (checked int) {
	t.Helper()
	r, err := archive.Open(t.Context(), file.Open(store, nil), nil)
	if err != nil {
		return 0 // nothing was shipped yet
	}
	defer r.Close()
	last, err := r.Last()
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(images)
	if err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		id, err := strconv.ParseUint(name.Name(), 10, 64)
		if err != nil || journal.TXID(id) > last.TXID || checked == n {
			continue
		}
		want, err := os.ReadFile(filepath.Join(images, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := apply.HydrateTo(t.Context(), r.Trail, &got, apply.AtTXID(journal.TXID(id)), nil); err != nil {
			t.Fatalf("transaction %d: %v", id, err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("transaction %d from the archive is not what the primary had", id)
		}
		checked++
	}
	return checked
}

// recovered opens the database once more, as the application would: what was committed last before it was killed is in the
// trail then. It is left without a WAL, and its rows are counted.
func recovered(t *testing.T, db string) int64 {
	t.Helper()
	c, err := sqlite3.Open("file:" + db + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("PRAGMA pagetrail_txid; PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	s, _, err := c.Prepare("SELECT count(*) FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Step()
	return s.ColumnInt64(0)
}

// wholeHistory checks that the batches have each transaction once, up to the trail's last.
func wholeHistory(t *testing.T, store, db string) {
	t.Helper()
	r, err := archive.Open(t.Context(), file.Open(store, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	segments, err := r.Segments()
	if err != nil {
		t.Fatal(err)
	}
	next := journal.TXID(1)
	for _, s := range segments {
		if s.First != next {
			t.Errorf("after transaction %d comes a batch from %d on", next-1, s.First)
		}
		next = s.Last + 1
	}
	trail, err := journal.Open(db+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	if last, err := trail.Last(); err != nil || last.TXID != next-1 {
		t.Errorf("the trail ends with %d (%v), the archive with %d", last.TXID, err, next-1)
	}
	if _, err := apply.Verify(t.Context(), r.Trail, nil); err != nil {
		t.Error(err)
	}
}

// A service reads its configuration again at SIGHUP, answers what it is asked, keeps what it has when the new
// configuration is wrong, and says with its exit code whether everything is shipped.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	conf, store := filepath.Join(dir, "run.yaml"), filepath.Join(dir, "store")
	grace := "1m" // on a machine that is busy, the little that is left to do may take a while
	configure := func(databases string) {
		text := fmt.Sprintf("to: file://%s\nlisten: 127.0.0.1:0\nlog: {format: json}\ninterval: 10ms\nscan: 20ms\nlook: 20ms\ngrace: %s\ndatabases:\n%s", store, grace, databases)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("- path: a.db\n  name: a\n")
	if r := run(t, t.Context(), nil, "run", "--config", conf, "--check"); r.code != 0 || !strings.Contains(r.err, "is right") {
		t.Errorf("check: %+v", r)
	}
	s := launch(t, "pagetrail", "run", "--config", conf)
	address := s.until(`"address":"([0-9.:]+)"`)[1]
	get := func(path string) string {
		t.Helper()
		r, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	until := func(path, want string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !strings.Contains(get(path), want); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s never had %q:\n%s", path, want, get(path))
			}
		}
	}
	until("/readyz", "ok")
	until("/healthz", "ok")
	commit := func(name, params string) {
		t.Helper()
		c, err := sqlite3.Open("file:" + filepath.Join(dir, name) + params)
		if err == nil {
			defer c.Close()
			err = c.Exec("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1)")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	commit("a.db", "?vfs=pagetrail")
	until("/metrics", "\npagetrail_shipped_transactions_total 3\n")
	commit("b.db", "")
	configure("- path: a.db\n  name: a\n- path: b.db\n  capture: true\n  name: b\n")
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.until("configuration was read again")
	until("/status?all", `"path":"`+filepath.Join(dir, "b.db")+`","archive":"`+store+`/b","state":"active","capture":true,"trail_txid":1,"shipped_txid":1`)
	configure("- path: a.db\n  nmae: a\n")
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.until(`run.yaml:10: unknown key .*did you mean name:`)
	s.cmd.Process.Signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Errorf("ended with %d:\n%s", code, s.said())
	}

	// A store that cannot be written to: there is something left, and it is said.
	grace = "200ms"
	configure("- path: a.db\n  to: file:///proc/nothing\n")
	s = launch(t, "pagetrail", "run", "--config", conf)
	s.until("is not shipped|failed")
	s.cmd.Process.Signal(syscall.SIGTERM)
	if code := s.end(); code != 12 || !strings.Contains(s.said(), "a.db") {
		t.Errorf("ended with %d:\n%s", code, s.said())
	}
}
