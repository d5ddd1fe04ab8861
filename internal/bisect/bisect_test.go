package bisect_test

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/bisect"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// history commits statements, each a transaction from 1 on, and opens the trail.
func history(t *testing.T, statements ...string) *journal.Trail {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range statements {
		if err := c.Exec(s); err != nil {
			t.Fatalf("%d, %s: %v", i+1, s, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	return trail
}

// TestFindsTheLoss has a table that is empty, filled and emptied by mistake, and then goes on for a while. That it was empty
// before is not taken for the mistake, wherever it was.
func TestFindsTheLoss(t *testing.T) {
	const n = 60
	for _, lost := range []int{4, 5, 31, 58, 59, 60} {
		s := []string{"CREATE TABLE t(a)", "CREATE TABLE log(a)", "INSERT INTO t VALUES(1),(2)"}
		for len(s) < n {
			s = append(s, fmt.Sprintf("INSERT INTO log VALUES(%d)", len(s)))
		}
		s[lost-1] = "DELETE FROM t"
		r, err := bisect.Find(t.Context(), history(t, s...), "SELECT count(*), 'rows' FROM t", nil)
		if err != nil {
			t.Fatal(err)
		}
		if int(r.Tx.TXID) != lost || int(r.Before) != lost-1 || r.Answer != "0|rows" || r.Other != "2|rows" {
			t.Errorf("lost by %d, found %+v", lost, r)
		}
		if most := 2*bits.Len(n) + 1; r.Asked > most {
			t.Errorf("lost by %d: %d states were asked, want %d at most", lost, r.Asked, most)
		}
	}
}

// TestFindsAChange has an answer that goes to and fro: what is found is a change to the present one, in the span that was asked
// for.
func TestFindsAChange(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s := []string{"CREATE TABLE t AS SELECT 0 AS a"}
	for len(s) < 80 {
		s = append(s, fmt.Sprintf("UPDATE t SET a=%d", rnd.IntN(3)), fmt.Sprintf("PRAGMA user_version=%d", len(s)))
	}
	trail := history(t, s...)
	last, err := trail.Last()
	if err != nil {
		t.Fatal(err)
	}
	var values []int
	for id := range last.TXID + 1 {
		values = append(values, valueAt(t, trail, id))
	}
	for range 60 {
		from := journal.TXID(rnd.IntN(len(values)))
		to := from + journal.TXID(rnd.IntN(len(values)-int(from)))
		if values[to] < 0 || to == 0 {
			continue
		}
		r, err := bisect.Find(t.Context(), trail, "SELECT a FROM t", &bisect.Options{From: from, To: to})
		if errors.Is(err, bisect.ErrSame) {
			continue // in steps that double it may miss what was another answer for a short time
		}
		if err != nil {
			t.Fatal(err)
		}
		id := r.Tx.TXID
		if id <= from || id > to || r.Before != id-1 || values[id] != values[to] || values[id-1] == values[to] || r.Answer != fmt.Sprint(values[to]) {
			t.Errorf("from %d to %d of %v: %+v", from, to, values, r)
		}
	}
}

// valueAt is the answer at a state, -1 for none.
func valueAt(t *testing.T, trail *journal.Trail, id journal.TXID) int {
	t.Helper()
	if id == 0 {
		return -1
	}
	// With the states before it left out there is one to ask.
	r, err := bisect.Find(t.Context(), trail, "SELECT a FROM t", &bisect.Options{From: id, To: id})
	if !errors.Is(err, bisect.ErrSame) {
		t.Fatalf("one state: %v", err)
	}
	var v int
	if _, err := fmt.Sscan(r.Answer, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNoAnswer(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	trail := history(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	for query, want := range map[string]error{
		"SELECT b FROM t":               bisect.ErrQuestion,
		"DELETE FROM t":                 bisect.ErrQuestion,
		"SELECT 1; SELECT 2":            bisect.ErrQuestion,
		"":                              bisect.ErrQuestion,
		"SELECT hex(zeroblob(1000000))": bisect.ErrQuestion,
		"SELECT 1":                      bisect.ErrSame,
	} {
		if r, err := bisect.Find(t.Context(), trail, query, nil); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v", query, r, err)
		}
	}
	// That there is no table yet is an answer.
	r, err := bisect.Find(t.Context(), trail, "SELECT count(*)>=0 FROM t", nil)
	if err != nil || r.Tx.TXID != 1 || r.Other != "no such table: t" {
		t.Errorf("since when there is a table: %+v, %v", r, err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left in the directory for temporary files: %v, %v", left, err)
	}
}
