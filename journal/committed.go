package journal

// Committed is the last record that is not merely prepared: Last, or the one before it. TXID 0: none. The
// lock must be held; records added and not flushed do not count.
func (w *Writer) Committed() Tx {
	if w.tail == nil {
		return Tx{}
	}
	return w.tail.last
}

// TailFirst is the TXID of the first record that the growing segment has, or will have. The lock must be held.
func (w *Writer) TailFirst() TXID {
	if w.tail == nil {
		return 1
	}
	return w.tail.hdr.first
}

// Unsynced says whether anything was flushed that no Sync has made durable yet. The lock must be held.
func (w *Writer) Unsynced() bool {
	t := w.tail
	return t != nil && (w.dirty || t.synced < t.end && t.end > fileHeaderSize) // a tail begins with its header durable
}

// Before is the last transaction before the tail's first record, as far as it is known: as [Writer.Last] says.
// The lock must be held.
func (w *Writer) Before() Tx {
	t := w.tail
	if t == nil {
		return Tx{}
	}
	if t.prev != nil {
		return *t.prev
	}
	b := t.hdr.before
	return Tx{
		TXID: b.txid, Time: b.time, PageSize: int(b.pageSize), PageCount: b.pageCount,
		Sum: b.sum, SumKnown: true, SumCut: b.sum.Cut(),
	}
}
