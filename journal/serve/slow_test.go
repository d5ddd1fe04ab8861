package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// TestSlowReader: one that takes nothing is cut off, and holds nobody up meanwhile.
func TestSlowReader(t *testing.T) {
	w := newWriter(t)
	w.add(1, 20)
	h, s := serverOf(t, w, &serve.Options{WriteTimeout: 200 * time.Millisecond, MemoryBytes: 1 << 20})
	url := s.URL + "/app/stream?after="
	get(t, url+"0") // and then nothing is read
	done := make(chan struct{})
	go func() {
		defer close(done)
		last := journal.TXID(0)
		for end := time.Now().Add(time.Minute); last < 6001 && time.Now().Before(end); { // again, if this machine was so slow that it was taken for such a one
			last = follow(t, url, last, 6001)
		}
		if last < 6001 {
			t.Errorf("after a minute there were %d transactions", last)
		}
	}()
	w.add(6000, 4000) // more than any socket holds
	<-done
	for h.Streams() > 0 { // until the slow one is gone, and the one that closed
		time.Sleep(time.Millisecond)
	}
}

// follow reads a stream after a transaction, up to another or until it is cut off, which may be before its first byte, and
// returns the last that it had whole.
func follow(t testing.TB, url string, last, to journal.TXID) journal.TXID {
	resp, err := http.Get(fmt.Sprint(url, uint64(last)))
	if err != nil {
		return last
	}
	defer resp.Body.Close()
	for s, err := serve.NewReader(resp.Body); err == nil && last < to; {
		var f serve.Frame
		var body io.Reader
		if f, body, err = s.Next(); err != nil || f.Kind != serve.Batch {
			continue
		}
		var data []byte
		if data, err = io.ReadAll(body); err == nil {
			last = sound(t, f, data, last)
		}
	}
	return last
}
