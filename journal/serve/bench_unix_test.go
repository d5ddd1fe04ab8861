//go:build unix

package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// BenchmarkFollowers asks what a transaction costs the primary when so many follow: from its commit until all have its
// bytes, over sockets of this machine, and the processor's time for both ends of them. A hundred should cost little
// more than a hundred times the network, and not a hundred times the reading. First each transaction by itself, then
// a hundred at a time.
func BenchmarkFollowers(b *testing.B) {
	for _, group := range []int{1, 100} {
		for _, n := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("group=%d/followers=%d", group, n), func(b *testing.B) {
				w := newWriter(b)
				w.add(1, 200)
				_, s := serverOf(b, w, nil)
				var got sync.WaitGroup
				for range n {
					got.Add(1)
					r, err := serve.NewReader(get(b, s.URL+"/app/stream?after=0").Body)
					if err != nil {
						b.Fatal(err)
					}
					go await(r, &got, group)
				}
				got.Wait()
				start, txs := cpu(), 0
				for b.Loop() {
					got.Add(n)
					w.add(group, 200)
					got.Wait()
					txs += group
				}
				b.ReportMetric(float64((cpu()-start).Microseconds())/float64(txs), "cpu-µs/tx")
				b.ReportMetric(float64(txs)/b.Elapsed().Seconds(), "tx/s")
				http.DefaultClient.CloseIdleConnections()
			})
		}
	}
}

// await reads a stream, and reports each group of transactions that it has whole.
func await(r *serve.Reader, got *sync.WaitGroup, group int) {
	want := journal.TXID(1)
	for {
		f, body, err := r.Next()
		if err != nil {
			return
		}
		if f.Kind != serve.Batch {
			continue
		}
		head := make([]byte, f.Size)
		if _, err := io.ReadFull(body, head); err != nil {
			return
		}
		seg, err := journal.NewSegmentReader(readerAt(head), f.Size, "batch")
		if err != nil {
			return
		}
		for seg.Info().Last >= want {
			got.Done()
			want += journal.TXID(group)
		}
	}
}

type readerAt []byte

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, r[min(off, int64(len(r))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// cpu is the processor's time that this process took.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
