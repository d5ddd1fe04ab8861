package diff_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// panics returns what f panicked with.
func panics(f func()) (message string) {
	defer func() {
		if r := recover(); r != nil {
			message, _ = r.(string)
		}
	}()
	f()
	return ""
}

func TestEncodeMistakes(t *testing.T) {
	page := make([]byte, 512)
	one := diff.Page{No: 1, Old: page, New: leaf(512, 1)}
	many := make([]diff.Page, diff.GroupPages(512)+1)
	for i := range many {
		many[i] = diff.Page{No: uint32(i + 1), Old: page, New: page}
	}
	for _, c := range []struct {
		name  string
		size  int
		pages []diff.Page
		want  string
	}{
		{"page size 256", 256, nil, "page size 256"},
		{"page size 1000", 1000, nil, "page size 1000"},
		{"page size 131072", 131072, nil, "page size 131072"},
		{"page zero", 512, []diff.Page{{No: 0, Old: page, New: page}}, "page 0"},
		{"page 2^32-1", 512, []diff.Page{{No: 1<<32 - 1, Old: page, New: page}}, "page 4294967295"},
		{"twice", 512, []diff.Page{one, one}, "page 1 after page 1"},
		{"descending", 512, []diff.Page{{No: 2, Old: page, New: page}, one}, "page 1 after page 2"},
		{"short new page", 512, []diff.Page{{No: 1, Old: page, New: page[1:]}}, "new 511 bytes"},
		{"no new page", 512, []diff.Page{{No: 1, Old: page}}, "new 0 bytes"},
		{"long old page", 512, []diff.Page{{No: 1, Old: make([]byte, 1024), New: page}}, "old 1024 bytes"},
		{"too many", 512, many, "8193 pages"},
	} {
		var e diff.Encoder
		if got := panics(func() { e.Encode(diff.Body{}, c.size, c.pages) }); !strings.Contains(got, c.want) {
			t.Errorf("%s: panic %q, want one with %q", c.name, got, c.want)
		}
		// The encoder is as good as new.
		roundTrip(t, &e, 512, []diff.Page{one})
	}
	if n := len(many) - 1; panics(func() { new(diff.Encoder).Encode(diff.Body{}, 512, many[:n]) }) != "" {
		t.Errorf("%d pages are a group", n)
	}
}

func TestEncodeAppends(t *testing.T) {
	var e diff.Encoder
	tx := []diff.Page{{No: 4, Old: leaf(1024, 1), New: leaf(1024, 2)}, {No: 5, Old: leaf(1024, 2), New: leaf(1024, 1)}}
	alone, _ := e.Encode(diff.Body{}, 1024, tx)
	before := diff.Body{Pages: []byte("p"), Tokens: []byte("to"), Literals: []byte("lit")}
	both, n := e.Encode(before, 1024, tx)
	want := diff.Body{
		Pages:    append([]byte("p"), alone.Pages...),
		Tokens:   append([]byte("to"), alone.Tokens...),
		Literals: append([]byte("lit"), alone.Literals...),
	}
	if n != 2 || !equalBodies(both, want) {
		t.Errorf("kept %d, %v", n, both)
	}
	same := []diff.Page{{No: 4, Old: tx[0].Old, New: bytes.Clone(tx[0].Old)}}
	if got, n := e.Encode(before, 1024, same); n != 0 || !equalBodies(got, before) {
		t.Errorf("a page that did not change: kept %d, %v", n, got)
	}
	if got, n := e.Encode(diff.Body{}, 1024, nil); n != 0 || got.Len() != 0 {
		t.Errorf("no pages: kept %d, %v", n, got)
	}
}

// TestEncodeLeavesPages: the encoder only reads.
func TestEncodeLeavesPages(t *testing.T) {
	_, pages := transaction([]byte{2, 5, 1, 0, 9, 0, 200, 0, 4, 2, 1, 50, 0, 3, 0, 0, 4, 3, 0, 0, 90, 1, 128})
	var kept []diff.Page
	for _, pg := range pages {
		kept = append(kept, diff.Page{Old: bytes.Clone(pg.Old), New: bytes.Clone(pg.New)})
	}
	var e diff.Encoder
	e.Encode(diff.Body{}, 2048, pages)
	for i, pg := range pages {
		if !bytes.Equal(pg.Old, kept[i].Old) || !bytes.Equal(pg.New, kept[i].New) {
			t.Errorf("page %d was changed by encoding it", pg.No)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, w := range workloads(4096) {
		var e diff.Encoder
		var d diff.Decoder
		body, _ := e.Encode(diff.Body{}, 4096, w.pages)
		if n := testing.AllocsPerRun(5, func() { body, _ = e.Encode(reuse(body), 4096, w.pages) }); n != 0 {
			t.Errorf("%s: encoding allocates %v times", w.name, n)
		}
		out, old := buffers(t, &d, body, 4096, w.pages)
		if n := testing.AllocsPerRun(5, func() { decode(t, &d, body, 4096, out, old) }); n != 0 {
			t.Errorf("%s: decoding allocates %v times", w.name, n)
		}
	}
}

func TestLimits(t *testing.T) {
	for size, want := range map[int]struct {
		lock  uint32
		group int
	}{512: {2097153, 8192}, 1024: {1048577, 8192}, 2048: {524289, 8192}, 4096: {262145, 4096}, 8192: {131073, 2048}, 65536: {16385, 256}} {
		if got := diff.LockPage(size); got != want.lock {
			t.Errorf("LockPage(%d) = %d, want %d", size, got, want.lock)
		}
		if got := diff.GroupPages(size); got != want.group {
			t.Errorf("GroupPages(%d) = %d, want %d", size, got, want.group)
		}
	}
}
