//go:build linux || darwin

package follow_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// disk knows what of a replica's files is durable, and makes of that what a
// power cut may leave.
type disk struct {
	t       *testing.T
	r       *rand.Rand
	path    string
	durable map[string][]byte // by suffix
}

var durableSuffixes = []string{"", "-wal", "-pos"}

// cut writes to dir what the files may be after a power cut now: each sector
// that was written since the last sync is there or is not, and so is the end.
func (d *disk) cut(dir string) string {
	d.t.Helper()
	name := filepath.Join(dir, "replica.db")
	for _, suffix := range durableSuffixes {
		now, err := os.ReadFile(d.path + suffix)
		old, known := d.durable[suffix]
		if err != nil && !known {
			continue
		}
		if err != nil { // removed, which may be forgotten
			if d.r.IntN(2) == 0 {
				write(d.t, name+suffix, old)
			}
			continue
		}
		var left []byte
		switch lost := d.r.IntN(3); lost {
		case 0:
			left = append(left, old...)
		case 1:
			left = append(left, now...)
		default:
			left = append(left, old...)
			if len(now) < len(left) && d.r.IntN(2) == 0 {
				left = left[:len(now)]
			}
			const sector = 512
			for at := 0; at < len(now); at += sector {
				end := min(at+sector, len(now))
				if d.r.IntN(2) == 0 || end <= len(left) && bytes.Equal(left[at:end], now[at:end]) {
					continue
				}
				if len(left) < end {
					left = append(left, make([]byte, end-len(left))...)
				}
				copy(left[at:end], now[at:end])
			}
		}
		write(d.t, name+suffix, left)
	}
	return name
}

// TestPowerCut cuts the power before steps chosen at random and after every
// kind of them. SQLite must find a state of the history, and the next follower
// must go on from it without writing the replica anew.
func TestPowerCut(t *testing.T) {
	for _, full := range []bool{false, true} {
		for seed := range uint64(rounds(2)) {
			powerCuts(t, seed, full)
		}
	}
}

func powerCuts(t *testing.T, seed uint64, full bool) {
	p := newPrimary(t, "PRAGMA page_size=512", journalMode([]string{"DELETE", "WAL"}[seed%2]), "CREATE TABLE t(id INTEGER PRIMARY KEY, b)")
	p.txid()
	src := p.source()
	d := &disk{t: t, r: rand.New(rand.NewPCG(seed, 3)), path: filepath.Join(t.TempDir(), "replica.db"), durable: map[string][]byte{}}
	closeReplica(t, openReplica(t, d.path, src, nil))
	for _, suffix := range durableSuffixes {
		if b, err := os.ReadFile(d.path + suffix); err == nil {
			d.durable[suffix] = b
		}
	}
	states := map[string]journal.TXID{string(p.content()): p.txid()}
	announced := p.txid()
	o := &follow.Options{CheckpointFrames: 6, BatchTransactions: 1, SyncEachCommit: full}
	o.Events.Applied = func(a follow.Applied) { announced = a.Position.TXID }
	cuts := 0
	follow.WithHook(o, func(step string) {
		if name, ok := strings.CutPrefix(step, "synced "); ok {
			d.durable[strings.TrimPrefix(name, d.path)] = read(t, name)
		}
		if step != "enter frame" && d.r.IntN(5) == 0 {
			cuts++
			name := d.cut(t.TempDir())
			id, ok := states[string(content(t, name))]
			if !ok {
				t.Fatalf("seed %d: power cut before %s: SQLite finds no state of the history", seed, step)
			}
			if full && id < announced {
				t.Fatalf("seed %d: power cut before %s: transaction %d is lost, %d is there", seed, step, announced, id)
			}
			afterCut(t, name, src, states)
		}
	})
	step := func(sql string) {
		p.exec(sql)
		id := p.txid()
		states[string(p.content())] = id
	}
	r := openReplica(t, d.path, src, o)
	for range 12 {
		step("INSERT INTO t(b) VALUES(hex(randomblob(" + []string{"10", "300", "900"}[d.r.IntN(3)] + ")))")
		if d.r.IntN(4) == 0 {
			step("DELETE FROM t WHERE id%3=0")
		}
		if d.r.IntN(6) == 0 {
			step("VACUUM")
		}
		catchUp(t, r)
	}
	closeReplica(t, r)
	same(t, "replica", read(t, d.path), p.content())
	if cuts == 0 {
		t.Fatal("no power cut")
	}
}

// afterCut lets a follower go on.
func afterCut(t *testing.T, name string, src follow.Source, states map[string]journal.TXID) {
	t.Helper()
	var done repairs
	r := openReplica(t, name, src, done.options())
	if _, err := r.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(done.reasons) > 0 {
		t.Fatalf("the replica was written anew: %q", done.reasons)
	}
	id := r.Position().TXID
	closeReplica(t, r)
	if got := states[string(read(t, name))]; got != id {
		t.Fatalf("at transaction %d the replica is that of %d", id, got)
	}
}
