package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// What the archive is asked: a database of about 100 MB, and transactions of one insert and one update each. The same
// was measured with Litestream 0.5.16 and a replica in a directory: 2,720 to 3,490 bytes shipped a transaction, 65 to
// 100 µs of processor time beside the writer, which took 1.4 to 2.7 times as long, with commits of 0.8 to 1.2 s and a
// WAL of 226 to 688 MB; a restore to a time asked 812 times for a file and 33 times for a list.
const (
	oltpFilled       = 380_000
	oltpTransactions = 50_000
	oltpRate         = 500 // transactions a second of a writer that pauses
	oltpPaced        = 5_000
)

// archiveRun is one writer with its sidecar.
type archiveRun struct {
	writer, sidecar cost
}

func askArchive(b *bench) error {
	filled := b.path("filled.db")
	for _, j := range []job{
		{Name: "oltpfill", VFS: "os", N: b.scaled(oltpFilled), Setup: walNormal},
		{Name: "adopt", VFS: "pagetrail", Setup: walNormal},
		{Name: "ship", VFS: "os", To: b.path("filled.store")},
	} {
		j.DB = filled
		if _, err := b.measure(j); err != nil {
			return err
		}
	}
	runs := map[string][]archiveRun{}
	sides := []string{"alone", "through the VFS", "watched"}
	reps := max(b.reps/3, 1) // as each takes a minute
	for rep := range reps {
		for i := range sides {
			side := sides[(i+rep)%len(sides)]
			r, err := b.archiveRun(side, filled, 0, rep == reps-1 && side == sides[1])
			if err != nil {
				return fmt.Errorf("%s: %w", side, err)
			}
			runs[side] = append(runs[side], r)
		}
	}
	for _, side := range sides[1:] {
		b.archiveRows(side, runs[sides[0]], runs[side])
	}
	return b.askPaced(filled, runs[sides[0]])
}

// askPaced is about what a writer that pauses ships when it is watched: most of what there is, and a checkpoint of its
// may come at any time.
func (b *bench) askPaced(filled string, alone []archiveRun) error {
	r, err := b.archiveRun("watched", filled, oltpRate, false)
	if err != nil {
		return fmt.Errorf("watched, with pauses: %w", err)
	}
	n, side := float64(b.scaled(oltpPaced)), fmt.Sprintf("watched, %d a second: ", oltpRate)
	peak := 0.0
	for _, a := range alone {
		peak = max(peak, a.writer.out["wal"])
	}
	for _, q := range []struct {
		what         string
		value, limit float64
		show         func(float64) string
	}{
		{"shipped a transaction", r.sidecar.out["bytes"] / n, 250, func(v float64) string { return fmt.Sprintf("%.1f B", v) }},
		{"sidecar CPU", r.sidecar.cpu.Seconds() / r.writer.out["seconds"], 0, func(v float64) string { return fmt.Sprintf("%.1f %%", v*100) }},
		{"peak WAL", r.writer.out["wal"], peak, func(v float64) string { return ui.Bytes(int64(v)) }},
	} {
		row := row{Question: side + q.what, Ours: q.show(q.value), Value: q.value, Shown: q.show(q.value), OK: q.value <= q.limit}
		if q.limit > 0 {
			row.Target = "≤ " + q.show(q.limit)
		}
		b.rows = append(b.rows, row)
	}
	return nil
}

// archiveRun does the work once, at a rate if one is given; restore has the archive asked for an earlier state, and the sidecar started again.
func (b *bench) archiveRun(side, filled string, rate int, restore bool) (r archiveRun, err error) {
	writer := job{Name: "oltp", DB: b.path("oltp.db"), VFS: "os", N: b.scaled(oltpTransactions), Setup: walNormal}
	if rate > 0 {
		writer.N, writer.Rate = b.scaled(oltpPaced), rate
	}
	sidecar := job{Name: "ship", DB: writer.DB, VFS: "os", To: b.path("oltp.store")}
	switch side {
	case "through the VFS":
		writer.VFS = "pagetrail"
	case "watched":
		sidecar.VFS = "watch"
	}
	if err := cloneDatabase(writer.DB, filled); err != nil {
		return r, err
	}
	if err := os.CopyFS(sidecar.To, os.DirFS(b.path("filled.store"))); err != nil {
		return r, err
	}
	stop := func() (cost, error) { return cost{}, nil }
	if side != "alone" {
		if stop, err = b.begin(sidecar); err != nil {
			return r, err
		}
	}
	var werr error
	r.writer, werr = b.measure(writer)
	if r.sidecar, err = stop(); err != nil || werr != nil {
		return r, fmt.Errorf("writer: %w, sidecar: %w", werr, err)
	}
	if n := r.sidecar.out["transactions"]; side != "alone" && int(n) != writer.N {
		return r, fmt.Errorf("%d transactions were made, and %.0f shipped", writer.N, n)
	}
	if restore {
		if err := b.archiveAfter(writer, sidecar); err != nil {
			return r, err
		}
	}
	if err := os.RemoveAll(sidecar.To); err != nil {
		return r, err
	}
	return r, removeDatabase(writer.DB)
}

