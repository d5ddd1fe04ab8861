package vfs_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// BenchmarkCommit asks what capture costs a small transaction, against the
// driver's own VFS on the same work. Compare wall time here; CPU time and whole
// processes are in make bench.
func BenchmarkCommit(b *testing.B) {
	for _, mode := range []string{"WAL/NORMAL", "DELETE/OFF"} {
		for _, work := range []string{"insert", "update"} {
			for _, vfs := range []string{"os", "pagetrail"} {
				b.Run(mode+"/"+work+"/"+vfs, func(b *testing.B) { benchCommit(b, mode, work, vfs) })
			}
		}
	}
}

func benchCommit(b *testing.B, mode, work, vfs string) {
	path := filepath.Join(b.TempDir(), "x.db")
	c, err := sqlite3.Open("file:" + path + "?vfs=" + vfs)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var journal, sync string
	fmt.Sscanf(mode, "%3s", &journal)
	journal, sync = mode[:len(mode)-len("/NORMAL")], "NORMAL"
	if mode == "DELETE/OFF" {
		journal, sync = "DELETE", "OFF"
	}
	for _, sql := range []string{
		"PRAGMA journal_mode=" + journal, "PRAGMA synchronous=" + sync,
		"CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v TEXT, n INT)", "CREATE INDEX tk ON t(k)",
		generate("INSERT INTO t(k,v,n) SELECT hex(randomblob(8)), hex(randomblob(60)), 0 FROM generate(50000)"),
	} {
		if err := c.Exec(sql); err != nil {
			b.Fatal(err)
		}
	}
	ins, _, err := c.Prepare("INSERT INTO t(k,v,n) VALUES(hex(randomblob(8)), 'a text of some length, as people write it, for a row', 0)")
	if err != nil {
		b.Fatal(err)
	}
	defer ins.Close()
	upd, _, err := c.Prepare("UPDATE t SET n=n+1 WHERE id=?")
	if err != nil {
		b.Fatal(err)
	}
	defer upd.Close()
	r := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		s := ins
		if work == "update" {
			s = upd
			s.BindInt(1, r.IntN(50000)+1)
		}
		if err := s.Exec(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkCatchUp asks how fast transactions that wait in a WAL are recorded:
// what the encoder beside the writer does for each, and recovery for all.
func BenchmarkCatchUp(b *testing.B) {
	for _, work := range []string{"insert", "update"} {
		b.Run(work, func(b *testing.B) {
			const commits = 10000
			path := filepath.Join(b.TempDir(), "x.db")
			c := open(b, path, "")
			run(b, c, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0",
				"CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v TEXT, n INT)", "CREATE INDEX tk ON t(k)",
				generate("INSERT INTO t(k,v,n) SELECT hex(randomblob(8)), hex(randomblob(60)), 0 FROM generate(50000)"))
			plain, err := sqlite3.Open("file:" + path)
			if err != nil {
				b.Fatal(err)
			}
			defer plain.Close()
			run(b, plain, "PRAGMA wal_autocheckpoint=0")
			sql := "INSERT INTO t(k,v,n) VALUES(hex(randomblob(8)), 'a text of some length, as people write it, for a row', 0)"
			if work == "update" {
				sql = "UPDATE t SET n=n+1 WHERE id=abs(random())%50000+1"
			}
			s, _, err := plain.Prepare(sql)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for b.Loop() {
				b.StopTimer()
				for range commits {
					if err := s.Exec(); err != nil {
						b.Fatal(err)
					}
				}
				before := cpuTime()
				b.StartTimer()
				query(b, c, "PRAGMA pagetrail_txid")
				b.ReportMetric(float64(cpuTime()-before)/commits, "cpu-ns/commit")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/commits, "ns/commit")
			c.Close()
		})
	}
}

// BenchmarkBulk asks what capture costs a transaction of 200,000 rows, closing
// the database included.
func BenchmarkBulk(b *testing.B) {
	for _, mode := range []string{"WAL", "DELETE"} {
		for _, vfs := range []string{"os", "pagetrail"} {
			b.Run(mode+"/"+vfs, func(b *testing.B) {
				before := cpuTime()
				for b.Loop() {
					c, err := sqlite3.Open("file:" + filepath.Join(b.TempDir(), "x.db") + "?vfs=" + vfs)
					if err != nil {
						b.Fatal(err)
					}
					run(b, c, "PRAGMA journal_mode="+mode, "PRAGMA synchronous=OFF",
						"CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v TEXT, n INT)",
						generate("INSERT INTO t(k,v,n) SELECT hex(randomblob(8)), 'a text of some length, as people write it, for row '||i, i FROM generate(200000)"))
					if err := c.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/1e6, "cpu-ms/op")
			})
		}
	}
}
