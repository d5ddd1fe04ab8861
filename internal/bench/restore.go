package main

import (
	"fmt"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// What a large restore is asked: a database of about a gigabyte whose archive holds its base and 100,000 transactions
// after it, none of them folded, restored as of the last one. cp and a sync of the same database are what a disk
// allows; Litestream 0.5.16 took 8 to 18 times as long.
const (
	restoreFilled       = 3_800_000
	restoreTransactions = 100_000
)

func askRestore(b *bench) error {
	db, store := b.path("restore.db"), b.path("restore.store")
	if err := b.archived(db, store); err != nil {
		return err
	}
	var copies, restores []time.Duration
	var cores []float64
	var peak int64
	var last cost
	for range max(b.reps/2, 1) { // as each takes seconds
		c, err := b.measure(job{Name: "copy", DB: db})
		if err != nil {
			return err
		}
		copies = append(copies, c.wall)
		if err := os.Remove(db + ".copy"); err != nil {
			return err
		}
		if last, err = b.measure(job{Name: "restore", DB: db, To: store}); err != nil {
			return err
		}
		if err := os.Remove(db + ".restored"); err != nil {
			return err
		}
		restores = append(restores, last.wall)
		cores = append(cores, last.cpu.Seconds()/last.wall.Seconds())
		peak = max(peak, last.rss)
	}
	ratio := float64(median(restores)) / float64(median(copies))
	b.rows = append(b.rows, row{
		Question: fmt.Sprintf("restore %s from an archive, %s after its base", ui.Bytes(int64(last.out["size"])),
			ui.Plural(b.scaled(restoreTransactions), "transaction", "transactions")),
		Plain: ui.Duration(median(copies)) + " cp, sync", Ours: ui.Duration(median(restores)), Value: ratio,
		Shown: fmt.Sprintf("%.2f×", ratio), Target: "≤ 1.50×", OK: ratio <= 1.5,
	}, row{
		Question: "cores of that", Ours: fmt.Sprintf("%s read in %.0f requests", ui.Bytes(int64(last.out["bytes"])), last.out["requests"]),
		Value: median(cores), Shown: fmt.Sprintf("%.2f", median(cores)),
	}, row{
		Question: "peak memory of that", Ours: ui.Bytes(peak), Value: float64(peak), Shown: ui.Bytes(peak), Target: "≤ 150 MB", OK: peak <= 150e6,
	})
	asked, err := b.measure(job{Name: "question", DB: db, To: store, N: b.scaled(restoreFilled) / 2})
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{
		Question: "one row of it as it was, not restored", Ours: fmt.Sprintf("%s, %s read", ui.Duration(asked.wall), ui.Bytes(int64(asked.out["bytes"]))),
		Value: asked.out["requests"], Shown: fmt.Sprintf("%.0f requests", asked.out["requests"]),
	})
	return nil
}

// archived makes a database and an archive that holds its base and what was done since, with nothing left to ship.
func (b *bench) archived(db, store string) error {
	for _, j := range []job{
		{Name: "oltpfill", VFS: "os", N: b.scaled(restoreFilled), Setup: walNormal},
		{Name: "adopt", VFS: "pagetrail", Setup: walNormal},
		{Name: "ship", VFS: "os", To: store},
		{Name: "oltp", VFS: "pagetrail", N: b.scaled(restoreTransactions), Setup: walNormal},
		{Name: "ship", VFS: "os", To: store},
	} {
		j.DB = db
		if _, err := b.measure(j); err != nil {
			return err
		}
	}
	return nil
}
