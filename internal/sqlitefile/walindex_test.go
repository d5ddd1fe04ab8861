package sqlitefile_test

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

func TestIndexFollowsACheckpoint(t *testing.T) {
	dir := t.TempDir()
	shell(t, filepath.Join(dir, "a.db"), `
		PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
		CREATE TABLE t(a); INSERT INTO t VALUES(1);
		PRAGMA wal_checkpoint(PASSIVE);
		.system cp a.db-shm 1.shm
		INSERT INTO t VALUES(2);
		.system cp a.db-shm 2.shm
		.system cp a.db-wal 2.wal
		PRAGMA wal_checkpoint(TRUNCATE);
		.system cp a.db-shm 3.shm`)
	parse := func(name string) sqlitefile.IndexHeader {
		t.Helper()
		h, ok := sqlitefile.ParseIndexHeader(readFile(t, filepath.Join(dir, name)))
		if !ok {
			t.Fatal(name, "not accepted")
		}
		return h
	}
	one, two, three := parse("1.shm"), parse("2.shm"), parse("3.shm")
	if one.MxFrame == 0 || one.Backfill != one.MxFrame || one.BackfillAttempted != one.MxFrame {
		t.Errorf("after a checkpoint: %+v", one)
	}
	if one.ReadMark[4] != 1<<32-1 {
		t.Errorf("a read mark that was never used: %#x", one.ReadMark[4])
	}
	// The write after a full checkpoint begins the log anew: salt1 counts up.
	wal, err := sqlitefile.ParseWALHeader(readFile(t, filepath.Join(dir, "2.wal")))
	if err != nil {
		t.Fatal(err)
	}
	if two.Salt != wal.Salt || two.Salt[0] != one.Salt[0]+1 || two.Backfill != 0 || two.Change == one.Change {
		t.Errorf("after a restart: %+v, was %+v", two, one)
	}
	if three.MxFrame != 0 || three.PageCount != two.PageCount {
		t.Errorf("after TRUNCATE: %+v", three)
	}
}

func TestParseIndexHeaderRefuses(t *testing.T) {
	_, _, good := realWAL(t, 65536)
	good = good[:sqlitefile.IndexHeaderSize]
	if h, ok := sqlitefile.ParseIndexHeader(good); !ok || h.PageSize != 65536 {
		t.Fatal(h, ok)
	}
	if _, ok := sqlitefile.ParseIndexHeader(good[:sqlitefile.IndexHeaderSize-1]); ok {
		t.Error("short: accepted")
	}
	if _, ok := sqlitefile.ParseIndexHeader(make([]byte, sqlitefile.IndexHeaderSize)); ok {
		t.Error("zeros: accepted")
	}
	for i := range 96 {
		b := bytes.Clone(good)
		b[i]++
		if _, ok := sqlitefile.ParseIndexHeader(b); ok {
			t.Errorf("byte %d changed in one copy: accepted", i)
		}
		b[(i+48)%96]++
		if _, ok := sqlitefile.ParseIndexHeader(b); ok {
			t.Errorf("byte %d changed in both copies: accepted", i)
		}
	}
}

func FuzzParseIndexHeader(f *testing.F) {
	f.Add(make([]byte, sqlitefile.IndexHeaderSize))
	one := make([]byte, 48)
	binary.NativeEndian.PutUint32(one, sqlitefile.WALVersion)
	one[12], one[15] = 1, 16
	native := binary.NativeEndian.Uint16([]byte{0, 1}) == 1
	sum := sqlitefile.Checksum(native, [2]uint32{}, one[:40])
	binary.NativeEndian.PutUint32(one[40:], sum[0])
	binary.NativeEndian.PutUint32(one[44:], sum[1])
	f.Add(append(append(one, one...), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := sqlitefile.ParseIndexHeader(b)
		if ok && (!sqlitefile.ValidPageSize(h.PageSize) || !bytes.Equal(b[:48], b[48:96])) {
			t.Fatalf("accepted %+v", h)
		}
	})
}
