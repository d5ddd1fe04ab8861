package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// What followers are asked: a primary commits small transactions, a thousand a second, and serves them itself over
// loopback; the followers are in a process of their own, each with a replica and as pagetrail follow has it; through a
// relay, that process is between them. All share the cores of the machine: a hundred followers that apply everything
// have as much to do as a hundred primaries.
const (
	followedTransactions = 10_000
	caughtUpTransactions = 100_000
)

// followersRun is one primary with so many followers, directly or through a relay.
type followersRun struct {
	n     int
	relay bool
}

func (r followersRun) String() string {
	s := ui.Plural(r.n, "follower", "followers")
	if r.relay {
		s += " of a relay"
	}
	return s
}

func askFollowers(b *bench) error {
	if !canFollow {
		b.rows = append(b.rows, row{Question: "followers", Ours: "skipped: Linux and macOS only"})
		return nil
	}
	if err := b.askCatchUp(); err != nil {
		return err
	}
	var alone time.Duration
	for _, r := range []followersRun{{0, false}, {1, false}, {10, false}, {100, false}, {1, true}, {10, true}, {100, true}} {
		if b.share > 100 && r.n > 1 { // to see that it runs
			r.n = 2
		}
		primary, followers, err := b.followersRun(r)
		if err != nil {
			return fmt.Errorf("%v: %w", r, err)
		}
		each := toDuration(primary.out["cpu"] / float64(b.scaled(followedTransactions)))
		if r.n == 0 {
			alone = each
		}
		b.rows = append(b.rows, row{
			Question: "primary's CPU a transaction, " + r.String(), Plain: fine(alone), Ours: fine(each), Value: each.Seconds(),
			Shown: "+" + fine(max(each-alone, 0)),
		})
		if r.n > 0 {
			b.lagRows(r, followers)
		}
	}
	return nil
}

// fine shows what is around a millisecond.
func fine(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// lagRows adds what passed between a commit and its being visible. The wish is for one follower: a hundred of them on
// one machine wait for its processor.
func (b *bench) lagRows(r followersRun, c cost) {
	for _, q := range []struct {
		name  string
		limit time.Duration
	}{{"p50", 2 * time.Millisecond}, {"p99", 20 * time.Millisecond}} {
		lag := toDuration(c.out[q.name])
		row := row{
			Question: fmt.Sprintf("commit to visible, %s, %v", q.name, r), Ours: fine(lag), Value: lag.Seconds(), Shown: fine(lag),
			Spread: "max " + fine(toDuration(c.out["max"])),
		}
		if r.n == 1 && !r.relay {
			row.Target, row.OK = "≤ "+ui.Duration(q.limit), lag <= q.limit
		}
		b.rows = append(b.rows, row)
	}
}

// followersRun has a primary commit while others follow it, and waits until they have everything.
func (b *bench) followersRun(r followersRun) (primary, followers cost, err error) {
	n := b.scaled(followedTransactions)
	p, err := b.converse(job{Name: "served", DB: b.path("served.db"), VFS: "pagetrail", N: n, Setup: walNormal})
	if err != nil {
		return cost{}, cost{}, err
	}
	defer p.kill()
	url, relay := p.said, (*conversation)(nil)
	if r.relay {
		if relay, err = b.converse(job{Name: "relay", DB: b.path("relay.db"), To: url}); err != nil {
			return cost{}, cost{}, err
		}
		defer relay.kill()
		url = relay.said
	}
	f, err := b.converse(job{Name: "followers", DB: b.path("replica"), To: url, N: r.n})
	if err != nil {
		return cost{}, cost{}, err
	}
	defer f.kill()
	// The primary says up to which transaction it went; the followers say when they are there.
	end, err := p.ask("go")
	if err == nil {
		_, err = f.ask(end)
	}
	if err == nil {
		primary, err = p.end()
	}
	if err == nil {
		followers, err = f.end()
	}
	if err == nil && relay != nil {
		_, err = relay.end()
	}
	if err != nil {
		return cost{}, cost{}, err
	}
	return primary, followers, b.clean()
}

// askCatchUp asks how many small transactions a second a follower applies that is behind: with the batches of the
// default, each as a commit of the replica by itself, and over HTTP.
func (b *bench) askCatchUp() error {
	j := job{Name: "insert", DB: b.path("behind.db"), VFS: "pagetrail", N: b.scaled(caughtUpTransactions), Setup: walNormal}
	if _, err := b.measure(j); err != nil {
		return err
	}
	for _, way := range []struct{ name, how string }{{"in batches", "batches"}, {"one by one", "single"}, {"over HTTP", "http"}} {
		var rates []float64
		for range max(b.reps/2, 1) {
			j.Name, j.Setup = "catchup", way.how
			c, err := b.measure(j)
			if err != nil {
				return err
			}
			rates = append(rates, c.out["transactions"]/c.out["seconds"])
		}
		rate := median(rates)
		r := row{
			Question: "small transactions applied, " + way.name, Ours: ui.Plural(j.N, "transaction", "transactions"), Value: rate,
			Shown: ui.Count(int64(rate)) + "/s", Spread: ui.Count(int64(slices.Min(rates))) + "–" + ui.Count(int64(slices.Max(rates))),
		}
		if way.how != "single" {
			r.Target, r.OK = "≥ 20,000/s", rate >= 20_000
		}
		b.rows = append(b.rows, r)
	}
	return b.clean()
}