// begin starts a job that goes on until it is stopped.
func (b *bench) begin(j job) (stop func() (cost, error), err error) {
	c, err := b.converse(j)
	if err != nil {
		return nil, err
	}
	return c.end, nil
}

// archiveAfter restores, and starts the sidecar again with nothing to ship.
func (b *bench) archiveAfter(writer, sidecar job) error {
	c, err := b.measure(job{Name: "restore", DB: writer.DB, N: writer.N, To: sidecar.To})
	if err != nil {
		return err
	}
	if err := os.Remove(writer.DB + ".restored"); err != nil {
		return err
	}
	b.rows = append(b.rows, row{
		Question: "requests of a restore to a time", Ours: fmt.Sprintf("%.0f of them lists, %s read in %s", c.out["lists"],
			ui.Bytes(int64(c.out["bytes"])), ui.Duration(c.wall)),
		Value: c.out["requests"], Shown: fmt.Sprintf("%.0f", c.out["requests"]), Target: "≤ 20", OK: c.out["requests"] <= 20,
	})
	again, err := b.measure(sidecar)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{
		Question: "shipped by a restart", Ours: ui.Bytes(int64(again.out["bytes"])), Value: again.out["bytes"],
		Shown: ui.Bytes(int64(again.out["bytes"])), Target: "0 B", OK: again.out["bytes"] == 0,
	})
	return nil
}

// archiveRows compares the runs of one side with those of the writer alone.
func (b *bench) archiveRows(side string, alone, with []archiveRun) {
	pick := func(runs []archiveRun, f func(archiveRun) float64) (values []float64) {
		for _, r := range runs {
			values = append(values, f(r))
		}
		return values
	}
	out := func(name string) func(archiveRun) float64 {
		return func(r archiveRun) float64 { return r.writer.out[name] }
	}
	n := float64(b.scaled(oltpTransactions))
	add := func(what string, values []float64, show func(float64) string, limit float64) {
		m := median(values)
		b.rows = append(b.rows, row{
			Question: side + ": " + what, Ours: show(m), Value: m, Shown: show(m), Target: "≤ " + show(limit), OK: m <= limit,
			Spread: show(slices.Min(values)) + "–" + show(slices.Max(values)),
		})
	}
	number := func(unit string) func(float64) string {
		return func(v float64) string { return fmt.Sprintf("%.1f %s", v, unit) }
	}
	seconds := func(v float64) string { return ui.Duration(toDuration(v)) }
	size := func(v float64) string { return ui.Bytes(int64(v)) }
	add("shipped a transaction", pick(with, func(r archiveRun) float64 { return r.sidecar.out["bytes"] / n }), number("B"), 250)
	add("sidecar CPU a transaction", pick(with, func(r archiveRun) float64 { return r.sidecar.cpu.Seconds() * 1e6 / n }), number("µs"), 15)
	var slower []float64
	plain := pick(alone, out("seconds"))
	for i, s := range pick(with, out("seconds")) {
		slower = append(slower, s/plain[i])
	}
	add("writer's time", slower, func(v float64) string { return fmt.Sprintf("%.2f×", v) }, 1.05)
	add("longest commit", pick(with, out("longest")), seconds, slices.Max(pick(alone, out("longest"))))
	add("commit of 1 in 1000", pick(with, out("p999")), seconds, slices.Max(pick(alone, out("p999"))))
	add("peak WAL", pick(with, out("wal")), size, slices.Max(pick(alone, out("wal"))))
}
