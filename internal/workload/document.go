package workload

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/testdata/workloads"
)

// DocumentScale is how much the document API does.
type DocumentScale struct {
	Operations int
	Events     int
	Customers  int
}

// The scales of the document API. Small makes about 5,800 transactions; Tiny is for unit tests.
var (
	DocumentTiny   = DocumentScale{Operations: 600, Events: 20, Customers: 50}
	DocumentSmall  = DocumentScale{Operations: 5_000, Events: 200, Customers: 2_000}
	DocumentMedium = DocumentScale{Operations: 50_000, Events: 200, Customers: 2_000}
)

// Document is the writer of a document API: tickets, events and customers as JSON documents with a
// change stream, an index kept in step and one that lags behind a queue, expiry, metrics, and
// backups of a table in the same file. Every write is a transaction that takes the lock at once.
type Document struct {
	*session
	scale  DocumentScale
	rnd    *source
	events *rand.Zipf

	tickets   []ticket // that are alive, or have expired and not been swept yet
	serial    int
	drained   int // rows taken from the queue so far
	purchases int
	indexed   bool // the index made late exists
	metrics   map[string]metric
}

// ticket identifies a document: it keeps its event and its customer for life.
type ticket struct{ event, id, customer string }

type metric struct {
	n           int
	sum, lo, hi float64
}

// NewDocument returns a document API of that scale whose documents are decided by seed. The
// connection stays the caller's and must not be used by others while a method runs.
func NewDocument(conn *sqlite3.Conn, scale DocumentScale, seed uint64, hooks Hooks) *Document {
	d := &Document{
		session: newSession(conn, hooks), scale: scale, rnd: newSource(seed), metrics: map[string]metric{},
	}
	d.events = d.rnd.zipf(scale.Events)
	return d
}

// Close finalises the prepared statements.
func (d *Document) Close() error { return d.session.close() }

// Run does the whole workload.
func (d *Document) Run(ctx context.Context) error {
	if err := d.Setup(ctx); err != nil {
		return fmt.Errorf("document API, setup: %w", err)
	}
	for i := range d.scale.Operations {
		if err := d.Step(ctx, i); err != nil {
			return fmt.Errorf("document API, %s, operation %d, transaction %d: %w", d.phase, i, d.number+1, err)
		}
	}
	if err := d.Finish(ctx); err != nil {
		return fmt.Errorf("document API, %s: %w", d.phase, err)
	}
	return nil
}

// Setup makes the schema, each statement a transaction that is not counted, then the collections,
// events and customers, in one that is.
func (d *Document) Setup(ctx context.Context) error {
	d.phase = "setup"
	if err := d.schema(workloads.DocumentStore); err != nil {
		return err
	}
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		for _, name := range []string{"events", "tickets", "customers"} {
			err := d.exec(`INSERT INTO coll(id,name,spec,ttl_attr) VALUES(?,?,?,?)`, name, name, `{"billing":"PAY_PER_REQUEST"}`, "expires_at")
			if err != nil {
				return err
			}
		}
		for i := range shards {
			if err := d.exec(`INSERT INTO shard VALUES(?,'tickets')`, shard(i)); err != nil {
				return err
			}
		}
		if err := d.exec(`INSERT INTO shard VALUES('events-0','events')`); err != nil {
			return err
		}
		for i := range d.scale.Events {
			id := eventID(uint64(i))
			if err := d.exec(`INSERT INTO "d_events" VALUES(?,?)`, id, d.eventDoc(id, 0)); err != nil {
				return err
			}
		}
		for i := range d.scale.Customers {
			id := customerID(i)
			if err := d.exec(`INSERT INTO "d_customers" VALUES(?,?)`, id, d.customerDoc(id)); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// Step does operation i, and whatever is due after it.
func (d *Document) Step(ctx context.Context, i int) error {
	if err := d.operation(ctx, d.rnd.IntN(100)); err != nil {
		return err
	}
	type duty struct {
		due bool
		run func(context.Context) error
	}
	done, whole := i+1, d.scale.Operations
	duties := []duty{
		{done%20 == 0, d.drain},
		{done%200 == 0, d.writeMetrics},
		{done%500 == 0, d.expire},
		{done%5000 == 0, d.retain},
		{done == whole/2, func(ctx context.Context) error { return d.backup(ctx, "first") }},
		{done == whole*6/10, d.addIndex},
		{done == whole*9/10, func(ctx context.Context) error { return d.backup(ctx, "second") }},
	}
	for _, duty := range duties {
		if !duty.due {
			continue
		}
		if err := duty.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// operation does one call of the API: of a hundred, 40 puts, 25 updates, 20 purchases, 10 batches
// and 5 deletes.
func (d *Document) operation(ctx context.Context, dice int) error {
	switch {
	case dice < 40:
		return d.measure("put", func() error { return d.putSome(ctx, 1) })
	case dice < 65 && len(d.tickets) > 0:
		return d.measure("update", func() error { return d.update(ctx) })
	case dice < 85:
		return d.measure("purchase", func() error { return d.purchase(ctx) })
	case dice < 95:
		return d.measure("batch", func() error { return d.putSome(ctx, 25) })
	case len(d.tickets) > 0:
		return d.measure("delete", func() error { return d.remove(ctx, d.rnd.IntN(len(d.tickets))) })
	default:
		return d.measure("put", func() error { return d.putSome(ctx, 1) })
	}
}

// Finish drops the first backup and the late index.
func (d *Document) Finish(ctx context.Context) error {
	d.phase = "finish"
	err := d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		return d.exec(`DELETE FROM bak_item WHERE arn='first'`)
	}, nil)
	if err != nil || !d.indexed {
		return err
	}
	d.indexed = false
	return d.statement(ctx, `DROP TABLE "x_seat"`)
}
