package crashtest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
)

// Three databases of one connection, one of them in a directory of its own.
var (
	attachedNames   = []string{dbName, "other/y.db", "z.db"}
	attachedSchemas = []string{"main", "b", "c"}
)

// joint is a transaction over some of the attached databases.
type joint struct {
	in     []int // the databases that it writes to
	sql    string
	end    string // COMMIT or ROLLBACK
	held   bool   // the first COMMIT meets a reader of the last of them
	reopen bool   // no transaction: the connection is closed and opened again
}

func (j joint) String() string {
	if j.reopen {
		return "reopen"
	}
	return fmt.Sprintf("%s; held=%v, %s", step{sql: j.sql}, j.held, j.end)
}

// jointWork makes n random steps.
func jointWork(rng *rand.Rand, n int) []joint {
	work := make([]joint, 0, n)
	for range n {
		j := joint{end: "COMMIT", in: rng.Perm(3)}
		many := 1
		switch p := rng.IntN(100); {
		case p < 45:
			j.in = j.in[:2+rng.IntN(2)]
		case p < 60:
			j.in, many = j.in[:2], 4
		case p < 72:
			j.in, j.end, many = j.in[:2], "ROLLBACK", 4
		case p < 80:
			j.in = j.in[:1]
		case p < 88:
			j.held = true
		case p < 94:
			j.held, j.end = true, "ROLLBACK"
		case p < 97:
			work = append(work, joint{sql: "VACUUM " + attachedSchemas[j.in[0]]})
			continue
		default:
			work = append(work, joint{reopen: true})
			continue
		}
		slices.Sort(j.in)
		var b strings.Builder
		for _, d := range j.in {
			schema := attachedSchemas[d] + "."
			b.WriteString(strings.NewReplacer("INTO t(", "INTO "+schema+"t(", "UPDATE t ", "UPDATE "+schema+"t ", "FROM t ", "FROM "+schema+"t ",
				"FROM t)", "FROM "+schema+"t)").Replace(statements(rng, many)))
			b.WriteString("UPDATE " + schema + "meta SET step=%[1]d; ")
		}
		j.sql = b.String()
		work = append(work, j)
	}
	return work
}

// family is a run of joint transactions. A super-journal and the journals that
// go with it have each other's full names, so what is found after a cut must be
// where it was: the cuts are taken up when the run has ended.
type family struct {
	m     *mount
	conn  *sqlite3.Conn
	dbs   []*world // the history of each database
	joint []int    // by database: the last transaction over several files that was acknowledged
	steps []joint
	at    int // step under way
	cuts  []*familyCut
	ops   int
	every int // operations that change anything for each cut
	sum   *tally
}

// familyCut is a cut, and what each database must still have.
type familyCut struct {
	cut
	acked, joint []int
}

func newFamily(set setup, seed uint64, temp string, every int, sum *tally) (*family, error) {
	m, err := mountDisk(crashfs.New(newRoot(temp)))
	if err != nil {
		return nil, err
	}
	f := &family{m: m, joint: make([]int, len(attachedNames)), every: every, sum: sum}
	if err := f.create(set, seed, temp); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *family) create(set setup, seed uint64, temp string) error {
	if err := f.m.FS().Mkdir(f.m.Path("other"), 0o755); err != nil {
		return err
	}
	first := f.m.ours
	if set.existing {
		first = f.m.plain
	}
	for _, name := range attachedNames {
		w := &world{set: set, seed: seed, temp: temp, m: f.m.of(name)}
		f.dbs = append(f.dbs, w)
		if err := w.create(first); err != nil {
			return err
		}
	}
	if err := f.reopen(); err != nil {
		return err
	}
	for i, w := range f.dbs {
		if err := f.conn.Exec("CREATE TABLE " + attachedSchemas[i] + ".other(x)"); err != nil {
			return err
		}
		if err := w.takeIn(0); err != nil {
			return err
		}
		w.first = len(w.hist)
	}
	if set.sync == "NORMAL" {
		f.m.InOrder(func(name string) bool { return strings.HasSuffix(name, "-journal") }) // as newWorld has it
	}
	f.m.SyncAll()
	return nil
}

func (f *family) close() {
	if f.conn != nil {
		f.conn.Close()
		f.conn = nil
	}
	f.m.unmount()
}

func (f *family) reopen() error {
	if c := f.conn; c != nil {
		f.conn = nil
		if err := c.Close(); err != nil {
			return err
		}
	}
	c, err := openAttached(f.m, f.m.ours)
	if err != nil {
		return err
	}
	f.conn = c
	set := f.dbs[0].set
	for _, schema := range attachedSchemas {
		err := c.Exec(fmt.Sprintf("PRAGMA %[1]s.journal_mode=%[2]s; PRAGMA %[1]s.synchronous=%[3]s; PRAGMA %[1]s.cache_size=%[4]d",
			schema, set.journal, set.sync, set.cache))
		if err != nil {
			return err
		}
	}
	return c.Exec("PRAGMA busy_timeout=0")
}

