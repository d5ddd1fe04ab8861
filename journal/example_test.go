package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// One transaction is recorded and read back.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "my.db-pagetrail")

	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		log.Fatal(err)
	}
	page := bytes.Repeat([]byte("pagetrail "), 410)[:4096]
	var enc diff.Encoder
	body, pages := enc.Encode(diff.Body{}, 4096, []diff.Page{{No: 1, New: page}})
	tx := journal.Tx{PageSize: 4096, PageCount: 1, Sum: diff.PageSum(1, page), Note: "the first"}
	if _, err := w.Add(tx, body, pages, false); err != nil {
		log.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		log.Fatal(err)
	}
	w.Unlock()

	trail, err := journal.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer trail.Close()
	for r, err := range trail.Records(context.Background(), 1) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s: %d page of %d\n", r.TXID, r.Note, r.Pages, r.PageCount)
	}
	// Output: 1 the first: 1 page of 1
}
