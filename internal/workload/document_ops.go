package workload

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// measure counts an operation for the metrics; its duration comes from the workload's own clock.
func (d *Document) measure(op string, run func() error) error {
	d.phase = op
	start := d.rnd.tick()
	if err := run(); err != nil {
		return err
	}
	ms := float64(d.rnd.tick().Sub(start)) / float64(time.Millisecond)
	m, known := d.metrics[op]
	if !known {
		m.lo, m.hi = ms, ms
	}
	d.metrics[op] = metric{n: m.n + 1, sum: m.sum + ms, lo: min(m.lo, ms), hi: max(m.hi, ms)}
	return nil
}

// putSome puts n documents in one transaction, half of them new.
func (d *Document) putSome(ctx context.Context, n int) error {
	var added []ticket
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		for range n {
			var t ticket
			if len(d.tickets) > 0 && d.rnd.IntN(2) == 0 {
				t = d.tickets[d.rnd.IntN(len(d.tickets))]
			} else {
				t = d.newTicket("tk")
				added = append(added, t)
			}
			if err := d.put(t, d.ticketDoc(t)); err != nil {
				return err
			}
		}
		return nil
	}, func() { d.tickets = append(d.tickets, added...) })
}

// update reads a ticket and writes it with another status.
func (d *Document) update(ctx context.Context) error {
	t := d.tickets[d.rnd.IntN(len(d.tickets))]
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		doc, err := d.text(`SELECT doc FROM "d_tickets" WHERE pk=? AND sk=?`, t.event, t.id)
		if err != nil {
			return err
		}
		const status = `"status":{"S":"`
		before, after, _ := strings.Cut(doc, status)
		_, after, _ = strings.Cut(after, `"`)
		return d.put(t, before+status+statuses[d.rnd.IntN(len(statuses))]+`"`+after)
	}, nil)
}

// put writes one document inside a transaction: the document, its change, and the queue of the
// index that lags behind.
func (d *Document) put(t ticket, doc string) error {
	old, err := d.text(`SELECT doc FROM "d_tickets" WHERE pk=? AND sk=?`, t.event, t.id)
	if err != nil {
		return err
	}
	err = d.exec(`INSERT INTO "d_tickets" VALUES(?,?,?) ON CONFLICT(pk,sk) DO UPDATE SET doc=excluded.doc`, t.event, t.id, doc)
	if err != nil {
		return err
	}
	if d.indexed {
		err = d.exec(`INSERT OR REPLACE INTO "x_seat" VALUES(json_extract(?1,'$.seat.M.block.S'),?2,?3,?1)`, doc, t.event, t.id)
		if err != nil {
			return err
		}
	}
	if err := d.change(shard(partOf(t)), "tickets", old, doc); err != nil {
		return err
	}
	return d.enqueue(t, old, doc)
}

// remove deletes ticket i of the list, in a transaction of its own.
func (d *Document) remove(ctx context.Context, i int) error {
	t := d.tickets[i]
	return d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		old, err := d.text(`SELECT doc FROM "d_tickets" WHERE pk=? AND sk=?`, t.event, t.id)
		if err != nil {
			return err
		}
		if err := d.exec(`DELETE FROM "d_tickets" WHERE pk=? AND sk=?`, t.event, t.id); err != nil {
			return err
		}
		if d.indexed {
			if err := d.exec(`DELETE FROM "x_seat" WHERE bpk=? AND bsk=?`, t.event, t.id); err != nil {
				return err
			}
		}
		if err := d.change(shard(partOf(t)), "tickets", old, ""); err != nil {
			return err
		}
		return d.enqueue(t, old, "")
	}, func() {
		last := len(d.tickets) - 1
		d.tickets[i] = d.tickets[last]
		d.tickets = d.tickets[:last]
	})
}

