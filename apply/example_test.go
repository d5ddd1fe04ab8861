package apply_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// A trail of two transactions is written, as capturing would write it, and
// the state before the second one is restored.
func ExampleHydrate() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := writeTwo(filepath.Join(dir, "app.db-pagetrail")); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	trail, err := journal.Open(filepath.Join(dir, "app.db-pagetrail"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer trail.Close()
	out := filepath.Join(dir, "before.db")
	result, err := apply.Hydrate(ctx, trail, out, apply.AtTXID(1), nil)
	if err != nil {
		log.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("transaction %d: %d bytes, %q; next came %d\n", result.Tx.TXID, result.Size, b[:5], result.Next.TXID)
	// Output:
	// transaction 1: 512 bytes, "hello"; next came 2
}

// writeTwo writes a database of one page, then changes that page.
func writeTwo(dir string) error {
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		return err
	}
	defer w.Unlock()
	var enc diff.Encoder
	var old []byte
	for i, text := range []string{"hello", "hullo"} {
		page := []byte(text + strings.Repeat(".", 507))
		body, n := enc.Encode(diff.Body{}, 512, []diff.Page{{No: 1, Old: old, New: page}})
		sum := diff.PageSum(1, page)
		tx := journal.Tx{Time: journal.Time(i + 1), PageSize: 512, PageCount: 1, Sum: sum, SumKnown: true, SumCut: sum.Cut()}
		if _, err := w.Add(tx, body, n, false); err != nil {
			return err
		}
		old = page
	}
	return w.Flush()
}
