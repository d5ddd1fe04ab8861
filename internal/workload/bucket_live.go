package workload

import (
	"context"
	"fmt"
	"hash/crc32"
)

// Live follows changes of the source for a number of rounds: nine in ten change one row, the
// others 2 to 50; 70 % are updates of mostly the same rows, 20 % inserts, 10 % deletes (A4). Each
// round is followed by a checkpoint (A3), every tenth by a sign of life (A5), every fifth by a
// client's acknowledgement. It may be called more than once.
func (b *Bucket) Live(ctx context.Context, rounds int) error {
	b.phase = "live"
	hot := b.rnd.zipf(max(2, len(b.alive)))
	for round := range rounds {
		var tx staged
		err := b.transact(ctx, "BEGIN", func() error { return b.round(&tx, round, hot.Uint64) }, func() { b.accept(&tx) })
		if err != nil {
			return err
		}
		if err := b.checkpoint(ctx); err != nil {
			return err
		}
		if err := b.signs(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// round makes the changes of one transaction.
func (b *Bucket) round(tx *staged, round int, hot func() uint64) error {
	changes := 1
	if b.rnd.IntN(10) == 0 {
		// The smaller of two draws: long transactions are rarer than short ones.
		changes = 2 + min(b.rnd.IntN(49), b.rnd.IntN(49))
	}
	var updates []int32
	// Every list is renamed once: then the oldest operation of each bucket is superseded, and the
	// compaction finds something to cut off everywhere.
	if round < b.scale.Lists {
		updates = append(updates, int32(round))
	}
	for range changes {
		switch dice := b.rnd.IntN(10); {
		case dice < 7:
			updates = append(updates, b.alive[int(hot())%len(b.alive)])
		case dice < 9:
			b.rows = append(b.rows, sourceRow{id: b.rnd.uuid(), list: int32(b.rnd.IntN(b.scale.Lists))})
			row := int32(len(b.rows) - 1)
			tx.added = append(tx.added, row)
			updates = append(updates, row)
		default:
			if err := b.delete(tx, b.alive[b.rnd.IntN(len(b.alive))]); err != nil {
				return err
			}
		}
	}
	updates = b.distinct(tx, updates)
	return b.upsert(tx, updates)
}

// distinct drops repeated rows, and rows deleted in the same transaction, and counts the versions.
func (b *Bucket) distinct(tx *staged, rows []int32) []int32 {
	seen := make(map[int32]bool, len(rows)+len(tx.deleted))
	for _, row := range tx.deleted {
		seen[row] = true
	}
	kept := rows[:0]
	for _, row := range rows {
		if !seen[row] {
			seen[row] = true
			b.rows[row].version++
			kept = append(kept, row)
		}
	}
	return kept
}

func (b *Bucket) delete(tx *staged, i int32) error {
	for _, gone := range tx.deleted {
		if gone == i {
			return nil
		}
	}
	row := &b.rows[i]
	crc := crc32.ChecksumIEEE(row.id[:])
	for _, bucket := range b.bucketsOf(row) {
		o := op{uuid: b.rnd.uuid(), seq: b.next(tx), bucket: bucket, row: i, crc: crc, kind: opDelete}
		err := b.exec(`INSERT INTO oplog VALUES(?,1,?,?,'DEL',?,?,?,?,?,NULL,NULL)`, o.uuid.String(), b.buckets[bucket].name,
			o.seq, row.table(), row.id[:], row.table(), row.id.String(), crc)
		if err != nil {
			return err
		}
		tx.ops = append(tx.ops, o)
	}
	tx.deleted = append(tx.deleted, i)
	return b.exec(`UPDATE latest SET buckets='[]',probes='[]',image=x'00',gone_at=? WHERE k=?`, b.seq+int64(len(tx.ops)), row.latestKey())
}

// bury takes a to-do out of the living; its rank goes to the coldest.
func (b *Bucket) bury(row int32) {
	for i, r := range b.alive {
		if r == row {
			last := len(b.alive) - 1
			b.alive[i] = b.alive[last]
			b.alive = b.alive[:last]
			return
		}
	}
}

// signs writes the small transactions between the rounds.
func (b *Bucket) signs(ctx context.Context, round int) error {
	now := b.rnd.tick().Format(timestamp)
	if round%10 == 9 {
		err := b.transact(ctx, "", func() error {
			return b.exec(`UPDATE streams SET alive_at=? WHERE id=1`, now)
		}, nil)
		if err != nil {
			return err
		}
	}
	if round%5 != 4 {
		return nil
	}
	return b.transact(ctx, "", func() error {
		return b.exec(`INSERT INTO acks VALUES(?,1,?,?,?,?,?)`, b.rnd.uuid().String(), fmt.Sprintf("user-%04d", b.rnd.IntN(1000)),
			b.cp, fmt.Sprintf(`{"head":%d}`, b.seq), now, now)
	}, nil)
}
