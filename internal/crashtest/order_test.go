package crashtest_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files of testdata/order anew; review the difference")

// orderOf describes what a disk is asked to do, one line for each operation
// that changes anything; neighbouring writes to one file are one line. Two
// syncs side by side, of files or directories, are one line in the order of
// names, since they run in parallel.
type orderOf struct{ lines []string }

func (o *orderOf) note(line string) { o.lines = append(o.lines, line) }

func (o *orderOf) op(op crashfs.Op) crashfs.Fault {
	if !op.Kind.Changes() {
		return crashfs.Fault{}
	}
	name := role(op.Name)
	if op.Kind == crashfs.SyncDir && name == "." {
		name = "the database's directory"
	}
	line := fmt.Sprintf("  %s %s", op.Kind, name)
	if op.Kind == crashfs.Truncate {
		line += fmt.Sprintf(" to %d", op.Off)
	}
	last := len(o.lines) - 1
	switch {
	case op.Kind == crashfs.Write && o.lines[last] == line:
		return crashfs.Fault{}
	case (op.Kind == crashfs.Sync || op.Kind == crashfs.SyncDir) && strings.HasPrefix(o.lines[last], "  sync"):
		before := strings.TrimPrefix(strings.TrimPrefix(o.lines[last], "  syncdir "), "  sync ")
		names := append(strings.Split(before, " and "), name)
		slices.Sort(names)
		o.lines[last] = "  sync " + strings.Join(names, " and ")
		return crashfs.Fault{}
	}
	o.note(line)
	return crashfs.Fault{}
}

// TestOrder holds the order of writes and syncs against testdata/order.
func TestOrder(t *testing.T) {
	for _, c := range combos() {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 1, inline: true, existing: true, fresh: true}
			w, err := newWorld(set, 1, tempDir(t))
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			o := &orderOf{}
			w.m.OnOp(o.op)
			o.note("open")
			if err := w.reopen(0); err != nil {
				t.Fatal(err)
			}
			for i, s := range orderWork(set.wal()) {
				o.note(s.name)
				w.flight = i + 1
				if err := w.attempt(step{sql: s.sql}); err != nil {
					t.Fatalf("%s: %v", s.sql, err)
				}
			}
			o.note("close")
			if err := w.conns[0].Close(); err != nil {
				t.Fatal(err)
			}
			w.conns[0] = nil
			golden(t, filepath.Join("testdata", "order", strings.ToLower(c[0]+"-"+c[1])+".txt"), strings.Join(o.lines, "\n")+"\n")
		})
	}
}

type named struct{ name, sql string }

func orderWork(wal bool) []named {
	spill := "INSERT INTO t(a,b) SELECT value, zeroblob(400) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12]')"
	work := []named{
		{"the first transaction: the database becomes the base of its trail", mark},
		{"a small transaction", mark},
		{"a transaction that spills", "BEGIN; " + spill + "; " + mark + "; COMMIT"},
		{"a rollback after a spill", "BEGIN; UPDATE t SET a=a+1, b=zeroblob(401); " + spill + "; ROLLBACK"},
		{"vacuum", "DELETE FROM t; VACUUM"},
	}
	if wal {
		work = append(work, named{"checkpoint", "PRAGMA wal_checkpoint(FULL)"}, named{"a transaction that begins the WAL anew", mark},
			named{"checkpoint, the WAL is cut", "PRAGMA wal_checkpoint(TRUNCATE)"})
	}
	return work
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; make it with -rewrite", err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	t.Errorf("%s: line %d is %q, the golden file has %q; review it and run with -rewrite", name, i+1, at(g, i), at(w, i))
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "the end"
}
