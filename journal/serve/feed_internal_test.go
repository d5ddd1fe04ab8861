package serve

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// TestBrokenOff: when the last stream goes while the trail is being read, why that breaks off is nobody's business. A
// stream that has joined meanwhile was told that the server ends.
func TestBrokenOff(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app.db-pagetrail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	page := make([]byte, 4096)
	var enc diff.Encoder
	body, pages := enc.Encode(diff.Body{}, len(page), []diff.Page{{No: 1, New: page}})
	if _, err := w.Add(journal.Tx{PageSize: len(page), PageCount: 1, Sum: diff.PageSum(1, page)}, body, pages, false); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	reading := make(chan struct{})
	o := (&Options{Sync: func(ctx context.Context, _ string) error {
		close(reading)
		<-ctx.Done()
		return context.Cause(ctx)
	}}).filled()
	f := &feed{name: "app", trail: trail, o: &o, news: make(chan struct{})}
	f.join(t.Context())
	<-reading
	news := f.find(1).news
	f.leave()
	<-f.done
	select {
	case <-news:
		t.Error("the end of the reading was announced")
	default:
	}
}
