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
	sum := diff.Sum{Hi: 0x72f5f75223f9b690, Lo: 0xa07d6cef8bc667bb}
	tx := journal.Tx{Time: 1_000_000, PageSize: 512, PageCount: 1, Sum: sum, Note: "hi"}
	body := diff.Body{Pages: []byte{0x01, 0x03}, Tokens: []byte{0xbf, 0xe1, 0x03, 'a'}}
	if _, err := w.Add(tx, body, 1, true); err != nil {
		t.Fatal(err)
	}
	if err := w.Confirm(); err != nil {
		t.Fatal(err)
	}
	got := readFile(t, filepath.Join(dir, firstSegment))
	want, dump := exampleBytes(t), hexLines(got)
	if !bytes.Equal(got, want) {
		t.Fatalf("FORMAT.md has\n%s\nthe code writes\n%s", hexLines(want), dump)
	}
	identity := string(readFile(t, filepath.Join(dir, "identity")))
	if doc := string(readFile(t, "FORMAT.md")); !strings.Contains(doc, strings.TrimSpace(identity)) {
		t.Fatalf("FORMAT.md does not have the identity %s", identity)
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

// exampleBytes reads the example off FORMAT.md: the lines between its ```hex marks.
func exampleBytes(t *testing.T) []byte {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```hex\n")
	lines, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no example in FORMAT.md")
	}
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