// openAttached opens all databases with one connection.
func openAttached(m *mount, vfsName string) (*sqlite3.Conn, error) {
	c, err := m.open(vfsName, "")
	if err != nil {
		return nil, err
	}
	for i, name := range attachedNames[1:] {
		err := c.Exec(fmt.Sprintf("ATTACH 'file:%s?vfs=%s' AS %s", m.Path(name), vfsName, attachedSchemas[i+1]))
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func (f *family) run(steps []joint) error {
	f.steps = steps
	f.m.OnOp(f.hook)
	for i, j := range steps {
		f.at = i + 1
		err := f.step(j)
		for _, w := range f.dbs {
			mark := 0
			if err == nil && slices.Contains(j.in, slices.Index(f.dbs, w)) && j.end == "COMMIT" {
				mark = f.at
			}
			if err == nil {
				err = w.takeIn(mark)
			}
		}
		if err != nil {
			return fmt.Errorf("step %d: %s: %w\n%s", f.at, j, err, f.m.log)
		}
	}
	f.m.OnOp(nil)
	f.close()
	for _, c := range f.cuts {
		if err := f.check(c); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}

func (f *family) step(j joint) error {
	switch {
	case j.reopen:
		return f.reopen()
	case len(j.in) == 0:
		return f.conn.Exec(j.sql)
	}
	if err := f.conn.Exec("BEGIN; " + withNumber(j.sql, f.at)); err != nil {
		return err
	}
	if j.held {
		if err := f.meetReader(j.in[len(j.in)-1]); err != nil {
			return err
		}
	}
	if err := f.conn.Exec(j.end); err != nil || j.end != "COMMIT" {
		return err
	}
	for _, d := range j.in {
		if f.dbs[d].acked = f.at; len(j.in) > 1 {
			f.joint[d] = f.at
		}
	}
	return nil
}

// meetReader has a COMMIT fail since somebody reads database d, unless the
// transaction has spilled and nobody can.
func (f *family) meetReader(d int) error {
	r, err := f.dbs[d].m.open(f.m.plain, "")
	if err != nil {
		return err
	}
	defer r.Close()
	switch err := r.Exec("PRAGMA busy_timeout=0; BEGIN; SELECT step FROM meta"); {
	case errors.Is(err, sqlite3.BUSY):
		return nil
	case err != nil:
		return err
	}
	if err := f.conn.Exec("COMMIT"); !errors.Is(err, sqlite3.BUSY) {
		return fmt.Errorf("a COMMIT beside a reader: %w", err)
	}
	return r.Exec("COMMIT")
}

func (f *family) hook(op crashfs.Op) crashfs.Fault {
	if !op.Kind.Changes() {
		return crashfs.Fault{}
	}
	w := f.dbs[0]
	// Every sync, whatever has to do with the decision, and some of all others.
	always := op.Kind == crashfs.Sync || op.Kind == crashfs.SyncDir || role(op.Name) == "super-journal"
	if f.ops++; !always && (f.ops+int(w.seed))%f.every != 0 {
		return crashfs.Fault{}
	}
	c := &familyCut{
		cut: cut{op: op, crash: crashfs.PowerCut, step: f.at, seed: w.seed ^ uint64(op.N)<<20}, joint: slices.Clone(f.joint),
	}
	if f.ops%4 == 0 {
		c.crash = crashfs.Kill
	}
	for _, w := range f.dbs {
		c.acked = append(c.acked, w.acked)
	}
	c.before, c.other = f.clone(c), f.clone(c)
	f.cuts = append(f.cuts, c)
	return crashfs.Fault{}
}

func (f *family) clone(c *familyCut) *crashfs.Disk {
	_, real := newRoot(f.dbs[0].temp)
	return f.m.Clone(f.m.Path(""), real, c.crash, c.seed)
}

// check takes up what a cut left, with SQLite first and with us first.
func (f *family) check(c *familyCut) error {
	f.sum.cuts++
	f.sum.kinds[string(c.op.Kind)+" "+role(c.op.Name)]++
	if c.crash == crashfs.Kill {
		f.sum.kills++
	}
	order := rand.New(rand.NewPCG(c.seed, 2)).Perm(len(f.dbs))
	var kept []int
	err := mounted(c.before, func(m *mount) (err error) {
		if kept, err = f.judge(c, m, order); err != nil {
			return fmt.Errorf("SQLite without us: %w", err)
		}
		return f.takeUp(c, m, kept, order, true)
	})
	if err != nil {
		return fmt.Errorf("SQLite first, then us: %w", err)
	}
	err = mounted(c.other, func(m *mount) error { return f.takeUp(c, m, kept, order, false) })
	if err != nil {
		return fmt.Errorf("us first: %w", err)
	}
	return nil
}

// mounted calls fn with the disk mounted.
func mounted(d *crashfs.Disk, fn func(*mount) error) error {
	m, err := mountDisk(d)
	if err != nil {
		return err
	}
	defer m.unmount()
	if err := fn(m); err != nil {
		return fmt.Errorf("%w\n%s", err, m.log)
	}
	return nil
}

// judge asks the driver without our VFS what is left.
func (f *family) judge(c *familyCut, m *mount, order []int) ([]int, error) {
	kept := make([]int, len(f.dbs))
	for _, d := range order {
		got, err := m.of(attachedNames[d]).judge()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", attachedNames[d], err)
		}
		kept[d] = got.mark
	}
	if err := f.atomic(c.step, kept); err != nil {
		return nil, err
	}
	return kept, f.durable(c, kept)
}

// atomic says whether all databases agree about every transaction of the steps
// so far, by the number of the last that each has.
func (f *family) atomic(steps int, kept []int) error {
	for i, j := range f.steps[:steps] {
		if j.end != "COMMIT" {
			continue
		}
		for _, d := range j.in {
			if has := kept[d] > i; has != (kept[j.in[0]] > i) {
				return fmt.Errorf("transaction %d over %v is in some of the databases only: they have those up to %v", i+1, j.in, kept)
			}
		}
	}
	return nil
}

// durable: what was decided by removing a super-journal stays, since SQLite
// syncs the directory then.
func (f *family) durable(c *familyCut, kept []int) error {
	for d := range f.dbs {
		want := c.joint[d]
		if c.crash == crashfs.Kill {
			want = c.acked[d]
		}
		if kept[d] < want {
			return fmt.Errorf("transaction %d was acknowledged, %s has %d", want, attachedNames[d], kept[d])
		}
	}
	return nil
}

// takeUp opens what is left with our VFS, each database by itself or all
// together, writes, and compares.
func (f *family) takeUp(c *familyCut, m *mount, kept, order []int, second bool) error {
	got := make([]int, len(f.dbs))
	if order[0] == 0 {
		if err := writeJointly(m, got); err != nil {
			return err
		}
	} else {
		for _, d := range order {
			once, err := m.of(attachedNames[d]).writeOnce(f.dbs[d])
			if err != nil {
				return fmt.Errorf("%s: %w", attachedNames[d], err)
			}
			got[d] = once.mark
		}
	}
	if !slices.Equal(got, kept) {
		return fmt.Errorf("with us SQLite has transactions %v, without us %v", got, kept)
	}
	found := map[string][]int{} // databases by the super-journal that decided
	for d, w := range f.dbs {
		of := c.cut
		of.acked = c.acked[d]
		txs, err := f.sum.agree(w, &of, m.of(attachedNames[d]), kept[d], second)
		if err != nil {
			return fmt.Errorf("%s: %w", attachedNames[d], err)
		}
		for _, tx := range txs[:len(txs)-1] {
			if tx.Super != "" {
				found[tx.Super] = append(found[tx.Super], d)
			}
		}
	}
	for super, in := range f.supers() {
		if got := found[super]; got != nil && !slices.Equal(got, in) {
			return fmt.Errorf("a transaction over %v is in the trails of %v", in, got)
		}
	}
	return nil
}

// supers are the databases of each joint transaction, as the history has them.
func (f *family) supers() map[string][]int {
	all := map[string][]int{}
	for d, w := range f.dbs {
		for _, tx := range w.hist {
			if tx.Super != "" && tx.Kind == journal.Ordinary {
				all[tx.Super] = append(all[tx.Super], d)
			}
		}
	}
	return all
}

// writeJointly reads the marks and writes a transaction over all databases.
func writeJointly(m *mount, got []int) error {
	c, err := openAttached(m, m.ours)
	if err != nil {
		return err
	}
	for d, schema := range attachedSchemas {
		if err == nil {
			got[d], err = number(c, "SELECT step FROM "+schema+".meta")
		}
	}
	if err == nil {
		err = c.Exec("BEGIN; " + strings.ReplaceAll("UPDATE main.meta SET step=N; UPDATE b.meta SET step=N; UPDATE c.meta SET step=N; COMMIT", "N", fmt.Sprint(own)))
	}
	return errors.Join(err, c.Close())
}

// TestAttached cuts transactions over several rollback-mode databases off. All
// of the files have such a transaction afterwards or none has, and so do their
// trails.
func TestAttached(t *testing.T) {
	for i, c := range combos() {
		if c[0] == "WAL" || c[1] == "OFF" {
			continue // SQLite does not make these atomic over several files
		}
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			temp := tempDir(t)
			seed := envInt("PAGETRAIL_SEED", uint64(i)<<32|1)
			sum, joints := &tally{kinds: map[string]int{}}, 0
			for ; sum.cuts < cutsWanted()/20; seed++ {
				rng := rand.New(rand.NewPCG(seed, 11))
				set := randomSetup(rng, c[0], c[1])
				f, err := newFamily(set, seed, temp, 24, sum)
				if err != nil {
					t.Fatalf("%v: %v", set, err)
				}
				err = f.run(jointWork(rng, 8))
				joints += len(f.supers())
				f.close()
				if err != nil {
					t.Errorf("PAGETRAIL_SEED=%#x: %v: %v", seed, set, err)
					break
				}
			}
			t.Logf("%s, %d transactions over several files: seeds up to %#x", sum, joints, seed)
		})
	}
}
