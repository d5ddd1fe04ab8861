package workload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// staged collects the operations of a transaction: the model takes them over at the commit.
type staged struct {
	ops     []op
	deleted []int32 // rows
	added   []int32
}

// Copy copies all source rows, scale.Batch of them a transaction (A2), and ends with a checkpoint.
// One transaction is aborted half-way and then repeated, as is one more in a hundred, and another
// is ended by its context.
func (b *Bucket) Copy(ctx context.Context) error {
	b.phase = "copy"
	for i := range b.scale.Lists {
		b.rows = append(b.rows, sourceRow{id: b.rnd.uuid(), list: int32(i), isList: true})
	}
	for range b.scale.Todos {
		b.rows = append(b.rows, sourceRow{id: b.rnd.uuid(), list: int32(b.rnd.IntN(b.scale.Lists))})
	}
	for first := 0; first < len(b.rows); first += b.scale.Batch {
		last := min(first+b.scale.Batch, len(b.rows))
		if err := b.copyBatch(ctx, first, last); err != nil {
			return err
		}
	}
	for i := range b.scale.Todos {
		b.alive = append(b.alive, int32(b.scale.Lists+i))
	}
	b.rnd.Shuffle(len(b.alive), func(i, j int) { b.alive[i], b.alive[j] = b.alive[j], b.alive[i] })
	return b.checkpoint(ctx)
}

func (b *Bucket) copyBatch(ctx context.Context, first, last int) error {
	full := last-first == b.scale.Batch
	switch {
	case full && (!b.aborted || b.rnd.IntN(100) == 0):
		b.aborted = true
		err := b.transact(ctx, "BEGIN", func() error {
			if err := b.copyRows(&staged{}, first, first+(last-first)/2); err != nil {
				return err
			}
			return errGiveUp
		}, nil)
		if err != nil {
			return err
		}
	case full && !b.killed:
		b.killed = true
		if err := b.copyKilled(ctx, first, last); err != nil {
			return err
		}
	}
	var tx staged
	return b.transact(ctx, "BEGIN", func() error {
		tx = staged{}
		return b.copyRows(&tx, first, last)
	}, func() { b.accept(&tx) })
}

func (b *Bucket) copyRows(tx *staged, first, last int) error {
	rows := make([]int32, 0, last-first)
	for i := first; i < last; i++ {
		rows = append(rows, int32(i))
	}
	return b.upsert(tx, rows)
}

// copyKilled starts a copy whose context is cancelled half-way: the next statement is interrupted,
// and the transaction, still open, is rolled back.
func (b *Bucket) copyKilled(ctx context.Context, first, last int) error {
	return b.transact(ctx, "BEGIN", func() error {
		doomed, cancel := context.WithCancel(ctx)
		defer cancel()
		defer b.conn.SetInterrupt(b.conn.SetInterrupt(doomed))
		if err := b.copyRows(&staged{}, first, first+(last-first)/2); err != nil {
			return err
		}
		cancel()
		err := b.copyRows(&staged{}, first+(last-first)/2, last)
		if !errors.Is(err, sqlite3.INTERRUPT) && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("a cancelled context did not interrupt the transaction: %w", err)
		}
		return errGiveUp
	}, nil)
}

