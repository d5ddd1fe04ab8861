package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal/archive"
)

// What a machine of today does in a second, for estimates: bytes of a base that are unpacked, written and checked,
// and bytes of patches that are applied.
const (
	baseRate  = 250 << 20
	patchRate = 25 << 20
)

// planJSON is what hydrate --dry-run --json answers.
type planJSON struct {
	Transaction *txJSON    `json:"transaction"`
	Next        *txJSON    `json:"next"`
	Asked       string     `json:"asked,omitempty"`
	Base        *uint64    `json:"base_txid"`
	Replayed    uint64     `json:"replayed"`
	SizeBytes   int64      `json:"size_bytes"`
	ReadBytes   int64      `json:"read_bytes"`
	PatchBytes  int64      `json:"patch_bytes"`
	Requests    *int64     `json:"requests"`
	Seconds     float64    `json:"seconds"`
	Reads       []readJSON `json:"reads"`
}

type readJSON struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	Size  int64  `json:"size_bytes"`
}

// plan says what hydrating would take.
func (o *hydrateOptions) plan(ctx context.Context, env *Env, t *openedTrail, target apply.Target) error {
	plan, err := apply.Resolve(ctx, t.Trail, target)
	if err != nil {
		return o.explain(ctx, env, t, err)
	}
	requests, took := o.estimate(t, &plan)
	if o.json {
		return writeJSON(env.Out, o.planned(&plan, requests, took))
	}
	paint := env.painter(env.OutTerm)
	name := o.output
	if name == "" || name == "-" {
		name = "the output"
	}
	fmt.Fprintf(env.Out, "%s\n", paint.Paint(ui.Good, ui.Clean(name)+" would be "+describeTx(plan.Tx)))
	f := newFacts(env.Out, paint)
	if plan.Tx.TXID != 0 {
		f.add("recorded", "%s%s", env.showTime(plan.Tx.Time.Time()), o.target.before(plan.Tx))
		f.add("size", "%s, %s of %d bytes", ui.Bytes(sizeOf(plan.Tx)), ui.Plural(plan.Tx.PageCount, "page", "pages"), plan.Tx.PageSize)
	}
	from := "the empty database"
	if plan.Base != nil {
		from = fmt.Sprintf("the base of %d, %s", plan.Base.TXID, ui.Bytes(plan.Base.Size))
	}
	f.add("from", "%s", from)
	files := len(plan.Reads)
	if plan.Base != nil {
		files--
	}
	f.add("then", "%s in %s, %s", ui.Plural(plan.Transactions, "transaction", "transactions"), ui.Plural(files, "segment", "segments"), ui.Bytes(plan.PatchBytes))
	read := ui.Bytes(plan.Bytes)
	if t.meter != nil {
		read += fmt.Sprintf(", about %s", ui.Plural(requests, "request", "requests"))
	}
	f.add("reads", "%s", read)
	f.add("takes", "about %s", ui.Duration(took))
	return f.flush()
}

// estimate is about how many requests a plan takes, and how long: by what opening the archive took, and by what
// machines do.
func (o *hydrateOptions) estimate(t *openedTrail, plan *apply.Plan) (requests int64, took time.Duration) {
	seconds := float64(plan.PatchBytes) / patchRate
	if plan.Base != nil {
		seconds += float64(int64(plan.Base.PageCount)*int64(plan.Base.PageSize)) / baseRate
	}
	if t.meter == nil {
		return 0, time.Duration(seconds * float64(time.Second))
	}
	atOnce := int64(1)
	for _, r := range plan.Reads {
		var n int64
		n, atOnce = archive.RequestsFor(r.Bytes)
		requests += n
	}
	if n := t.meter.Requests(); n > 0 {
		seconds += (time.Since(t.began) / time.Duration(n)).Seconds() * float64(requests) / float64(atOnce)
	}
	return requests, time.Duration(seconds * float64(time.Second))
}

func (o *hydrateOptions) planned(plan *apply.Plan, requests int64, took time.Duration) planJSON {
	j := planJSON{
		Transaction: newTxJSON(plan.Tx), Replayed: plan.Transactions, SizeBytes: sizeOf(plan.Tx), ReadBytes: plan.Bytes,
		PatchBytes: plan.PatchBytes, Seconds: took.Seconds(), Reads: []readJSON{},
	}
	if requests > 0 {
		j.Requests = &requests
	}
	if plan.Next != nil {
		j.Next = newTxJSON(*plan.Next)
	}
	if plan.Base != nil {
		id := uint64(plan.Base.TXID)
		j.Base = &id
	}
	if !o.target.moment.Time.IsZero() {
		j.Asked = jsonTime(o.target.moment.Time)
	}
	for _, r := range plan.Reads {
		j.Reads = append(j.Reads, readJSON{r.Name, r.Bytes, r.Size})
	}
	return j
}
