package workload

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// question is a query that counts what must not be there.
type question struct{ about, sql string }

// documentQuestions hold between any two transactions of the document API.
var documentQuestions = []question{
	{"tickets that are neither in the customers' index nor queued for it", `
		SELECT count(*) FROM "d_tickets" t
		WHERE NOT EXISTS(SELECT 1 FROM indexed x WHERE x.pk=t.pk AND x.sk=t.sk)
		AND NOT EXISTS(SELECT 1 FROM queued q WHERE q.pk=t.pk AND q.sk=t.sk)`},
	{"changes missing after the last", `
		SELECT abs((SELECT v FROM counter WHERE name='change') - (SELECT max(CAST(seq AS INTEGER)) FROM change))`},
	{"changed tickets that are not as their last change left them", `
		SELECT count(*) FROM folded f LEFT JOIN "d_tickets" t ON t.pk=f.pk AND t.sk=f.sk
		WHERE f.new IS NOT t.doc`},
	{"tickets without a change, though no change was swept", `
		SELECT count(*) FROM "d_tickets" t WHERE NOT EXISTS(SELECT 1 FROM folded f WHERE f.pk=t.pk AND f.sk=t.sk)
		AND (SELECT min(CAST(seq AS INTEGER)) FROM change)=1750000000000001`},
	{"events that are not as their last change left them", `
		SELECT count(*) FROM (SELECT max(seq), rec->'new' AS new FROM change WHERE shard='events-0' GROUP BY rec->'new'->'event_id'->>'S') c
		WHERE NOT EXISTS(SELECT 1 FROM "d_events" e WHERE e.pk=c.new->'event_id'->>'S' AND e.doc=c.new)`},
	{"events whose row in the venues' index differs", `
		SELECT count(*) FROM "x_venue" x JOIN "d_events" e ON e.pk=x.bpk WHERE x.doc<>e.doc`},
	{"traces of purchases that were rolled back", `
		SELECT (SELECT count(*) FROM token WHERE tok GLOB 'void*') + (SELECT count(*) FROM "d_tickets" WHERE sk GLOB 'void*')
		+ (SELECT count(*) FROM folded WHERE sk GLOB 'void*') + (SELECT count(*) FROM queued WHERE sk GLOB 'void*')`},
	{"foreign keys that lead nowhere", `SELECT count(*) FROM pragma_foreign_key_check`},
}

// folds are temporary tables that the questions share: what is queued, what is indexed, and the
// last change of each ticket. They are made once, with an index, because each question would scan the JSON again,
// and because the customers' index begins with the customer.
const folds = `
	PRAGMA temp_store=memory;
	CREATE TEMP TABLE queued AS SELECT new->'event_id'->>'S' AS pk, new->'ticket_id'->>'S' AS sk FROM main.pending;
	CREATE INDEX temp.queued_pk ON queued(pk,sk);
	CREATE TEMP TABLE folded AS SELECT max(seq), nullif(rec->'new','null') AS new,
		coalesce(rec->'new'->'event_id'->>'S', rec->'old'->'event_id'->>'S') AS pk,
		coalesce(rec->'new'->'ticket_id'->>'S', rec->'old'->'ticket_id'->>'S') AS sk
		FROM main.change WHERE coll='tickets' GROUP BY 3, 4;
	CREATE INDEX temp.folded_pk ON folded(pk,sk);
	CREATE TEMP TABLE indexed AS SELECT bpk AS pk, bsk AS sk FROM main.x_cust;
	CREATE INDEX temp.indexed_pk ON indexed(pk,sk)`

// CheckDocuments puts the document API's questions to a database: the writer's between two
// transactions, a reader's, or a copy of any moment. All that is wrong is in the error. A database
// that is not set up yet has nothing wrong. It leaves nothing in the database, but makes temporary
// tables, for which the connection must not be query_only.
func CheckDocuments(conn *sqlite3.Conn) (err error) {
	s := newSession(conn, Hooks{})
	tables, err := s.integer(`SELECT ifnull((SELECT count(*) FROM coll),0) FROM sqlite_schema WHERE name='ttl_tickets'`)
	if missing := s.close(); err != nil || missing != nil || tables == 0 {
		if errors.Is(err, sqlite3.ERROR) {
			return nil // no such table: not set up
		}
		return errors.Join(err, missing)
	}
	// One snapshot for all questions, though a writer may go on beside them.
	if err := conn.Exec("BEGIN; SELECT count(*) FROM coll;" + folds); err != nil {
		return errors.Join(err, conn.Exec("ROLLBACK"))
	}
	defer func() {
		// Undoing the transaction undoes the temporary tables too.
		err = errors.Join(err, s.close(), conn.Exec("ROLLBACK"))
	}()
	for _, q := range documentQuestions {
		n, err2 := s.integer(q.sql)
		if err2 != nil {
			return errors.Join(err, err2)
		}
		if n != 0 {
			err = errors.Join(err, fmt.Errorf("%d %s", n, q.about))
		}
	}
	return err
}

// ReadDocuments is a client of the document API beside its writer, until ctx is done: it pages
// through customers' tickets, scans parts of the table and follows the change stream, which must
// go on without a gap. The connection must be the reader's own; it is not closed. After each query
// it calls pause, if given.
func ReadDocuments(ctx context.Context, conn *sqlite3.Conn, scale DocumentScale, seed uint64, pause func()) (Reads, error) {
	r := documentReader{session: newSession(conn, Hooks{}), rnd: newSource(seed), scale: scale}
	defer r.close()
	for ctx.Err() == nil {
		if err := r.read(); err != nil {
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

type documentReader struct {
	*session
	rnd   *source
	scale DocumentScale
	after [shards]string
	reads Reads
}

func (r *documentReader) read() error {
	count := func(*sqlite3.Stmt) error { r.reads.Rows++; return nil }
	switch r.rnd.IntN(10) {
	case 0:
		return r.query(`SELECT doc FROM "d_tickets" WHERE (rowid % 4)=?`, count, r.rnd.IntN(4))
	case 1, 2, 3:
		return r.follow(r.rnd.IntN(shards))
	default:
		return r.query(`SELECT doc FROM "x_cust" WHERE pk=?1 AND (sk>?2 OR (sk=?2 AND bsk>?3)) ORDER BY sk,bpk LIMIT 50`,
			count, customerID(r.rnd.IntN(r.scale.Customers)), "", "")
	}
}

func (r *documentReader) follow(part int) error {
	return r.query(`SELECT seq, rec->>'seq' FROM change WHERE shard=? AND seq>? ORDER BY seq LIMIT 1000`,
		func(stmt *sqlite3.Stmt) error {
			seq := stmt.ColumnText(0)
			if seq <= r.after[part] || fmt.Sprintf("%021d", stmt.ColumnInt64(1)) != seq {
				return fmt.Errorf("change stream %d: %s after %s, with record %d", part, seq, r.after[part], stmt.ColumnInt64(1))
			}
			r.after[part] = seq
			r.reads.Rows++
			return nil
		}, shard(part), r.after[part])
}
