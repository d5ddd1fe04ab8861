package workload

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/ncruces/go-sqlite3"
)

// State is what the oracle of the bucket store finds: for the operations up to the checkpoint,
// each bucket's number of operations and sum of checksums. Two States are equal exactly when a
// client could not tell the stores apart by their checksums.
type State struct {
	Checkpoint int64  // streams.cp_seq, 0 before the first
	Operations int64  // operations up to it
	Digest     uint64 // of every bucket's name, count and sum, in any order
}

func (s State) String() string {
	return fmt.Sprintf("checkpoint %d, %d operations, digest %016x", s.Checkpoint, s.Operations, s.Digest)
}

// State is what the oracle must find in the database now, from the model alone.
func (b *Bucket) State() State {
	return State{Checkpoint: b.cp, Operations: b.total, Digest: b.digest}
}

// ReadState asks the oracle's question of a database: the writer's, a reader's, or a copy.
// A database in which the stream is not yet set up has the zero State.
func ReadState(conn *sqlite3.Conn) (State, error) {
	s := newSession(conn, Hooks{})
	defer s.close()
	var state State
	tables, err := s.integer(`SELECT count(*) FROM sqlite_schema WHERE name IN ('streams','oplog','oplog_by_bucket')`)
	if err != nil || tables < 3 {
		return state, err
	}
	state.Checkpoint, err = s.integer(`SELECT ifnull(max(cp_seq),0) FROM streams`)
	if err != nil {
		return state, err
	}
	err = s.query(`SELECT bucket, sum(crc) & 4294967295, count(*) FROM oplog WHERE stream=1 AND seq<=? GROUP BY bucket`,
		func(stmt *sqlite3.Stmt) error {
			count := stmt.ColumnInt64(2)
			state.Operations += count
			state.Digest += digest(stmt.ColumnText(0), uint32(stmt.ColumnInt64(1)), count)
			return nil
		}, state.Checkpoint)
	return state, err
}

// bucket is the model of one bucket: what is in it up to the checkpoint.
type bucket struct {
	name  string
	sum   uint32
	count int64
}

// set changes a bucket and the digest over all of them.
func (b *bucket) set(total *uint64, sum uint32, count int64) {
	*total -= digest(b.name, b.sum, b.count)
	b.sum, b.count = sum, count
	*total += digest(b.name, b.sum, b.count)
}

// digest is one bucket's part of the whole; an empty bucket has none, as GROUP BY does not list it.
func digest(name string, sum uint32, count int64) uint64 {
	if count == 0 {
		return 0
	}
	h := fnv.New64a()
	var buf [64]byte
	line := append(append(buf[:0], name...), '|')
	line = append(strconv.AppendUint(line, uint64(sum), 10), '|')
	h.Write(strconv.AppendInt(line, count, 10))
	return h.Sum64()
}
