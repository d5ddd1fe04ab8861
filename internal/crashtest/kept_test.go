package crashtest_test

import (
	"errors"
	"fmt"

	"github.com/pagetrail/pagetrail/journal"
)

// shownTxs are the transactions that a reader of the trail sees, as a cut left it.
func (m *mount) shownTxs() (txs []journal.Tx, err error) {
	err = m.recordsOf(m.trail(), 1, func(_ *journal.Trail, rec *journal.Record) error {
		txs = append(txs, rec.Tx)
		return nil
	})
	return txs, err
}

// kept checks that nothing which a reader of the trail was shown is gone: what is not in the trail any more is in a cut
// of it, and a cut can be restored to its end.
func (t *tally) kept(m *mount, shown, now []journal.Tx) error {
	histories := [][]journal.Tx{now}
	trail, err := journal.Open(m.trail(), &journal.ReadOptions{FS: m.FS()})
	if err != nil {
		return err
	}
	cuts, err := trail.Cuts()
	if err = errors.Join(err, trail.Close()); err != nil {
		return err
	}
	for _, c := range cuts {
		if c.Err != nil {
			return fmt.Errorf("a cut cannot be read: %w", c.Err)
		}
		txs, _, err := m.replayOf(c.Dir)
		if err != nil || len(txs) == 0 || txs[len(txs)-1].TXID != c.Last.TXID {
			return fmt.Errorf("cut %+v gives %s: %v", c, describe(txs), err)
		}
		histories = append(histories, txs)
		t.asides++
	}
	for i, tx := range shown {
		found := false
		for _, h := range histories {
			found = found || i < len(h) && sameTx(h[i], tx)
		}
		if !found {
			return fmt.Errorf("TXID %d was shown, and is in neither the trail nor its %d cuts", tx.TXID, len(cuts))
		}
	}
	return nil
}
