package crashtest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/vfs"
)

// TestWriters has four processes write one database, two through our VFS, the
// sqlite3 shell and Python, and kills them at random. In the end the database
// has exactly the transactions that it acknowledged, but for those under way
// when a process was killed, and the trail has them all.
//
// It ends after a number of transactions; with PAGETRAIL_WRITERS=1m after that
// time.
func TestWriters(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("skipped: there is no sqlite3")
	}
	python, err := findPython()
	if err != nil {
		t.Skipf("skipped: there is no python3 with sqlite3: %v", err)
	}
	for i, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			seed := envInt("PAGETRAIL_SEED", uint64(i)+1)
			p := newParty(filepath.Join(tempDir(t), dbName), mode, seed)
			p.add("pagetrail", self("PAGETRAIL_TEST_WRITER="+p.path, "PAGETRAIL_TEST_MODE="+mode), strconv.Itoa)
			p.add("pagetrail, inline", self("PAGETRAIL_TEST_WRITER="+p.path, "PAGETRAIL_TEST_MODE="+mode, "PAGETRAIL_TEST_PARAMS=&encode=inline"), strconv.Itoa)
			p.add("sqlite3", func(life int) *exec.Cmd { return exec.Command(shell, "-batch", "-bail", p.path) }, nil)
			p.add("python3", func(life int) *exec.Cmd {
				return exec.Command(python, "-c", pythonWriter, p.path, mode, strconv.Itoa(life), writersTx)
			}, strconv.Itoa)
			if err := p.run(); err != nil {
				t.Fatalf("PAGETRAIL_SEED=%#x: %v", seed, err)
			}
			report, err := p.audit(shell)
			if err != nil {
				t.Errorf("PAGETRAIL_SEED=%#x: %s: %v", seed, p, err)
			}
			t.Logf("%s; %s", p, report)
		})
	}
}

// findPython finds a Python that has its sqlite3 module: itself, not the script
// that some systems have before it.
func findPython() (string, error) {
	out, err := exec.Command("python3", "-c", "import sqlite3, sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
}

// self makes commands of the test binary with these variables.
func self(env ...string) func(life int) *exec.Cmd {
	return func(life int) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(append(os.Environ(), env...), fmt.Sprintf("PAGETRAIL_TEST_LIFE=%d", life))
		return cmd
	}
}

// What every writer begins with and does. A transaction adds a row that names
// the process and the transaction, counts it, and rewrites a page elsewhere.
// With these sizes nothing is ever put on the free-list: what a hot journal does
// not restore of it, when one program dies and another one plays its journal
// back, is a known limit.
const (
	writersSchema = "CREATE TABLE done(life INT, seq INT, pad BLOB, PRIMARY KEY(life, seq)); CREATE TABLE total(n INT); INSERT INTO total VALUES(0);" +
		"CREATE TABLE filler(id INTEGER PRIMARY KEY, b BLOB); INSERT INTO filler SELECT value, zeroblob(700) FROM json_each('[0,1,2,3,4,5,6,7,8,9,10,11,12]');"
	writersTx = "BEGIN IMMEDIATE; INSERT INTO done VALUES(%[1]d, %[2]d, randomblob(%[2]d%%211)); UPDATE total SET n=n+1; UPDATE filler SET b=randomblob(700) WHERE id=%[2]d%%13; COMMIT;"

	pythonWriter = `
import sqlite3, sys
path, mode, life = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("PRAGMA synchronous=" + ("NORMAL" if mode == "WAL" else "FULL"))
for line in sys.stdin:
    seq = int(line)
    for sql in sys.argv[4].replace("%[1]d", str(life)).replace("%[2]d", str(seq)).replace("%%", "%").split(";")[:-1]:
        db.execute(sql)
    print(seq, flush=True)
db.close()
`
)

