package apply

import (
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Writing a page back costs more than decoding a small transaction, so that
// pages evicted are gathered into batches, which a goroutine of its own sorts
// and writes. Until a batch is back its pages are read from its memory.
const (
	writebackBytes   = 256 << 10 // in a batch
	writebackBatches = 2         // on their way at most
)

// dirtyPage is a page to be written.
type dirtyPage struct {
	no  uint32
	buf []byte
}

// written is a batch that is back.
type written struct {
	pages []dirtyPage
	end   int64 // the file reaches at least so far
	err   error
}

// writeback owns the goroutine; its fields are the cache's goroutine's.
type writeback struct {
	batch  int // pages in a full batch
	queue  []dirtyPage
	unused []dirtyPage       // the memory of a batch that is back
	flying map[uint32][]byte // newest content of every page queued or on its way
	busy   int               // batches on their way
	jobs   chan []dirtyPage  // nil while there is no goroutine
	done   chan written
}

// add queues a page; the buffer comes back with its batch.
func (w *writeback) add(p dirtyPage) {
	w.queue = append(w.queue, p)
	w.flying[p.no] = p.buf
}

// send passes the queue to the goroutine, which it starts if need be. There
// is room for it: the caller has seen to busy.
func (w *writeback) send(file durable.File, pageSize int, early *earlySync) {
	if w.jobs == nil {
		w.jobs = make(chan []dirtyPage, writebackBatches)
		w.done = make(chan written, writebackBatches)
		go func(jobs <-chan []dirtyPage, done chan<- written) {
			defer close(done)
			var run []byte
			for pages := range jobs {
				slices.SortStableFunc(pages, byNumber)
				b := written{pages: pages}
				run, b.end, b.err = writeRuns(file, pageSize, pages, run)
				early.wrote(len(pages) * pageSize)
				done <- b
			}
		}(w.jobs, w.done)
	}
	w.jobs <- w.queue
	w.busy++
	w.queue, w.unused = w.unused[:0], nil
}

// landed takes a batch that is back out of the books.
func (w *writeback) landed(b written) {
	w.busy--
	for _, p := range b.pages {
		if f := w.flying[p.no]; &f[0] == &p.buf[0] {
			delete(w.flying, p.no)
		}
	}
}

// stop ends the goroutine, after what it has been given.
func (w *writeback) stop() {
	if w.jobs == nil {
		return
	}
	close(w.jobs)
	for range w.done {
	}
	w.jobs, w.busy = nil, 0
}

func byNumber(a, b dirtyPage) int { return int(int64(a.no) - int64(b.no)) }

// writeRuns writes pages in the order given, neighbours together, and returns
// where the last one ends. run is memory to reuse.
func writeRuns(file durable.File, pageSize int, pages []dirtyPage, run []byte) ([]byte, int64, error) {
	end := int64(0)
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && pages[n].no == pages[n-1].no+1 && (n+1)*pageSize <= writebackBytes {
			n++
		}
		b := pages[0].buf
		if n > 1 {
			run = run[:0]
			for _, p := range pages[:n] {
				run = append(run, p.buf...)
			}
			b = run
		}
		off := int64(pages[0].no-1) * int64(pageSize)
		if _, err := file.WriteAt(b, off); err != nil {
			return run, end, err
		}
		end = max(end, off+int64(len(b)))
		pages = pages[n:]
	}
	return run, end, nil
}

// pieceBytes is how much of a base is written by one call. Large writes make large folios in the page cache, and ext4 walks
// all of a folio's blocks whenever one is written again, as replaying does: 4 kB anywhere in a gigabyte cost 33 µs after
// writes of 1 MiB, 12 µs after 256 KiB and 5 µs after 64 KiB, at the same price of the first write.
const pieceBytes = 64 << 10

// writePieces writes b at off, pieceBytes at a time.
func writePieces(file durable.File, b []byte, off int64) error {
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		if _, err := file.WriteAt(b[:n], off); err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
