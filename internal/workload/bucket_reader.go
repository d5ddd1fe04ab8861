package workload

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/ncruces/go-sqlite3"
)

// Reads is what a reader did.
type Reads struct {
	Snapshots int64 // read transactions
	Rows      int64 // rows seen in them
}

// ReadBuckets is a client of the bucket store beside its writer: until ctx is done, it takes the
// checkpoint and reads the operations of some bucket up to it. It fails when a checkpoint goes
// back, when operations are out of order or past the checkpoint, or when a body does not have its
// checksum. The connection must be the reader's own; it is not closed. After each snapshot it calls
// pause, if given.
func ReadBuckets(ctx context.Context, conn *sqlite3.Conn, seed uint64, pause func()) (Reads, error) {
	r := bucketReader{session: newSession(conn, Hooks{}), rnd: newSource(seed)}
	defer r.close()
	for ctx.Err() == nil {
		if err := r.snapshot(); err != nil {
			if interrupted(ctx, err) {
				break
			}
			return r.reads, err
		}
		r.reads.Snapshots++
		if pause != nil {
			pause()
		}
	}
	return r.reads, nil
}

// interrupted says that a reader's query was cut short by the end of its own context.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, sqlite3.INTERRUPT) || errors.Is(err, context.Canceled))
}

type bucketReader struct {
	*session
	rnd   *source
	cp    int64
	reads Reads
}

func (r *bucketReader) snapshot() (err error) {
	if err := r.exec("BEGIN"); err != nil {
		return err
	}
	defer func() {
		// Also when the reader was interrupted: a transaction left open would hold up checkpoints.
		defer r.conn.SetInterrupt(r.conn.SetInterrupt(context.Background()))
		if !r.conn.GetAutocommit() {
			err = errors.Join(err, r.exec("COMMIT"))
		}
	}()
	cp, err := r.integer(`SELECT ifnull(max(cp_seq),0) FROM streams`)
	if err != nil {
		return err
	}
	if cp < r.cp {
		return fmt.Errorf("the checkpoint went back from %d to %d", r.cp, cp)
	}
	r.cp = cp
	name, err := r.text(`SELECT bucket FROM oplog WHERE stream=1 AND bucket>=? ORDER BY bucket LIMIT 1`,
		fmt.Sprintf("%s[\"%d", [2]string{"list", "user"}[r.rnd.IntN(2)], r.rnd.IntN(100)))
	if err != nil || name == "" {
		return err
	}
	return r.operations(name, cp)
}

func (r *bucketReader) operations(name string, cp int64) error {
	after := int64(0)
	if cp > 0 {
		after = r.rnd.Int64N(cp)
	}
	return r.query(`SELECT seq,kind,obj_id,crc,body FROM oplog WHERE stream=1 AND bucket=? AND seq>? AND seq<=? ORDER BY seq LIMIT 1000`,
		func(stmt *sqlite3.Stmt) error {
			seq := stmt.ColumnInt64(0)
			if seq <= after || seq > cp {
				return fmt.Errorf("bucket %s: operation %d after %d, checkpoint %d", name, seq, after, cp)
			}
			after = seq
			r.reads.Rows++
			body := stmt.ColumnRawText(4)
			if string(stmt.ColumnRawText(1)) == "PUT" && int64(crc32.ChecksumIEEE(body)) != stmt.ColumnInt64(3) {
				return fmt.Errorf("bucket %s: the body of operation %d does not have its checksum", name, seq)
			}
			return nil
		}, name, after, cp)
}
