package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, Done},
		{errors.New("anything"), Failed},
		{fs.ErrPermission, Failed},
		{syscall.ENOSPC, Failed},
		{&apply.OutputError{Err: fs.ErrExist}, Failed},
		{journal.ErrExists, Failed},
		{journal.ErrVersion, Failed},
		{journal.ErrFlag, Failed},
		{usagef("wrong"), Usage},
		{journal.ErrCorrupt, Damaged},
		{journal.ErrForeign, Damaged},
		{journal.ErrTorn, Damaged},
		{journal.ErrGap, Gap},
		{&apply.MismatchError{}, Gap},
		{&journal.RangeError{}, Nothing},
		{&apply.RangeError{Err: journal.ErrRange}, Nothing},
		{journal.ErrNotFound, Nothing},
		{kindf(journal.ErrNotFound, "no such"), Nothing},
		{journal.ErrLocked, Locked},
		{context.Canceled, Interrupted},
		{fmt.Errorf("%w while reading: %w", journal.ErrCorrupt, context.Canceled), Interrupted},
		{&journal.Error{Err: fmt.Errorf("block: %w", journal.ErrCorrupt)}, Damaged},
		{withHint(journal.ErrGap, "do this"), Gap},
		{&quietCode{Nothing, journal.ErrCorrupt}, Nothing},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("codeOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// Every code is explained in helps.
func TestCodesAreExplained(t *testing.T) {
	all := []Code{Done, Failed, Usage, Damaged, Gap, Nothing, Locked, Interrupted}
	text := codes(all...)["codes"]
	for _, c := range all {
		if codeMeans[c] == "" || !strings.Contains(text, codeMeans[c]) {
			t.Errorf("code %d is not explained", c)
		}
	}
}

// A command in a hint can be copied into a shell, whatever its arguments are called.
func TestCommandLine(t *testing.T) {
	for want, args := range map[string][]string{
		"pagetrail log app.db":                        {"log", "app.db"},
		"pagetrail log '/my data/app.db'":             {"log", "/my data/app.db"},
		`pagetrail show 'it'\''s; rm *' 3`:            {"show", "it's; rm *", "3"},
		"pagetrail hydrate /a-b_c/d.db -o '' '$HOME'": {"hydrate", "/a-b_c/d.db", "-o", "", "$HOME"},
	} {
		if got := commandLine(args...); got != want {
			t.Errorf("commandLine(%q) = %s, want %s", args, got, want)
		}
	}
}

// The first hint wins: it was given where most was known.
func TestWithHint(t *testing.T) {
	if withHint(nil, "do this") != nil {
		t.Error("a hint made an error out of none")
	}
	err := withHint(fmt.Errorf("around: %w", withHint(errors.New("wrong"), "inner %d", 1)), "outer")
	if got := hintFor(err); got != "inner 1" || err.Error() != "around: wrong" {
		t.Errorf("hint %q of %v", got, err)
	}
}

func TestWorse(t *testing.T) {
	damage, gap, other := journal.ErrCorrupt, journal.ErrGap, errors.New("other")
	for _, c := range []struct{ a, b, want error }{
		{nil, nil, nil}, {nil, gap, gap}, {gap, nil, gap}, {gap, damage, damage}, {damage, gap, damage}, {gap, other, gap},
	} {
		if got := worse(c.a, c.b); got != c.want {
			t.Errorf("worse(%v, %v) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// A transaction is large when it is unlike those before it, and only then.
func TestUsual(t *testing.T) {
	var u usual
	tx := func(pages uint32, bytes int64) journal.Tx { return journal.Tx{Pages: pages, Bytes: bytes} }
	if l := u.judge(tx(1000, 1<<20)); l.any() {
		t.Error("the first transaction of all stands out from nothing")
	}
	for range usualMinimum {
		u.judge(tx(4, 100))
	}
	for _, c := range []struct {
		pages        uint32
		bytes        int64
		large, heavy bool
	}{
		{31, 100, false, false}, // eight times as many, but few
		{32, 100, true, false},
		{4, 16<<10 - 1, false, false},
		{4, 16 << 10, false, true},
		{500, 1 << 20, true, true},
	} {
		if got := u.judge(tx(c.pages, c.bytes)); got.pages != c.large || got.bytes != c.heavy {
			t.Errorf("%d pages, %d bytes: %+v", c.pages, c.bytes, got)
		}
	}
	for range usualCapacity {
		u.judge(tx(400, 1<<20))
	}
	if got := u.judge(tx(500, 1<<20)); got.any() {
		t.Errorf("what has become usual stands out: %+v", got)
	}
	if got := u.judge(journal.Tx{Kind: journal.Base, Pages: 1 << 20}); got.any() {
		t.Error("a base stands out: it is all pages by its nature")
	}
}
