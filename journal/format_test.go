package journal_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

var exampleID = journal.DatabaseID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// TestFormatExample makes the trail of FORMAT.md's example and compares it with the bytes there.
func TestFormatExample(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Database: exampleID})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	sum := diff.PageSum(1, bytes.Repeat([]byte{'a'}, 512))
	tx := journal.Tx{Time: 1_000_000, PageSize: 512, PageCount: 1, Sum: sum, Note: "hi"}
	body := diff.Body{Pages: []byte{0x01, 0x03}, Tokens: []byte{0xbf, 0xe1, 0x03, 'a'}}
	if _, err := w.Add(tx, body, 1, true); err != nil {
		t.Fatal(err)
	}
	if err := w.Confirm(); err != nil {
		t.Fatal(err)
	}
	got := readFile(t, filepath.Join(dir, firstSegment))
	if want := exampleBytes(t, 0); !bytes.Equal(got, want) {
		t.Fatalf("FORMAT.md has\n%s\nthe code writes\n%s", hexLines(want), hexLines(got))
	}
	identity := string(readFile(t, filepath.Join(dir, "identity")))
	doc := string(readFile(t, "FORMAT.md"))
	for _, is := range []string{strings.TrimSpace(identity), diff.PageSum(1, make([]byte, 512)).String()} {
		if !strings.Contains(doc, is) {
			t.Errorf("FORMAT.md does not have %s", is)
		}
	}
}

// TestFormatSealedExample reads the sealed form of that trail in FORMAT.md. What the code writes may be compressed
// otherwise one day; when this fails, it shows what it is now.
func TestFormatSealedExample(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trail")
	w := goldenWriter(t, dir)
	defer w.Close()
	sum := diff.PageSum(1, bytes.Repeat([]byte{'a'}, 512))
	tx := journal.Tx{Time: 1_000_000, PageSize: 512, PageCount: 1, Sum: sum, Note: "hi"}
	if _, err := w.Add(tx, patch(1, 'a'), 1, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddPoint("ok", 1_500_000); err != nil {
		t.Fatal(err)
	}
	rotate(t, w)
	seal(t, dir, 1)
	read := func(data []byte) string {
		r, err := journal.NewSegmentReader(bytes.NewReader(data), int64(len(data)), firstSegment)
		if err == nil {
			err = r.Verify(t.Context())
		}
		if err != nil {
			return err.Error()
		}
		said := fmt.Sprint(r.Points())
		for rec, err := range r.Records(t.Context(), 1) {
			if err != nil {
				return err.Error()
			}
			said += fmt.Sprint(rec.Tx)
			for b, err := range rec.Groups() {
				said += fmt.Sprintf("% x %v", b, err)
			}
		}
		return said
	}
	is := readFile(t, filepath.Join(dir, firstSegment))
	if got, want := read(exampleBytes(t, 1)), read(is); got != want {
		t.Fatalf("FORMAT.md's example says\n%s\nwant\n%s\nwhich is written as\n%s", got, want, hexLines(is))
	}
}

// hexLines is the form of FORMAT.md: the offset in decimal, then 16 bytes.
func hexLines(data []byte) string {
	var b strings.Builder
	for at := 0; at < len(data); at += 16 {
		fmt.Fprintf(&b, "%4d  % x\n", at, data[at:min(at+16, len(data))])
	}
	return b.String()
}

// exampleBytes reads an example off FORMAT.md: the lines between its ```hex marks.
func exampleBytes(t *testing.T, i int) []byte {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(doc), "```hex\n")
	if len(parts) < i+2 {
		t.Fatalf("no example %d in FORMAT.md", i)
	}
	lines, _, _ := strings.Cut(parts[i+1], "```")
	var out []byte
	for line := range strings.Lines(lines) {
		_, digits, _ := strings.Cut(strings.TrimSpace(line), "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(digits), " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}
