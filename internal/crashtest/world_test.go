package crashtest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// dbName is the database of every test that has only one.
const dbName = "x.db"

// mount is a disk with its two VFS: the plain one, and ours over it.
type mount struct {
	*crashfs.Disk
	root        string
	db          string // the name of the database that the methods are about
	plain, ours string
	log         *bytes.Buffer
}

var mounts atomic.Int64

// newRoot is a name for a disk, and a directory for its wal-indexes.
func newRoot(temp string) (root, real string) {
	n := mounts.Add(1)
	return fmt.Sprintf("/disk%d", n), filepath.Join(temp, fmt.Sprint(n))
}

func mountDisk(d *crashfs.Disk) (*mount, error) { return mountAt(d, d.Path(""), mountOptions) }

// mountOptions make segments and groups of pages small, so that there are many.
var mountOptions = vfs.Options{SealBytes: 16 << 10, GroupBytes: 8 << 10}

// mountAt is mountDisk under any name of the root, with options.
func mountAt(d *crashfs.Disk, root string, o vfs.Options) (*mount, error) {
	name := strings.TrimPrefix(root, "/")
	m := &mount{Disk: d, root: root, db: dbName, plain: name, ours: "trail-" + name, log: &bytes.Buffer{}}
	if err := os.MkdirAll(d.Real(), 0o755); err != nil {
		return nil, err
	}
	sqlitevfs.Register(m.plain, d.VFS())
	log := slog.New(slog.NewTextHandler(m.log, nil))
	o.Base, o.FS, o.Log = m.plain, d.FS(), log
	return m, vfs.Register(m.ours, &o)
}

func (m *mount) unmount() {
	m.unregister()
	m.Discard()
}

func (m *mount) unregister() {
	sqlitevfs.Unregister(m.ours)
	sqlitevfs.Unregister(m.plain)
}

// of is the same disk for another database on it.
func (m *mount) of(db string) *mount {
	o := *m
	o.db = db
	return &o
}

func (m *mount) open(vfsName, params string) (*sqlite3.Conn, error) {
	return sqlite3.Open("file:" + filepath.Join(m.root, m.db) + "?vfs=" + vfsName + params)
}

// trail is the directory of the database's trail.
func (m *mount) trail() string { return filepath.Join(m.root, m.db+capture.Suffix) }

// number answers a query for one integer.
func number(c *sqlite3.Conn, sql string) (int, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	defer s.Close()
	n := -1
	if s.Step() {
		n = s.ColumnInt(0)
	}
	if err := s.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return n, nil
}

// trailOf reads the records of a trail after from; none when there is no trail.
func (m *mount) trailOf(from journal.TXID, fn func(*journal.Trail, *journal.Record) error) error {
	return m.recordsOf(m.trail(), from, fn)
}

