package journal

import "sync"

// batchBuffer is the memory that a batch is made with. A program that ships thousands of trails makes few batches at a
// time, and one that ships a busy trail makes one after the other: what they left would be most of its garbage.
type batchBuffer struct {
	read    []byte // of the trail
	streams encBlock
	scratch []byte // their compressed form
	block   []byte
	comp    []byte
	runs    []pageRun
}

var batchBuffers = sync.Pool{New: func() any { return new(batchBuffer) }}

// lend has w and c use the buffers.
func (b *batchBuffer) lend(w *batchWriter, c *recordCursor) {
	c.w.br.buf, w.s.cur, w.s.scratch = b.read[:0], b.streams, b.scratch
	w.s.out.block, w.s.out.comp, w.s.index.runs = b.block, b.comp, b.runs[:0]
}

// takeBack takes what they have become, and keeps it unless a large transaction made it large.
func (b *batchBuffer) takeBack(w *batchWriter, c *recordCursor) {
	s := &w.s
	s.cur.reset()
	*b = batchBuffer{
		read: c.w.br.buf, streams: s.cur, scratch: s.scratch, block: s.out.block, comp: s.out.comp, runs: s.index.runs,
	}
	size := cap(b.read) + cap(b.streams.h) + cap(b.streams.p) + cap(b.streams.t) + cap(b.streams.l) +
		cap(b.scratch) + cap(b.block) + cap(b.comp) + cap(b.runs)*pageRunSize
	if size <= keepBuffer {
		batchBuffers.Put(b)
	}
}
