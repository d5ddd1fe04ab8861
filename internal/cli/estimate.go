package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
)

// month is what rates are projected to.
const month = 30 * 24 * time.Hour

type estimateOptions struct {
	trail    string
	since    string
	interval time.Duration
	keep     time.Duration
	prices   prices
	json     bool
}

// prices are those of a store, in dollars. The defaults are Amazon's list prices for S3 Standard in us-east-1.
type prices struct {
	Storage float64 `json:"storage_gb_month"`
	Put     float64 `json:"put_per_1000"`
}

func (o *estimateOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.since, "since", "", "take the rate since `TIME` (default: since the trail begins)")
	lengthVar(f, &o.interval, "interval", time.Second, "how `LONG` a transaction waits for others to share its batch, as of ship and run")
	lengthVar(f, &o.keep, "keep", month, "how `LONG` transactions are kept in the archive")
	f.Float64Var(&o.prices.Storage, "price-storage", 0.023, "`DOLLARS` for a GB (10⁹ bytes) stored for a month")
	f.Float64Var(&o.prices.Put, "price-put", 0.005, "`DOLLARS` for 1000 writing requests")
	f.BoolVar(&o.json, "json", false, "answer as one JSON object")
}

func newEstimate(env *Env) *cobra.Command {
	o := &estimateOptions{}
	cmd := &cobra.Command{
		Use:   "estimate TRAIL|DB|DIR [FLAG]...",
		Short: "Say what an archive will take and cost a month",
		Example: examples(
			"pagetrail estimate app.db",
			"pagetrail estimate /srv/tenants --since -7d --interval 10s   # all trails in it",
			"pagetrail estimate app.db --price-storage 0.015 --price-put 0.0045 --json | jq .month",
		),
		Long: `Say how many bytes and requests shipping takes a month, and what those cost, from the
trail so far: its transactions are put into batches as pagetrail ship would, and some
hundreds of these are written, to nowhere, to know their size. A month is 30 days like
those since --since; the last transaction and now count as one rate, so give --since
for a database that was filled first and is changed now.

Stored are the database once, as its newest base, and the transactions of --keep.
Not in it: requests and transfer of restores and followers (pagetrail hydrate
--dry-run knows those), and what pagetrail compact asks for and saves.

The prices are Amazon's for S3 Standard in us-east-1, unless given. A longer
--interval makes requests fewer, and what a lost machine takes with it more.

DIR is a directory with trails in it, which are added up.
` + trailHelp + `

` + timeHelp,
		Args: oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail = args[0]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// estimateJSON is what estimate --json answers.
type estimateJSON struct {
	Trails       int       `json:"trails"`
	Seconds      float64   `json:"seconds"`
	Transactions uint64    `json:"transactions"`
	Batches      uint64    `json:"batches"`
	Measured     uint64    `json:"measured_batches"`
	Shipped      int64     `json:"bytes"`
	Month        monthJSON `json:"month"`
	Prices       prices    `json:"prices"`
}

type monthJSON struct {
	Transactions uint64   `json:"transactions"`
	Shipped      int64    `json:"bytes"`
	Requests     uint64   `json:"requests"`
	Stored       int64    `json:"stored_bytes"`
	Cost         costJSON `json:"cost"`
}

type costJSON struct {
	Storage  float64 `json:"storage"`
	Requests float64 `json:"requests"`
	Total    float64 `json:"total"`
}

func (o *estimateOptions) run(ctx context.Context, env *Env) error {
	switch {
	case o.interval <= 0:
		return usagef("--interval %v: want more than nothing", o.interval)
	case o.keep <= 0:
		return usagef("--keep %v: want more than nothing", o.keep)
	case o.prices.Storage < 0 || o.prices.Put < 0:
		return usagef("a price below nothing")
	}
	trails, err := trailsIn(o.trail)
	if err != nil {
		return err
	}
	sum := estimateJSON{Prices: o.prices}
	for _, trail := range trails {
		r, err := o.rate(ctx, env, trail)
		if err != nil {
			return err
		}
		o.add(&sum, &r)
	}
	if sum.Transactions == 0 {
		return &quietCode{Nothing, env.say("%s: no transactions to estimate from", o.trail)}
	}
	c := &sum.Month.Cost
	c.Storage = float64(sum.Month.Stored) / 1e9 * o.prices.Storage
	c.Requests = float64(sum.Month.Requests) / 1000 * o.prices.Put
	c.Total = c.Storage + c.Requests
	if o.json {
		return writeJSON(env.Out, sum)
	}
	return o.print(env, &sum)
}

// trailsIn are the trails that an argument means: the one it names, or those in the directory.
func trailsIn(arg string) ([]string, error) {
	if isURL(arg) || !isDir(arg) || exists(filepath.Join(arg, "identity")) {
		return []string{arg}, nil
	}
	entries, err := os.ReadDir(arg)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if path := filepath.Join(arg, e.Name()); strings.HasSuffix(path, trailSuffix) && exists(filepath.Join(path, "identity")) {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return []string{arg}, nil // which says what is the matter with it
	}
	return found, nil
}

// add projects the rate of one trail, and adds it.
func (o *estimateOptions) add(sum *estimateJSON, r *rate) {
	sum.Trails++
	sum.Seconds = max(sum.Seconds, r.took.Seconds())
	sum.Transactions += r.transactions
	sum.Batches += uint64(r.batches)
	sum.Measured += uint64(r.measured)
	sum.Shipped += r.bytes
	sum.Month.Stored += r.base
	if r.transactions == 0 {
		return
	}
	scale := month.Seconds() / r.took.Seconds()
	shipped := float64(r.bytes) * scale
	requests := float64(r.batches) * scale
	sum.Month.Transactions += uint64(float64(r.transactions) * scale)
	sum.Month.Shipped += int64(shipped)
	sum.Month.Requests += uint64(requests + requests/archive.HintEvery + 0.5)
	sum.Month.Stored += int64(shipped * (o.keep.Seconds() / month.Seconds()))
}

func (o *estimateOptions) print(env *Env, e *estimateJSON) error {
	paint := env.painter(env.OutTerm)
	fmt.Fprintln(env.Out, paint.Paint(ui.Bold, fmt.Sprintf("about $%.2f a month", e.Month.Cost.Total)))
	f := newFacts(env.Out, paint)
	from := ui.Plural(e.Transactions, "transaction", "transactions") + " in " + ui.Duration(time.Duration(e.Seconds*float64(time.Second)))
	if e.Trails > 1 {
		from += fmt.Sprintf(", of %d trails", e.Trails)
	}
	f.add("from", "%s", from)
	f.add("batches", "%s of %s, %s for a transaction (%s measured)", ui.Count(e.Batches), ui.Bytes(e.Shipped/int64(max(e.Batches, 1))),
		ui.Bytes(e.Shipped/int64(e.Transactions)), ui.Count(e.Measured))
	f.add("shipped", "%s a month, %s", ui.Bytes(e.Month.Shipped), ui.Plural(e.Month.Transactions, "transaction", "transactions"))
	f.add("requests", "%s a month: $%.2f at $%g for 1000", ui.Count(e.Month.Requests), e.Month.Cost.Requests, e.Prices.Put)
	f.add("stored", "%s, the database and %s of transactions: $%.2f a month at $%g for a GB", ui.Bytes(e.Month.Stored), ui.Duration(o.keep),
		e.Month.Cost.Storage, e.Prices.Storage)
	return f.flush()
}

// rate is what one trail did in a time.
type rate struct {
	took         time.Duration
	transactions uint64
	batches      int
	measured     int // of these
	bytes        int64
	base         int64
}

// leastTime is what a rate is taken over at least: a trail that began a moment ago says nothing of a month.
const leastTime = time.Minute

func (o *estimateOptions) rate(ctx context.Context, env *Env, name string) (r rate, err error) {
	t, err := openTrail(ctx, env, name)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if r.base, err = baseBytes(t.Trail); err != nil {
		return r, err
	}
	var since time.Time
	if o.since != "" {
		m, err := env.parseMoment("--since", o.since)
		if err != nil {
			return r, err
		}
		since = m.Time
	}
	s := sampler{t: t.Trail, interval: journal.Time(o.interval.Microseconds())}
	first, err := s.divide(ctx, journal.TimeOf(since), !since.IsZero())
	if err != nil || len(s.batches) == 0 {
		return r, err
	}
	if since.IsZero() {
		since = first.Time()
	}
	r.took = max(env.Now().Sub(since), leastTime)
	r.transactions, r.batches = s.transactions, len(s.batches)
	r.bytes, r.measured, err = s.measure(ctx)
	return r, err
}

// baseBytes is what the database takes as a base: that of the newest there is, else its size.
func baseBytes(t *journal.Trail) (int64, error) {
	bases, err := t.Bases()
	if err != nil {
		return 0, err
	}
	last, err := t.Last()
	if err != nil || len(bases) == 0 {
		return sizeOf(last), err
	}
	b := bases[len(bases)-1]
	return int64(float64(b.Size) * float64(sizeOf(last)) / max(float64(b.PageSize)*float64(b.PageCount), 1)), nil
}