func (m *mount) recordsOf(dir string, from journal.TXID, fn func(*journal.Trail, *journal.Record) error) error {
	trail, err := journal.Open(dir, &journal.ReadOptions{FS: m.FS()})
	if errors.Is(err, journal.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer trail.Close()
	for rec, err := range trail.Records(context.Background(), from) {
		if err != nil {
			return err
		}
		if err := fn(trail, rec); err != nil {
			return err
		}
	}
	return nil
}

// replay applies the whole trail and returns its records and the database.
func (m *mount) replay() (txs []journal.Tx, db []byte, err error) {
	return m.replayOf(m.trail())
}

func (m *mount) replayOf(dir string) (txs []journal.Tx, db []byte, err error) {
	scratch := crashfs.New("/scratch", "")
	state, err := apply.OpenState(&apply.StateOptions{FS: scratch.FS(), Dir: "/scratch", CacheBytes: 1 << 20})
	if err != nil {
		return nil, nil, err
	}
	defer state.Close()
	ctx := context.Background()
	err = m.recordsOf(dir, 1, func(trail *journal.Trail, rec *journal.Record) error {
		if rec.TXID != journal.TXID(len(txs)+1) {
			return fmt.Errorf("TXID %d follows %d", rec.TXID, len(txs))
		}
		txs = append(txs, rec.Tx)
		if rec.Kind == journal.Base {
			base, err := trail.OpenBase(rec.TXID)
			if err != nil {
				return err
			}
			defer base.Close()
			return state.Load(ctx, base)
		}
		return state.Apply(ctx, rec)
	})
	if err != nil {
		return txs, nil, fmt.Errorf("replay after TXID %d of %d: %w", state.TXID(), len(txs), err)
	}
	var out bytes.Buffer
	if _, err := state.WriteTo(&out); err != nil {
		return txs, nil, err
	}
	return txs, out.Bytes(), nil
}

// world is a run: a disk, connections, and what is known of the transactions.
type world struct {
	set     setup
	seed    uint64
	temp    string
	m       *mount
	conns   []*sqlite3.Conn
	hist    []journal.Tx // hist[i] has TXID i+1
	marks   []int        // the number that the state after it has first, 0: none new
	acked   int          // number of the last transaction that was acknowledged
	flight  int          // number of the step under way
	cuts    []*cut       // of the step under way
	onCut   func(*world, *cut) error
	rng     *rand.Rand
	all     int // kills before every so many operations that change anything, no power cuts
	every   int // power cuts before every so many only; 0: all
	first   int // records before the first step
	changes int // operations so far that change anything
}

// cut is a disk as it was found, and what may be asked of it.
type cut struct {
	op     crashfs.Op
	crash  crashfs.Crash
	seed   uint64
	before *crashfs.Disk
	other  *crashfs.Disk // the same again
	acked  int
	step   int
}

func (c *cut) String() string {
	return fmt.Sprintf("%v with seed %#x before operation %d (%s %s, %d bytes at %d) in step %d, %d acknowledged",
		c.crash, c.seed, c.op.N, c.op.Kind, c.op.Name, c.op.Len, c.op.Off, c.step, c.acked)
}

func newWorld(set setup, seed uint64, temp string) (*world, error) {
	return newWorldOn(crashfs.New(newRoot(temp)), set, seed, temp)
}

func newWorldOn(d *crashfs.Disk, set setup, seed uint64, temp string) (*world, error) {
	m, err := mountAt(d, d.Path(""), vfs.Options{SealBytes: cmp.Or(set.seal, mountOptions.SealBytes), GroupBytes: set.groups})
	if err != nil {
		return nil, err
	}
	w := &world{
		set: set, seed: seed, temp: temp, m: m, conns: make([]*sqlite3.Conn, set.conns),
		rng: rand.New(rand.NewPCG(seed, 7)),
	}
	first := m.ours
	if set.existing {
		first = m.plain
	}
	if err := w.create(first); err != nil {
		w.close()
		return nil, fmt.Errorf("create the database: %w", err)
	}
	if set.fresh && set.existing {
		m.SyncAll() // the trail is begun under the faults
		return w, nil
	}
	for i := range w.conns {
		if err := w.reopen(i); err != nil {
			w.close()
			return nil, err
		}
	}
	if set.existing {
		if err := w.conns[0].Exec("CREATE TABLE other(x)"); err != nil {
			w.close()
			return nil, err
		}
	}
	if set.sync == "NORMAL" && !set.wal() {
		// NORMAL stands on it that a journal's pages arrive before its header,
		// which is why SQLite calls it safe against most power cuts, not all.
		m.InOrder(func(name string) bool { return strings.HasSuffix(name, "-journal") })
	}
	m.SyncAll()
	err = w.learn(0)
	w.first = len(w.hist)
	return w, err
}

func (w *world) create(vfsName string) error {
	c, err := w.m.open(vfsName, w.params())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Exec(fmt.Sprintf(`PRAGMA page_size=%d; PRAGMA auto_vacuum=%d; PRAGMA journal_mode=%s;
		CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB); CREATE INDEX ta ON t(a);
		CREATE TABLE meta(step INT); INSERT INTO meta VALUES(0)`, w.set.pageSize, w.set.autoVacuum, w.set.journal))
}

func (w *world) params() string {
	if w.set.inline {
		return "&encode=inline" + w.set.params
	}
	return w.set.params
}

func (w *world) reopen(i int) error {
	if c := w.conns[i]; c != nil {
		w.conns[i] = nil
		if err := c.Close(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	c, err := w.m.open(w.m.ours, w.params())
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	w.conns[i] = c
	if err := c.Exec(fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=%d; PRAGMA wal_autocheckpoint=20",
		w.set.journal, w.set.sync, w.set.cache)); err != nil {
		return err
	}
	return nil
}

func (w *world) close() {
	for _, c := range w.conns {
		if c != nil {
			c.Close()
		}
	}
	w.m.unmount()
}

// run does the steps and hands every cut to onCut at the end of its step.
func (w *world) run(steps []step) error {
	w.m.OnOp(w.hook)
	for _, s := range steps {
		w.flight++
		if err := w.step(s); err != nil {
			return fmt.Errorf("step %d: %s: %w\n%s", w.flight, s, err, w.m.log.String())
		}
		cuts := w.cuts
		w.cuts = nil
		for _, c := range cuts {
			if err := w.onCut(w, c); err != nil {
				return fmt.Errorf("%v: %w", c, err)
			}
		}
	}
	return nil
}

func (w *world) step(s step) error {
	n := w.flight
	if s.reopen {
		if err := w.reopen(s.conn); err != nil {
			return err
		}
		return w.learn(0)
	}
	if err := w.conns[s.conn].Exec(withNumber(s.sql, n)); err != nil {
		return err
	}
	if s.commit {
		w.acked = n
		return w.learn(n)
	}
	return w.learn(0)
}

// withNumber puts the step's number where mark has its place.
func withNumber(sql string, n int) string { return strings.ReplaceAll(sql, "%[1]d", fmt.Sprint(n)) }

func (w *world) anyConn() *sqlite3.Conn {
	for _, c := range w.conns {
		if c != nil {
			return c
		}
	}
	return nil
}

// learn takes in what the step added to the trail. It asks for the position
// first, which has every transaction so far recorded.
func (w *world) learn(mark int) error {
	if _, err := number(w.conns[0], "PRAGMA pagetrail_txid"); err != nil {
		return err
	}
	return w.takeIn(mark)
}

// takeIn reads what is new in the trail.
func (w *world) takeIn(mark int) error {
	before := len(w.hist)
	err := w.m.trailOf(journal.TXID(before+1), func(_ *journal.Trail, rec *journal.Record) error {
		w.hist = append(w.hist, rec.Tx)
		w.marks = append(w.marks, 0)
		if mark != 0 && rec.Kind == journal.Ordinary {
			w.marks[len(w.marks)-1] = mark
		}
		if rec.Kind == journal.CatchUp {
			return fmt.Errorf("TXID %d is a catch-up record, and nobody but us wrote", rec.TXID)
		}
		return nil
	})
	ordinary := 0
	for _, tx := range w.hist[before:] {
		if tx.Kind == journal.Ordinary {
			ordinary++
		}
	}
	if err == nil && mark != 0 && ordinary > 1 {
		err = fmt.Errorf("one transaction, and %d in the trail: %s", ordinary, describe(w.hist[before:]))
	}
	if mark != 0 && err == nil && (len(w.marks) == before || w.marks[len(w.marks)-1] != mark) {
		err = fmt.Errorf("transaction %d was acknowledged and is not in the trail", mark)
	}
	return err
}

// hook takes clones before every operation that changes anything.
func (w *world) hook(op crashfs.Op) crashfs.Fault {
	if w.onCut == nil || !op.Kind.Changes() {
		return crashfs.Fault{}
	}
	if w.every > 0 {
		if w.changes++; w.changes%w.every != 0 {
			return crashfs.Fault{}
		}
	}
	if w.all > 0 {
		if w.changes++; w.changes%w.all != 0 {
			return crashfs.Fault{}
		}
		c := &cut{op: op, crash: crashfs.Kill, acked: w.acked, step: w.flight}
		c.before, c.other = w.clone(c), w.clone(c)
		w.cuts = append(w.cuts, c)
	}
	for i := range w.set.cuts {
		c := &cut{
			op: op, crash: crashfs.PowerCut, acked: w.acked, step: w.flight,
			seed: w.seed ^ uint64(op.N)<<20 ^ uint64(i)<<12,
		}
		if i == 0 && op.N%8 == 0 {
			c.crash = crashfs.Kill
		}
		c.before, c.other = w.clone(c), w.clone(c)
		w.cuts = append(w.cuts, c)
	}
	return crashfs.Fault{}
}

func (w *world) clone(c *cut) *crashfs.Disk {
	root, real := newRoot(w.temp)
	return w.m.Clone(root, real, c.crash, c.seed)
}

// isCorrupt says that SQLite found the file to be no database, or a broken one.
func isCorrupt(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, fs.ErrNotExist)
}
