package crashtest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// mutant is a fault of the engine, made on purpose.
type mutant struct {
	name, file, old, new string
	run                  string // the tests that must catch it
}

var mutants = []mutant{
	{"the trail is not synced beside the database", "vfs/file.go", "if !f.conn.Unsynced() {", "if true {", "TestPowerCuts/DELETE/FULL"},
	{"a transaction is committed before the commit point", "internal/capture/connprepare.go", "return c.append(v, tx, true)", "return c.append(v, tx, false)", "TestKillPoints/DELETE/FULL"},
	{"what a rollback after a spill left is ignored", "internal/capture/connunlock.go", "c.db.do(true, c.residue)", "c.db.do(true, c.dropPrepared)", "TestOutsiders/DELETE/OFF"},
	{"a stale page hash is trusted", "internal/capture/table.go", "return err == nil && sum == tx.Sum", "return err == nil && (sum == tx.Sum || true)", "TestForeignCheckpoint"},
	{"the trail is not synced before a checkpoint", "internal/capture/connwal.go", "		return c.db.durable()\n	})\n	c.db.goOn()", "		return nil\n	})\n	c.db.goOn()", "TestPowerCuts/WAL/NORMAL"},
	{"the trail is not synced before the WAL begins anew", "internal/capture/connwal.go", "		db.generation.Store(saltKey(hdr.Salt))\n		return db.durable()", "		db.generation.Store(saltKey(hdr.Salt))\n		return nil", "TestForeignCheckpoint"},
	{"nothing is caught up before a checkpoint", "internal/capture/connwal.go", "	c.ckptErr = c.db.permit(false, func() error {\n		if err := c.db.settleWAL(c.files()); err != nil {\n			return err\n		}", "	c.ckptErr = c.db.permit(false, func() error {", "TestPowerCuts/WAL|TestKillPoints/WAL"},
	{"the directory of a new journal is not synced", "vfs/file.go", "if f.dir == \"\" {", "if true {", "TestPowerCuts/DELETE/FULL"},
	{"the directory of a new super-journal is not synced", "vfs/vfs.go", "files: v.files, dir: filepath.Dir(name.String())}, out, nil", "files: v.files}, out, nil", "TestAttached/DELETE/FULL"},
	{"the clean stamp survives the first write", "internal/capture/table.go", "	if !t.stamp.Clean {\n		return nil\n	}", "	if true {\n		return nil\n	}", "TestPowerCutAfterCleanClose/DELETE"},
	{"a WAL that nobody knows is taken for ours", "internal/capture/catchup.go", "	default:\n		return errUnknownWAL", "	default:", "TestOutsiders/WAL/FULL"},
	{"the wal-index is not asked for the end", "internal/capture/wal.go", "	if shm != nil && known == 0 {", "	if false {", "TestFailedWALSync"},
	{"what SQLite lost is never taken back", "internal/capture/reconcile.go", "found, err = db.align(src)", "found, err = false, error(nil)", "TestPowerCuts/DELETE/FULL"},
	{"what SQLite lost is not kept", "journal/cut.go", "if id < w.tail.last.TXID {", "if false {", "TestPowerCuts/DELETE/FULL"},
	{"a transaction is durable when its record is", "journal/durable_to.go", "min(t.end, t.synced)", "min(t.end, max(t.synced, t.onDisk))", "TestPowerCuts/TRUNCATE/NORMAL"},
	{"a tail ends while its last record can be lost", "internal/capture/db.go", "if err := db.settleFiles(); err != nil {", "if err := error(nil); err != nil {", "TestPowerCuts/DELETE/NORMAL"},
	{"pages beyond the committed size are kept", "internal/capture/wal.go", "return r.page > count || r.page == lock", "return r.page == lock", "TestPowerCuts/WAL/NORMAL"},
	{"a prepared record is always dropped", "internal/capture/reconcile.go", "case same && p.Sum == sum:\n\t\terr = db.w.Confirm()", "case same && p.Sum == sum:\n\t\terr = db.w.Drop()", "TestKillPoints/PERSIST/FULL"},
	{"a connection that died is not noticed", "internal/capture/conn.go", "if db.writer != nil {", "if false {", "TestDyingConnection/DELETE/FULL"},
	{"a rollback by others of an announced transaction is believed", "internal/capture/reconcile.go", "sum != before.Sum {", "false {", "TestDeadProcess/DELETE/FULL"},
	{"others are not told of a hot journal", "internal/capture/connprepare.go", "		c.afterPlayback()", "		c.db.doubtful()", "TestDeadProcess/DELETE/FULL"},
	{"writes without syncs are not noted", "internal/capture/table.go", "	if t.stamp.Loose {\n		return nil\n	}", "	if true {\n		return nil\n	}", "TestPowerCuts/WAL/OFF"},
	{"a full disk is no reason to refuse", "internal/capture/detach.go", "	case db.opt.Full != Detach:", "	case false:", "TestTrailFull"},
	{"a checkpoint does not end the WAL's keeping", "internal/capture/detach.go", "	db.mu.Lock()\n	defer db.mu.Unlock()\n	db.merge()", "	db.mu.Lock()\n	defer db.mu.Unlock()", "TestTrailFullCheckpoint"},
	{"a detached trail is aligned", "internal/capture/reconcile.go", "case db.det != nil && db.det.Merged: // 0", "case false:", "TestTrailFullSameState"},
	{"frames wait across an operation on the wal-index", "vfs/frames.go", "	_ = w.settle()", "", "TestFramesRolledBack"},
	{"frames that failed are forgotten", "vfs/frames.go", "if w.failed = err; w.whole == 0 {", "if w.failed = err; true {", "TestFramesFail"},
	{"frames that failed are written over another's", "vfs/frames.go", "if err == nil && passed {", "if false {", "TestFramesFail"},
	{"a group of pages that have not changed is written", "internal/capture/builder.go", "if err == nil && before.kept > 0 {", "if err == nil {", "TestPowerCuts/PERSIST"},
	{"pages that nobody wrote are zero", "internal/capture/wal.go", "return buf, w.page(no, buf)\n	default", "clear(buf)\n		return buf, nil\n	default", "TestPowerCuts/WAL/OFF"},
}

// mutate returns the file of m with the fault in it.
func (m mutant) mutate() ([]byte, error) {
	source, err := os.ReadFile(m.path())
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s has the place %d times: the mutant has to follow the code", m.file, n)
	}
	return bytes.Replace(source, []byte(m.old), []byte(m.new), 1), nil
}

func (m mutant) path() string { return filepath.Join("..", "..", filepath.FromSlash(m.file)) }

// TestMutantsApply sees that the code has the places where TestMutants, which
// takes long, puts its faults.
func TestMutantsApply(t *testing.T) {
	for _, m := range mutants {
		if _, err := m.mutate(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
