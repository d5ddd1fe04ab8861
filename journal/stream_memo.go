package journal

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// shipped are the streams of batches, for Seal to take: a process that watches a database ships its records and then
// seals them, and half of the work would be to compress them a second time.
//
// Streams are found by a hash. It need not be a strong one: what is sealed is read back and compared with its source.
// What is shipped is not, so that nothing is taken for it.
var shipped = streamMemo{seed: maphash.MakeSeed()}

// streamMemo remembers what streams were compressed to, the latest memoBytes of them.
type streamMemo struct {
	seed   maphash.Seed
	wanted atomic.Bool // a trail was opened with SealFast; who only ships remembers nothing

	mu    sync.Mutex
	comp  map[streamKey][]byte
	order []streamKey // by age; those that were taken are among them
	bytes int
}

type streamKey struct {
	hash uint64
	size int
}

const (
	memoBytes    = 8 << 20 // three segments of what is usual, of 8 MiB before they are compressed
	memoSmallest = 512     // bytes of a stream: smaller ones cost as much to remember
)

func (m *streamMemo) key(src []byte) streamKey {
	return streamKey{maphash.Bytes(m.seed, src), len(src)}
}

// keep remembers a copy of comp, the compressed form of src.
func (m *streamMemo) keep(src, comp []byte) {
	if len(src) < memoSmallest || !m.wanted.Load() {
		return
	}
	key, own := m.key(src), append([]byte(nil), comp...)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.comp == nil {
		m.comp = map[streamKey][]byte{}
	}
	if _, again := m.comp[key]; again {
		return
	}
	m.comp[key], m.order = own, append(m.order, key)
	for m.bytes += len(own); m.bytes > memoBytes || len(m.order) > memoBytes/memoSmallest; m.order = m.order[1:] {
		m.forget(m.order[0])
	}
}

// take appends the compressed form of src to dst, if it is remembered, and forgets it.
func (m *streamMemo) take(dst, src []byte) []byte {
	if len(src) < memoSmallest {
		return dst
	}
	key := m.key(src)
	m.mu.Lock()
	defer m.mu.Unlock()
	dst = append(dst, m.comp[key]...)
	m.forget(key)
	return dst
}

func (m *streamMemo) forget(key streamKey) {
	m.bytes -= len(m.comp[key])
	delete(m.comp, key)
}
