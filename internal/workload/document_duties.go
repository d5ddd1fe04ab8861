package workload

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// drain takes up to 100 rows from the queue and brings the customers' index up to date with them.
// Every 500th row fails: it is rolled back to its savepoint and queued again.
func (d *Document) drain(ctx context.Context) error {
	d.phase = "drain"
	type row struct{ old, new, ctx string }
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		var rows []row
		err := d.query(`DELETE FROM pending WHERE id IN (SELECT id FROM pending WHERE due<=? ORDER BY id LIMIT 100) RETURNING id,old,new,ctx`,
			func(stmt *sqlite3.Stmt) error {
				rows = append(rows, row{stmt.ColumnText(1), stmt.ColumnText(2), stmt.ColumnText(3)})
				return nil
			}, d.rnd.tick().Add(time.Minute).Format(timestamp))
		if err != nil {
			return err
		}
		for _, row := range rows {
			d.drained++
			if err := d.index(row.old, row.new, row.ctx, d.drained%500 == 0); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// index brings one row of the queue into the customers' index, inside a savepoint.
func (d *Document) index(old, new, job string, fail bool) error {
	if err := d.exec(`SAVEPOINT r`); err != nil {
		return err
	}
	var t ticket
	err := d.query(`SELECT json_extract(?1,'$.event'), json_extract(?1,'$.ticket'), json_extract(?1,'$.customer')`, func(stmt *sqlite3.Stmt) error {
		t = ticket{event: stmt.ColumnText(0), id: stmt.ColumnText(1), customer: stmt.ColumnText(2)}
		return nil
	}, job)
	if err != nil {
		return err
	}
	if err := d.exec(`DELETE FROM "x_cust" WHERE pk=? AND bpk=? AND bsk=?`, t.customer, t.event, t.id); err != nil {
		return err
	}
	if new != "" {
		err := d.exec(`INSERT OR REPLACE INTO "x_cust" SELECT json_extract(?1,'$.customer_id.S'),json_extract(?1,'$.bought_at.S'),?2,?3,?1`,
			new, t.event, t.id)
		if err != nil {
			return err
		}
	}
	if fail {
		if err := d.exec(`ROLLBACK TO r`); err != nil {
			return err
		}
		if err := d.enqueue(t, old, new); err != nil {
			return err
		}
	}
	return d.exec(`RELEASE r`)
}

// expire deletes up to 100 tickets whose time is over, a transaction each.
func (d *Document) expire(ctx context.Context) error {
	expired := map[[2]string]bool{}
	err := d.query(`SELECT pk,sk FROM "d_tickets" WHERE json_extract(doc,'$.expires_at.N') IS NOT NULL
			AND CAST(json_extract(doc,'$.expires_at.N') AS INTEGER) BETWEEN 1 AND ?
			ORDER BY CAST(json_extract(doc,'$.expires_at.N') AS INTEGER) LIMIT 100`,
		func(stmt *sqlite3.Stmt) error {
			expired[[2]string{stmt.ColumnText(0), stmt.ColumnText(1)}] = true
			return nil
		}, d.rnd.now.Unix())
	if err != nil {
		return err
	}
	d.phase = "expire"
	for i := len(d.tickets) - 1; i >= 0; i-- {
		if t := d.tickets[i]; !expired[[2]string{t.event, t.id}] {
			continue
		}
		if err := d.remove(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// writeMetrics adds the operations since the last time to the minute's figures.
func (d *Document) writeMetrics(ctx context.Context) error {
	d.phase = "metrics"
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		for _, op := range sortedKeys(d.metrics) {
			m := d.metrics[op]
			err := d.exec(`INSERT INTO metric VALUES(?,?,'tickets',?,?,?,?) ON CONFLICT(minute,op,coll) DO UPDATE
				SET s=s+excluded.s, n=n+excluded.n, lo=min(lo,excluded.lo), hi=max(hi,excluded.hi)`,
				d.rnd.now.Format("2006-01-02T15:04"), op, m.sum, m.n, m.lo, m.hi)
			if err != nil {
				return err
			}
		}
		return d.exec(`UPDATE coll SET n=(SELECT count(*) FROM "d_tickets") WHERE id='tickets'`)
	}, func() { clear(d.metrics) })
}

func sortedKeys(m map[string]metric) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// retain deletes changes and tokens that are older than a minute of the workload's clock.
func (d *Document) retain(ctx context.Context) error {
	d.phase = "retain"
	old := d.rnd.now.Add(-time.Minute).Format(timestamp)
	for _, table := range []string{"change", "token"} {
		err := d.transact(ctx, "BEGIN IMMEDIATE", func() error {
			return d.exec(`DELETE FROM `+table+` WHERE at<?`, old)
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// backup copies all tickets into the backup table, in one transaction.
func (d *Document) backup(ctx context.Context, name string) error {
	d.phase = "backup"
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		if err := d.exec(`INSERT INTO bak VALUES(?,'tickets','AVAILABLE',?)`, name, d.rnd.now.Format(timestamp)); err != nil {
			return err
		}
		return d.exec(`INSERT INTO bak_item SELECT ?, doc FROM "d_tickets"`, name)
	}, nil)
}

// addIndex makes a new index table and fills it from the documents that are there.
func (d *Document) addIndex(ctx context.Context) error {
	d.phase = "index"
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		for _, sql := range []string{
			`CREATE TABLE "x_seat"(pk TEXT, bpk TEXT NOT NULL, bsk TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY(bpk,bsk))`,
			`CREATE INDEX "x_seat_o" ON "x_seat"(pk,bpk,bsk)`,
			`INSERT INTO "x_seat" SELECT json_extract(doc,'$.seat.M.block.S'), pk, sk, doc FROM "d_tickets"`,
		} {
			if err := d.conn.Exec(sql); err != nil {
				return fmt.Errorf("%.40q: %w", sql, err)
			}
		}
		return nil
	}, func() { d.indexed = true })
}
