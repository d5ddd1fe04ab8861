package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// setup is what a run begins with.
type setup struct {
	journal, sync string
	pageSize      int
	autoVacuum    int
	cache         int  // pages; few, so that transactions spill
	existing      bool // the database is there before its trail
	fresh         bool // with existing: nothing was done through our VFS yet
	conns         int
	inline        bool
	seal          int64  // bytes of a tail that is full; default 16 KiB
	groups        int    // bytes of pages in a group; default the VFS's
	params        string // of the DSN, more
	cuts          int    // clones at each operation that changes anything
}

func (s setup) String() string {
	return fmt.Sprintf("journal_mode=%s synchronous=%s page_size=%d auto_vacuum=%d cache_size=%d existing=%v conns=%d inline=%v groups=%d",
		s.journal, s.sync, s.pageSize, s.autoVacuum, s.cache, s.existing, s.conns, s.inline, s.groups)
}

func (s setup) wal() bool { return s.journal == "WAL" }

// step is one piece of work of one connection, a whole transaction at the most.
type step struct {
	conn   int
	sql    string // %[1]d is the step's number
	commit bool   // if all goes well the row has the number afterwards
	reopen bool   // closes the connection and opens it again
}

func (s step) String() string {
	if s.reopen {
		return fmt.Sprintf("conn %d: reopen", s.conn)
	}
	sql := s.sql
	if len(sql) > 300 {
		sql = sql[:300] + "…"
	}
	return fmt.Sprintf("conn %d: %s", s.conn, sql)
}

func randomSetup(rng *rand.Rand, journal, sync string) setup {
	return setup{
		journal: journal, sync: sync,
		pageSize:   []int{512, 512, 1024, 4096}[rng.IntN(4)],
		autoVacuum: rng.IntN(3),
		cache:      3 + rng.IntN(8),
		existing:   rng.IntN(3) == 0,
		conns:      1 + rng.IntN(2),
		inline:     rng.IntN(3) > 0,
		groups:     []int{0, 1, 4 << 10}[rng.IntN(3)],
	}
}

// work makes n random steps.
func work(rng *rand.Rand, set setup, n int) []step {
	steps := make([]step, 0, n)
	for range n {
		s := step{conn: rng.IntN(set.conns)}
		switch p := rng.IntN(100); {
		case p < 35:
			s.sql, s.commit = "BEGIN IMMEDIATE; "+statements(rng, 1)+mark+"; COMMIT", true
		case p < 60:
			s.sql, s.commit = "BEGIN; "+statements(rng, 1+rng.IntN(4))+mark+"; COMMIT", true
		case p < 65:
			s.sql = "BEGIN; INSERT INTO t(a,b) SELECT value, x'" + blob(rng) + "00' FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14]'); " + mark + "; ROLLBACK"
		case p < 70:
			s.sql = "BEGIN; " + statements(rng, 1+rng.IntN(4)) + mark + "; ROLLBACK"
		case p < 80:
			s.sql, s.commit = "BEGIN; "+statements(rng, 1)+"SAVEPOINT s; "+statements(rng, 1+rng.IntN(2))+
				[]string{"ROLLBACK TO s; ", "RELEASE s; ", "ROLLBACK TO s; " + statements(rng, 1)}[rng.IntN(3)]+mark+"; COMMIT", true
		case p < 84:
			s.sql, s.commit = mark, true
		case p < 87:
			s.sql = "VACUUM"
		case p < 89:
			s.sql = "PRAGMA incremental_vacuum(3)"
		case p < 95:
			s.reopen = true
		default:
			s.sql = "SELECT count(*) FROM t"
			if set.wal() {
				s.sql = "PRAGMA wal_checkpoint(" + []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[rng.IntN(4)] + ")"
			}
		}
		steps = append(steps, s)
	}
	return steps
}

// mark writes the step's number.
const mark = "UPDATE meta SET step=%[1]d"

// statements are n random changes of the table, each ended by a semicolon.
func statements(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		switch p := rng.IntN(10); {
		case p < 5:
			b.WriteString("INSERT INTO t(a,b) VALUES")
			for i := range 1 + rng.IntN(6) {
				if i > 0 {
					b.WriteString(",")
				}
				fmt.Fprintf(&b, "(%d,x'%s')", rng.IntN(1000), blob(rng))
			}
		case p < 7:
			fmt.Fprintf(&b, "UPDATE t SET a=a+1, b=x'%s' WHERE id%%%d=0", blob(rng), 2+rng.IntN(9))
		case p < 9:
			fmt.Fprintf(&b, "DELETE FROM t WHERE id%%%d=0", 2+rng.IntN(5))
		default:
			b.WriteString("DELETE FROM t WHERE id<(SELECT max(id) FROM t)-5")
		}
		b.WriteString("; ")
	}
	return b.String()
}

func blob(rng *rand.Rand) string {
	n := []int{0, 10, 100, 300, 700, 1500}[rng.IntN(6)]
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return fmt.Sprintf("%x", b)
}
