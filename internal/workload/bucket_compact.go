package workload

import (
	"cmp"
	"context"
	"slices"
)

// Compact empties every superseded operation, one autocommit UPDATE each (A7), then replaces the
// front of each bucket, as far as nothing in it is needed, by one operation with the sum of its
// checksums: a DELETE and an INSERT, autocommits both (A8). Between the two a bucket's sum is
// wrong, which the model foretells too.
func (b *Bucket) Compact(ctx context.Context) error {
	b.phase = "compact"
	slices.SortStableFunc(b.log, func(x, y op) int {
		return cmp.Or(cmp.Compare(x.bucket, y.bucket), cmp.Compare(x.seq, y.seq))
	})
	for i := range b.log {
		o := &b.log[i]
		row := &b.rows[o.row]
		if o.kind != opPut && o.kind != opDelete || o.seq == row.last[0] || o.seq == row.last[1] {
			continue
		}
		err := b.transact(ctx, "", func() error {
			return b.exec(`UPDATE oplog SET kind='MOVED',moved_to=?,obj_type=NULL,obj_id=NULL,body=NULL,src=NULL,src_key=NULL
				WHERE row_uuid=?`, max(row.last[0], row.last[1]), o.uuid.String())
		}, func() { o.kind = opMoved })
		if err != nil {
			return err
		}
	}
	var kept []op
	for first := 0; first < len(b.log); {
		last := first
		for last < len(b.log) && b.log[last].bucket == b.log[first].bucket {
			last++
		}
		rest, err := b.cutFront(ctx, b.log[first:last])
		if err != nil {
			return err
		}
		kept = append(kept, rest...)
		first = last
	}
	slices.SortFunc(kept, func(x, y op) int { return cmp.Compare(x.seq, y.seq) })
	b.log = kept
	return nil
}

// cutFront replaces the front of one bucket and returns what is in it afterwards.
func (b *Bucket) cutFront(ctx context.Context, ops []op) ([]op, error) {
	front, sum := 0, uint32(0)
	for front < len(ops) && ops[front].kind != opPut {
		sum += ops[front].crc
		front++
	}
	if front == 0 {
		return ops, nil
	}
	bucket := &b.buckets[ops[0].bucket]
	base := op{uuid: b.rnd.uuid(), seq: ops[front-1].seq, bucket: ops[0].bucket, row: ops[front-1].row, crc: sum, kind: opBase}
	err := b.transact(ctx, "", func() error {
		return b.exec(`DELETE FROM oplog WHERE stream=1 AND bucket=? AND seq<=?`, bucket.name, base.seq)
	}, func() {
		bucket.set(&b.digest, bucket.sum-sum, bucket.count-int64(front))
		b.total -= int64(front)
	})
	if err != nil {
		return nil, err
	}
	err = b.transact(ctx, "", func() error {
		return b.exec(`INSERT INTO oplog(row_uuid,stream,bucket,seq,kind,crc) VALUES(?,1,?,?,'BASE',?)`,
			base.uuid.String(), bucket.name, base.seq, sum)
	}, func() {
		bucket.set(&b.digest, bucket.sum+sum, bucket.count+1)
		b.total++
	})
	return append([]op{base}, ops[front:]...), err
}