// change appends to the change stream; an empty image is none.
func (d *Document) change(shard, coll, old, new string) error {
	if err := d.exec(`UPDATE counter SET v=v+1 WHERE name='change'`); err != nil {
		return err
	}
	seq, err := d.integer(`SELECT v FROM counter WHERE name='change'`)
	if err != nil {
		return err
	}
	event := "MODIFY"
	if old == "" {
		event = "INSERT"
	} else if new == "" {
		event = "REMOVE"
	}
	record := fmt.Sprintf(`{"seq":%d,"old":%s,"new":%s}`, seq, orNull(old), orNull(new))
	return d.exec(`INSERT INTO change VALUES(?, printf('%021d',?), ?, ?, ?, ?)`,
		shard, seq, coll, event, record, d.rnd.now.Format(timestamp))
}

func orNull(doc string) string {
	if doc == "" {
		return "null"
	}
	return doc
}

func nullable(doc string) any {
	if doc == "" {
		return nil
	}
	return doc
}

// enqueue adds to the queue of one part, due a little later and never before what is queued already.
func (d *Document) enqueue(t ticket, old, new string) error {
	due := d.rnd.now.Add(20 * time.Millisecond).Format(timestamp)
	last, err := d.text(`SELECT max(due) FROM pending WHERE part=?`, partOf(t))
	if err != nil {
		return err
	}
	return d.exec(`INSERT INTO pending(coll,part,old,new,ctx,due) VALUES('tickets',?,?,?,?,?)`,
		partOf(t), nullable(old), nullable(new), fmt.Sprintf(`{"index":"x_cust","customer":%q,"event":%q,"ticket":%q}`, t.customer, t.event, t.id), max(due, last))
}

// FailedPurchase begins the identity of every ticket and token of a purchase that is rolled back.
const FailedPurchase = "void"

// purchase takes a token, puts the ticket if it is new, counts it on the event and keeps the
// venue's index in step. One in twenty fails at the end and leaves no trace.
func (d *Document) purchase(ctx context.Context) error {
	d.purchases++
	fail := d.purchases%20 == 0
	prefix := "bt"
	if fail {
		prefix = FailedPurchase
	}
	t := d.newTicket(prefix)
	err := d.transact(ctx, "BEGIN IMMEDIATE", func() error {
		now := d.rnd.tick().Format(timestamp)
		token := prefix + "-" + d.rnd.uuid().String()
		if err := d.exec(`INSERT INTO token VALUES(?,?,?,?)`, t.customer, token, fmt.Sprintf("%016x", d.rnd.Uint64()), now); err != nil {
			return err
		}
		if err := d.put(t, d.ticketDoc(t)); err != nil {
			return err
		}
		if err := d.countSale(t.event); err != nil {
			return err
		}
		if fail {
			return errGiveUp
		}
		return nil
	}, func() { d.tickets = append(d.tickets, t) })
	return err
}

// countSale adds one to the event's counter and replaces its row in the venue's index.
func (d *Document) countSale(event string) error {
	old, err := d.text(`SELECT doc FROM "d_events" WHERE pk=?`, event)
	if err != nil {
		return err
	}
	err = d.exec(`UPDATE "d_events" SET doc=json_set(doc,'$.sold.N',CAST(CAST(json_extract(doc,'$.sold.N') AS INTEGER)+1 AS TEXT)) WHERE pk=?`, event)
	if err != nil {
		return err
	}
	var doc, venue, starts string
	err = d.query(`SELECT doc, json_extract(doc,'$.venue.S'), json_extract(doc,'$.starts_at.S') FROM "d_events" WHERE pk=?`,
		func(stmt *sqlite3.Stmt) error {
			doc, venue, starts = stmt.ColumnText(0), stmt.ColumnText(1), stmt.ColumnText(2)
			return nil
		}, event)
	if err != nil {
		return err
	}
	if err := d.exec(`DELETE FROM "x_venue" WHERE bpk=?`, event); err != nil {
		return err
	}
	if err := d.exec(`INSERT OR REPLACE INTO "x_venue" VALUES(?,?,?,?)`, venue, starts, event, doc); err != nil {
		return err
	}
	return d.change("events-0", "events", old, doc)
}
