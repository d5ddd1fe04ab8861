package apply_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// TestVerify looks at all that the report of a sound trail says: a database
// that was there before its trail, a base beside the transactions, and one
// that replaces everything in mid-history.
func TestVerify(t *testing.T) {
	b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
	next := image{pageSize: 1024, pages: [][]byte{filled(1024, 1, 'a'), filled(1024, 2, 'a')}}
	b.base(next, true)
	b.commit(mutated(next, 'b'), journal.Ordinary)
	b.base(b.state, false)
	b.commit(mutated(next, 'c'), journal.CatchUp)
	b.rotate(true)
	next = image{pageSize: 512, pages: [][]byte{filled(512, 1, 'd')}}
	b.base(next, true)
	b.commit(mutated(next, 'e'), journal.Physical)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	ends := map[apply.Phase]apply.Progress{}
	o := &apply.VerifyOptions{TempDir: t.TempDir(), Progress: func(p apply.Progress) { ends[p.Phase] = p }}
	report, err := apply.Verify(context.Background(), trail, o)
	if err != nil || len(report.Problems) != 0 || report.Divergence() != nil {
		t.Fatalf("%v, %+v", err, report.Problems)
	}
	want := apply.VerifiedSpan{
		Span:         journal.Span{First: 0, Last: 5, FirstTime: b.times[0], LastTime: b.times[4]},
		Transactions: 5,
		Position:     journal.Position{Database: trail.Identity().Database, Timeline: 1, TXID: 5, Sum: b.state.sum()},
	}
	if len(report.Spans) != 1 || report.Spans[0] != want {
		t.Errorf("spans %+v, want %+v", report.Spans, want)
	}
	if report.Bases != 3 || report.Files.Bases != 3 || report.Files.Segments != 2 || report.Files.Transactions != 5 {
		t.Errorf("report %+v", report)
	}
	if p := ends[apply.PhaseScan]; p.Bytes == 0 || p.Bytes != p.BytesTotal {
		t.Errorf("scan ended with %+v", p)
	}
	if p := ends[apply.PhaseReplay]; p.Transactions != 5 || p.TransactionsTotal != 5 {
		t.Errorf("replay ended with %+v", p)
	}
	if left := names(t, o.TempDir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

// TestVerifyNothing verifies a trail without a transaction.
func TestVerifyNothing(t *testing.T) {
	b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	if report, err := apply.Verify(context.Background(), trail, nil); err != nil {
		t.Errorf("%v, %+v", err, report)
	}
	_, result := hydrated(t, trail, filepath.Join(t.TempDir(), "out.db"), apply.Latest())
	if result.Tx.TXID != 0 || result.Size != 0 {
		t.Errorf("the latest of nothing is %+v", result)
	}
}
