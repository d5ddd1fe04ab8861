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
func (w *Writer) Unsynced() bool { return w.tail != nil && w.tail.synced < w.tail.end }
