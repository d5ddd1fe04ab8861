package journal_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

func TestIDs(t *testing.T) {
	id, err := journal.ParseDatabaseID("000102030405060708090a0b0c0d0e0f")
	if err != nil || id != exampleID || id.String() != "000102030405060708090a0b0c0d0e0f" {
		t.Fatal(id, err)
	}
	for _, s := range []string{"", "00", "000102030405060708090A0b0c0d0e0f", "000102030405060708090a0b0c0d0e0g", strings.Repeat("0", 33)} {
		if _, err := journal.ParseDatabaseID(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
	if a, b := journal.NewDatabaseID(), journal.NewDatabaseID(); a == b || a == (journal.DatabaseID{}) {
		t.Fatal(a, b)
	}
	if journal.TXID(0x7d0).String() != "2000" {
		t.Fatal(journal.TXID(0x7d0))
	}
	at := time.Date(2024, 2, 29, 12, 0, 1, 234567891, time.FixedZone("", 3600))
	if got := journal.TimeOf(at); got.String() != "2024-02-29T11:00:01.234567Z" || !got.Time().Equal(at.Truncate(time.Microsecond)) {
		t.Fatal(got)
	}
	for kind, want := range map[journal.Kind]string{0: "ordinary", 1: "physical", 2: "catch-up", 3: "base", 9: "kind 9"} {
		if kind.String() != want {
			t.Errorf("%v, want %s", kind, want)
		}
	}
}

func TestPositionJSON(t *testing.T) {
	p := journal.Position{Database: exampleID, Timeline: 2, TXID: 7, Sum: diff.Sum{Hi: 1, Lo: 0xfeed}}
	text, err := json.Marshal(p)
	want := `{"database":"000102030405060708090a0b0c0d0e0f","timeline":2,"txid":7,"sum":"0000000000000001000000000000feed"}`
	if err != nil || string(text) != want {
		t.Fatalf("%s, want %s (%v)", text, want, err)
	}
	var got journal.Position
	if err := json.Unmarshal(text, &got); err != nil || got != p {
		t.Fatal(got, err)
	}
	if err := json.Unmarshal([]byte(`{"database":"xyz"}`), &got); err == nil {
		t.Fatal("a bad ID was accepted")
	}
}

// TestErrorTexts: each says which file, where, which transaction, what, and what to do next.
func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"dir/x.seg at byte 128 (transaction 7): corrupt; do this": &journal.Error{Path: "dir/x.seg", Offset: 128, TXID: 7, Err: journal.ErrCorrupt, Hint: "do this"},
		"dir: not found":                             &journal.Error{Path: "dir", Offset: -1, Err: journal.ErrNotFound},
		"transaction 9: the trail holds 2 to 5":      &journal.RangeError{Want: 9, First: 2, Last: 5},
		"transaction 9: the trail holds none":        &journal.RangeError{Want: 9, First: 1, Last: 0},
		"x at byte 0: of another database":           &journal.Error{Path: "x", Err: journal.ErrForeign},
		"x (transaction 18446744073709551615): file": &journal.Error{Path: "x", Offset: -1, TXID: 1<<64 - 1, Err: fs.ErrExist},
	} {
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q, want %q", err, want)
		}
	}
	if !errors.Is(&journal.RangeError{}, journal.ErrRange) || errors.Is(&journal.RangeError{}, journal.ErrGap) {
		t.Error("a RangeError is ErrRange and nothing else")
	}
}

func TestPoints(t *testing.T) {
	w, dir := newWriter(t)
	for i, name := range []string{"first", "again", "again", "ünïcode name", "\u2027\u202f\u2065", "👩\u200d💻\U0003fffd", strings.Repeat("n", 255)} {
		add(t, w, 1)
		if p, err := w.AddPoint(name, journal.Time(i)); err != nil || p != (journal.Point{Name: name, TXID: journal.TXID(i + 1), Time: journal.Time(i)}) {
			t.Fatal(p, err)
		}
		if i == 2 {
			rotate(t, w)
		}
	}
	if got := w.Points(); len(got) != 4 || got[0].TXID != 4 {
		t.Fatal(got)
	}
	seal(t, dir, 1)
	tr := openTrail(t, dir)
	for name, id := range map[string]journal.TXID{"first": 1, "again": 3, "ünïcode name": 4} {
		if p, err := tr.FindPoint(name); err != nil || p.TXID != id {
			t.Fatalf("%s is %v, want %d: %v", name, p, id, err)
		}
	}
	if _, err := tr.FindPoint("Again"); !errors.Is(err, journal.ErrNotFound) {
		t.Fatal(err)
	}
	if p, err := tr.Position(); err != nil || p.TXID != 7 || p.Database != w.Identity().Database || p.Timeline != 1 || p.Sum != sumOf(7) {
		t.Fatal(p, err)
	}
}
