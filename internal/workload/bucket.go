package workload

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/testdata/workloads"
)

// BucketScale is how much of the bucket store there is.
type BucketScale struct {
	Lists  int // to-do lists; one bucket each, and nine buckets of users for ten lists
	Todos  int // to-dos copied at the start
	Rounds int // rounds of live changes
	Batch  int // source rows a copy transaction
}

// The scales of the bucket store. Small makes about 13,000 transactions, Medium about 40,000;
// Tiny is for unit tests.
var (
	BucketTiny   = BucketScale{Lists: 10, Todos: 300, Rounds: 60, Batch: 100}
	BucketSmall  = BucketScale{Lists: 100, Todos: 10_000, Rounds: 2_000, Batch: 1_000}
	BucketMedium = BucketScale{Lists: 500, Todos: 100_000, Rounds: 5_000, Batch: 1_000}
)

// Bucket is the writer of the bucket store: it copies source rows into an operation log, follows
// their changes, commits checkpoints that clients read up to, compacts the log, and in the end
// deletes everything. It keeps a model of the log, from which State foretells the oracle.
type Bucket struct {
	*session
	scale BucketScale
	rnd   *source

	rows    []sourceRow
	alive   []int32 // to-dos not deleted: indexes into rows, the hottest first
	buckets []bucket
	log     []op // every operation in the log, ascending by seq
	pending []op // operations after the last checkpoint, also in log
	seq     int64
	cp      int64 // streams.cp_seq
	digest  uint64
	total   int64
	aborted bool // a copy was aborted half-way
	killed  bool // a copy was ended by its context
}

// sourceRow is a list or a to-do of the imagined upstream database.
type sourceRow struct {
	id      uuid
	list    int32 // its list; itself for a list
	isList  bool
	version int
	last    [2]int64 // seq of its last operation in each of its two buckets
}

// op is an operation in the log.
type op struct {
	uuid   uuid
	seq    int64
	bucket int32
	row    int32
	crc    uint32
	kind   kind
}

type kind uint8

const (
	opPut kind = iota
	opDelete
	opMoved
	opBase
)

// NewBucket returns a bucket store of that scale whose rows are decided by seed. The connection
// stays the caller's and must not be used by others while a method runs; Close only frees the
// prepared statements.
func NewBucket(conn *sqlite3.Conn, scale BucketScale, seed uint64, hooks Hooks) *Bucket {
	b := &Bucket{session: newSession(conn, hooks), scale: scale, rnd: newSource(seed)}
	b.session.state = b.State
	users := max(1, scale.Lists*9/10)
	for i := range scale.Lists {
		b.buckets = append(b.buckets, bucket{name: fmt.Sprintf("list[%q]", fmt.Sprint(i))})
	}
	for i := range users {
		b.buckets = append(b.buckets, bucket{name: fmt.Sprintf("user[%q]", fmt.Sprint(i))})
	}
	return b
}

// Close finalises the prepared statements.
func (b *Bucket) Close() error { return b.session.close() }

// Run does the whole workload from Setup to Empty.
func (b *Bucket) Run(ctx context.Context) error {
	steps := []func(context.Context) error{
		b.Setup, b.Copy,
		func(ctx context.Context) error { return b.Live(ctx, b.scale.Rounds) },
		b.Compact, b.Empty,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("bucket store, %s, transaction %d: %w", b.phase, b.number+1, err)
		}
	}
	return nil
}

// Setup makes the schema, each statement a transaction that is not counted, and the rows that
// describe the stream. The schema's own PRAGMA asks for WAL.
func (b *Bucket) Setup(ctx context.Context) error {
	b.phase = "setup"
	if err := b.schema(workloads.BucketStore); err != nil {
		return err
	}
	return b.transact(ctx, "BEGIN", func() error {
		if err := b.exec(`INSERT INTO streams(id,state,rules) VALUES(1,'ACTIVE',?)`, rules); err != nil {
			return err
		}
		for _, table := range []string{"lists", "todos"} {
			err := b.exec(`INSERT INTO sources(id,stream,tbl,key_cols) VALUES(?,1,?,'["id"]')`, b.rnd.uuid().String(), table)
			if err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

const rules = `bucket_definitions: {list: {data: [SELECT * FROM lists, SELECT * FROM todos]}, user: {data: [SELECT * FROM lists, SELECT * FROM todos]}}`

// bucketsOf are the two buckets that a row lies in: its list's, and that of the list's owner.
func (b *Bucket) bucketsOf(row *sourceRow) [2]int32 {
	users := int32(len(b.buckets) - b.scale.Lists)
	return [2]int32{row.list, int32(b.scale.Lists) + row.list%users}
}

// Empty deletes everything in one transaction (A9) and vacuums (A10).
func (b *Bucket) Empty(ctx context.Context) error {
	b.phase = "empty"
	err := b.transact(ctx, "BEGIN", func() error {
		for _, table := range []string{"oplog", "lookups", "latest", "sources"} {
			if err := b.exec(`DELETE FROM ` + table + ` WHERE stream=1`); err != nil {
				return err
			}
		}
		return nil
	}, b.forget)
	if err != nil {
		return err
	}
	return b.statement(ctx, "VACUUM")
}

// forget empties the model, as the database was.
func (b *Bucket) forget() {
	for i := range b.buckets {
		b.buckets[i].set(&b.digest, 0, 0)
	}
	b.log, b.pending, b.alive, b.total = nil, nil, nil, 0
}
