package journal

// DurableTo is the last transaction that is known to survive a power cut: every block says up to where the
// file was durable when it was written. A TXID before the tail's first means that none of the tail is known to be.
// After a power cut the records behind it may be of transactions that SQLite lost. The lock must be held.
func (w *Writer) DurableTo() (TXID, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	t := w.tail
	id := t.hdr.first - 1
	wk := walker{path: t.path, trust: true}
	wk.br.r, wk.br.off, wk.br.limit = t.f, fileHeaderSize, min(t.end, t.synced)
	for wk.br.off < wk.br.limit {
		s, err := wk.next()
		switch {
		case err != nil && wk.br.limit < t.end:
			return id, nil // the block that the known part ends in
		case err != nil:
			return 0, err
		case s == stepEOF:
			return id, nil
		case s == stepTx || s == stepUndecided:
			id = TXID(wk.hdr.first) + TXID(wk.hdr.records) - 1
		}
	}
	return id, nil
}