// upsert writes the current version of rows: what is known of them is read, then each gets an
// operation in either bucket and its image.
func (b *Bucket) upsert(tx *staged, rows []int32) error {
	if err := b.readLatest(rows); err != nil {
		return err
	}
	for _, i := range rows {
		if err := b.put(tx, i); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bucket) readLatest(rows []int32) error {
	keys := make([]string, len(rows))
	for i, row := range rows {
		keys[i] = b.rows[row].latestKey()
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return b.exec(`SELECT k,buckets,probes,image FROM latest WHERE k IN (SELECT value FROM json_each(?))`, string(list))
}

func (b *Bucket) put(tx *staged, i int32) error {
	row := &b.rows[i]
	body, image := b.render(row)
	crc := crc32.ChecksumIEEE([]byte(body))
	buckets := b.bucketsOf(row)
	for _, bucket := range buckets {
		o := op{uuid: b.rnd.uuid(), seq: b.next(tx), bucket: bucket, row: i, crc: crc, kind: opPut}
		err := b.exec(`INSERT INTO oplog VALUES(?,1,?,?,'PUT',?,?,?,?,?,?,NULL)`, o.uuid.String(), b.buckets[bucket].name,
			o.seq, row.table(), row.id[:], row.table(), row.id.String(), crc, body)
		if err != nil {
			return err
		}
		tx.ops = append(tx.ops, o)
	}
	names := fmt.Sprintf(`[{"bucket":%q,"key":%q},{"bucket":%q,"key":%q}]`,
		b.buckets[buckets[0]].name, row.id, b.buckets[buckets[1]].name, row.id)
	return b.exec(`INSERT INTO latest VALUES(?,1,?,?,?,'[]',?,NULL)
		ON CONFLICT(k) DO UPDATE SET buckets=excluded.buckets,image=excluded.image,gone_at=NULL`,
		row.latestKey(), row.table(), row.id[:], names, image)
}

func (b *Bucket) next(tx *staged) int64 { return b.seq + int64(len(tx.ops)) + 1 }

// accept takes a committed transaction into the model.
func (b *Bucket) accept(tx *staged) {
	for _, o := range tx.ops {
		row := &b.rows[o.row]
		if b.bucketsOf(row)[0] == o.bucket {
			row.last[0] = o.seq
		} else {
			row.last[1] = o.seq
		}
		b.seq = o.seq
	}
	b.log = append(b.log, tx.ops...)
	b.pending = append(b.pending, tx.ops...)
	b.alive = append(b.alive, tx.added...)
	for _, row := range tx.deleted {
		b.bury(row)
	}
}

// checkpoint lets clients see everything up to now (A3).
func (b *Bucket) checkpoint(ctx context.Context) error {
	now := b.rnd.tick().Format(timestamp)
	return b.transact(ctx, "BEGIN", func() error {
		err := b.exec(`UPDATE streams SET cp_seq=?,cp_lsn=?,cp_at=?,alive_at=?,error=NULL,hold_seq=NULL WHERE id=1`,
			b.seq, fmt.Sprintf("%08X/%08X", b.seq>>16, b.seq<<16&0xffffffff), now, now)
		if err != nil {
			return err
		}
		return b.exec(`DELETE FROM latest WHERE stream=1 AND gone_at<=?`, b.seq)
	}, func() {
		b.cp = b.seq
		for _, o := range b.pending {
			bucket := &b.buckets[o.bucket]
			bucket.set(&b.digest, bucket.sum+o.crc, bucket.count+1)
		}
		b.total += int64(len(b.pending))
		b.pending = b.pending[:0]
	})
}

func (r *sourceRow) table() string {
	if r.isList {
		return "lists"
	}
	return "todos"
}

func (r *sourceRow) latestKey() string { return fmt.Sprintf("1:%s:%x", r.table(), r.id[:]) }

// render makes the row's document, as JSON for clients and as a binary image.
func (b *Bucket) render(row *sourceRow) (body string, image []byte) {
	now := b.rnd.tick()
	owner := fmt.Sprintf("user-%04d", b.bucketsOf(row)[1])
	fields := [][2]string{
		{"id", row.id.String()},
		{"list_id", b.rows[row.list].id.String()},
		{"description", b.rnd.prose(6 + b.rnd.IntN(20))},
		{"created_by", owner},
		{"created_at", now.Add(-time.Duration(row.version) * time.Hour).Format(timestamp)},
		{"updated_at", now.Format(timestamp)},
		{"version", fmt.Sprint(row.version)},
	}
	text := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, "%q:%q", f[0], f[1])
		image = append(append(image, 2), f[0]...)
		image = binary.LittleEndian.AppendUint32(append(image, 0), uint32(len(f[1])+1))
		image = append(append(image, f[1]...), 0)
	}
	return string(append(text, '}')), image
}