// writer is one of our own processes: it makes a transaction for each line of
// its input, and prints its number when it was acknowledged.
func writer(path string) (err error) {
	life, err := strconv.Atoi(os.Getenv("PAGETRAIL_TEST_LIFE"))
	if err != nil {
		return err
	}
	c, err := sqlite3.Open("file:" + path + "?vfs=" + vfs.Name + os.Getenv("PAGETRAIL_TEST_PARAMS"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	sync := "FULL"
	if os.Getenv("PAGETRAIL_TEST_MODE") == "WAL" {
		sync = "NORMAL"
	}
	if err := c.Exec("PRAGMA busy_timeout=60000; PRAGMA wal_autocheckpoint=40; PRAGMA synchronous=" + sync); err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		seq, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		if err := c.Exec(fmt.Sprintf(writersTx, life, seq)); err != nil {
			return fmt.Errorf("transaction %d: %w", seq, err)
		}
		fmt.Println(seq)
	}
	return nil
}

// shellTx is a transaction for the sqlite3 shell, on one line.
func shellTx(life, seq int) string {
	s := fmt.Sprintf(writersTx+" SELECT %[2]d;", life, seq)
	if seq == 1 {
		s = "PRAGMA busy_timeout=60000; " + s
	}
	return s
}

// party are the processes that write one database.
type party struct {
	path, mode string
	rng        *rand.Rand
	members    []*member
	events     chan event
	lives      []*life // lives[i] has the number i+1
	total      int     // transactions acknowledged
	kills      int
	stopping   bool
	until      time.Time // zero: a number of transactions is the end
	began      time.Time
	took       time.Duration
}

// member is a program that is started again whenever it was killed.
type member struct {
	name    string
	command func(life int) *exec.Cmd
	line    func(seq int) string // nil: SQL
	life    *life
	acked   int // in all lives
}

// life is one process.
type life struct {
	number int
	of     *member
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr strings.Builder
	sent   int // transactions it was told to make
	acked  int
	killed bool
}

// event is a line that a process printed, or its end.
type event struct {
	of   *life
	line string
	end  bool
}

func newParty(path, mode string, seed uint64) *party {
	p := &party{path: path, mode: mode, rng: rand.New(rand.NewPCG(seed, 17)), events: make(chan event), began: time.Now()}
	if d, err := time.ParseDuration(os.Getenv("PAGETRAIL_WRITERS")); err == nil {
		p.until = p.began.Add(d)
	}
	return p
}

func (p *party) add(name string, command func(int) *exec.Cmd, line func(int) string) {
	p.members = append(p.members, &member{name: name, command: command, line: line})
}

func (p *party) String() string {
	by := map[string]int{}
	for _, m := range p.members {
		by[m.name] = m.acked
	}
	return fmt.Sprintf("%d transactions acknowledged in %v (%v), %d processes, %d killed",
		p.total, p.took.Round(100*time.Millisecond), by, len(p.lives), p.kills)
}

// run has all of them write until it is enough, and returns when the last has
// ended.
func (p *party) run() error {
	c, err := sqlite3.Open("file:" + p.path + "?vfs=" + vfs.Name)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Exec("PRAGMA page_size=1024; PRAGMA journal_mode="+p.mode+";"+writersSchema), c.Close()); err != nil {
		return err
	}
	for _, m := range p.members {
		if err := p.start(m); err != nil {
			return err
		}
	}
	defer p.killAll()
	next := 10
	defer func() { p.took = time.Since(p.began) }()
	for alive := len(p.members); alive > 0; {
		e := <-p.events
		if !e.end {
			if err := p.acknowledged(e); err != nil {
				return err
			}
			if p.total >= next && !p.stopping {
				// Whoever did not just commit may be anywhere.
				next += 5 + p.rng.IntN(20)
				p.kill(p.members[p.rng.IntN(len(p.members))].life)
			}
			continue
		}
		if err := p.ended(e.of); err != nil {
			return err
		}
		if alive--; !p.stopping {
			if err := p.start(e.of.of); err != nil {
				return err
			}
			alive++
		}
	}
	return nil
}

func (p *party) start(m *member) error {
	l := &life{number: len(p.lives) + 1, of: m}
	l.cmd = m.command(l.number)
	l.cmd.Stderr = &l.stderr
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := l.cmd.Start(); err != nil {
		return err
	}
	m.life, p.lives = l, append(p.lives, l)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.events <- event{of: l, line: lines.Text()}
		}
		p.events <- event{of: l, end: true}
	}()
	// Two at a time, so that it never waits for us.
	return errors.Join(l.send(), l.send())
}

// send tells the process to make one more transaction.
func (l *life) send() error {
	l.sent++
	line := ""
	if l.of.line == nil {
		line = shellTx(l.number, l.sent)
	} else {
		line = l.of.line(l.sent)
	}
	if _, err := io.WriteString(l.in, line+"\n"); err != nil && !l.killed {
		return fmt.Errorf("%s: %w: %s", l.of.name, err, l.stderr.String())
	}
	return nil
}

func (p *party) acknowledged(e event) error {
	l := e.of
	n, err := strconv.Atoi(e.line)
	if err != nil {
		return fmt.Errorf("%s: %s", l.of.name, e.line)
	}
	if n == 60000 && l.of.line == nil {
		return nil // the shell says what PRAGMA busy_timeout has come to
	}
	if n != l.acked+1 {
		return fmt.Errorf("%s acknowledged %d after %d", l.of.name, n, l.acked)
	}
	l.acked = n
	p.total++
	l.of.acked++
	enough := p.total >= transactionsWanted()
	if !p.until.IsZero() {
		enough = time.Now().After(p.until)
	}
	for _, m := range p.members {
		enough = enough && m.acked >= 10
	}
	if enough && !p.stopping {
		p.stopping = true
		for _, m := range p.members {
			m.life.in.Close()
		}
	}
	if p.stopping {
		return nil
	}
	return l.send()
}

func transactionsWanted() int {
	if testing.Short() {
		return 100
	}
	return 250
}

func (p *party) kill(l *life) {
	if !l.killed && (l.acked > 0 || p.rng.IntN(4) == 0) {
		l.killed = true
		p.kills++
		l.cmd.Process.Kill()
	}
}

// killAll leaves nobody behind after an error.
func (p *party) killAll() {
	for _, l := range p.lives {
		if l.cmd.ProcessState == nil {
			l.cmd.Process.Kill()
			go func() {
				for range p.events { // what it still says
				}
			}()
		}
	}
}

// ended takes down how a process came to its end.
func (p *party) ended(l *life) error {
	l.in.Close()
	err := l.cmd.Wait()
	if l.killed {
		return nil
	}
	if err != nil || l.acked != l.sent {
		return fmt.Errorf("%s ended by itself after %d of %d transactions: %w: %s", l.of.name, l.acked, l.sent, err, l.stderr.String())
	}
	return nil
}
