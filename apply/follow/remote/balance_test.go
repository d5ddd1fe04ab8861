//go:build linux || darwin

package remote_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// balancer gives each request to some server.
type balancer struct {
	servers []http.RoundTripper
	rand    *rand.Rand
}

func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.servers[b.rand.IntN(len(b.servers))].RoundTrip(r)
}

// TestBalanced: behind a load balancer there is a relay that stands still. The follower waits whenever it meets that
// one, be it with a question, a stream that it wants to go on with, or the state to begin with; it gets everything.
func TestBalanced(t *testing.T) {
	for seed := range uint64(4) {
		f := newFixture(t)
		old := filepath.Join(t.TempDir(), "relay.db-pagetrail")
		if err := os.CopyFS(old, os.DirFS(f.p.dir())); err != nil {
			t.Fatal(err)
		}
		relay := &network{handler: serve.New(&serve.Options{
			Databases: map[string]*journal.Trail{"app": openTrail(t, old)}, Heartbeat: time.Millisecond,
		})}
		defer relay.handler.Close()
		b := &balancer{servers: []http.RoundTripper{f.net, relay}, rand: rand.New(rand.NewPCG(seed, 1))}
		f.p.exec("INSERT INTO t(b) VALUES('more')")
		f.p.txid()
		src := open(t, "http://balanced/app", &remote.Options{Client: &http.Client{Transport: b}})
		path := filepath.Join(t.TempDir(), "replica.db")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		steps, behind := 0, 0
		err := follow.Run(ctx, path, src, &follow.Options{
			Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
			Events: follow.Events{
				Unreachable: func(err error, _ time.Duration) {
					if errors.Is(err, follow.ErrNotReady) {
						behind++
					}
				},
				CaughtUp: func(pos journal.Position) {
					if pos.TXID < f.p.txid() {
						return
					}
					if steps++; steps > 5 {
						cancel()
						return
					}
					f.p.exec("INSERT INTO t(b) VALUES('and more')")
					f.p.txid()
				},
			},
		})
		if err != nil || behind == 0 {
			t.Fatalf("seed %d: %v, after %d times behind", seed, err, behind)
		}
		same(t, "replica", read(t, path), at(t, f.p.trail(), f.p.txid()))
	}
}
