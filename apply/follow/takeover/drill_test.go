//go:build linux || darwin

package takeover_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// drill is a group of machines around one archive. One of them is the primary.
type drill struct {
	t       testing.TB
	r       *rand.Rand
	nodes   []*machine
	primary *machine
	timely  journal.Timeline     // that the archive is at, as the last takeover was told
	acked   map[journal.TXID]int // what the archive acknowledged: the row that each transaction inserted
	rows    int                  // inserted so far, wherever
	count   map[string]int       // of what happened
}

// machine is a node behind a link that can be cut, or that loses calls and answers.
type machine struct {
	*node
	d     *drill
	keeps bool
	line  journal.Timeline     // that it writes, when it believes to be the primary
	wrote map[journal.TXID]int // rows by transaction, of that timeline
	cut   bool
	noise int // one of so many calls fails; 0: none
}

func (d *drill) machine(name string, keeps bool, store objstore.Store) {
	m := &machine{d: d, keeps: keeps, wrote: map[journal.TXID]int{}}
	m.node = newNode(d.t, name, objstore.Faulty(store, &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		switch {
		case m.cut:
			return objstore.Refuse
		case m.noise > 0 && d.r.IntN(m.noise) == 0:
			return []objstore.Outcome{objstore.Refuse, objstore.Deceive}[d.r.IntN(2)]
		}
		return objstore.Pass
	}}))
	d.nodes = append(d.nodes, m)
}

// write commits some transactions, each of which inserts a row of its own and changes others.
func (m *machine) write(n int) {
	for range n {
		m.d.rows++
		sql := fmt.Sprintf("BEGIN; INSERT INTO t VALUES(%d, hex(randomblob(%d)))", m.d.rows, m.d.r.IntN(300))
		switch m.d.r.IntN(12) {
		case 0:
			sql += "; UPDATE t SET b=hex(randomblob(30)) WHERE a%5=1"
		case 1:
			sql += "; DELETE FROM u; INSERT INTO u SELECT b FROM t WHERE a%3=0"
		}
		m.exec(sql + "; COMMIT")
		m.wrote[m.txid()] = m.d.rows
	}
	if m.d.r.IntN(6) == 0 {
		m.exec("VACUUM")
		m.txid()
	}
}

// send ships, and notes what the archive acknowledged by that.
func (m *machine) send(ctx context.Context) error {
	r, err := ship.Run(ctx, m.trail, &ship.Options{Store: m.store, Once: true, Tries: 1, Name: m.name, BatchBytes: 4 << 10})
	if r.Batches > 0 && m.line < m.d.timely {
		m.d.t.Fatalf("%s added to timeline %d, and another had taken the archive", m.name, m.line)
	}
	for id, row := range m.wrote {
		if id > r.Last {
			continue
		}
		if other, ok := m.d.acked[id]; ok && other != row {
			m.d.t.Fatalf("transaction %d was acknowledged with row %d, and to %s with row %d", id, other, m.name, row)
		}
		m.d.acked[id] = row
	}
	return err
}

func (m *machine) follows() follow.Options {
	o := follow.Options{Rewind: true}
	if _, err := os.Stat(m.trail); err == nil || m.keeps {
		o.Trail = m.trail
	}
	return o
}

// TestDrill takes over again and again, from primaries that are well, cut off, or slow to notice, with calls and answers
// that are lost, takeovers that are stopped and called again, and others that try the same. In each round: one writer at
// any time, nothing is lost that the archive acknowledged, and in the end all are one database, byte for byte, of which
// C SQLite says that it is sound.
//
// PAGETRAIL_TEST_SOAK=20 makes it 100 rounds.
func TestDrill(t *testing.T) {
	rounds, seed := 5, uint64(1)
	if k, err := strconv.Atoi(os.Getenv("PAGETRAIL_TEST_SOAK")); err == nil {
		rounds *= k
	}
	if s, err := strconv.ParseUint(os.Getenv("PAGETRAIL_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	d := &drill{t: t, r: rand.New(rand.NewPCG(seed, 7)), timely: 1, acked: map[journal.TXID]int{}, count: map[string]int{}}
	store := new(mem.Store)
	d.machine("a", true, store)
	d.machine("b", true, store)
	d.machine("c", false, store)
	d.primary = d.nodes[0]
	d.primary.line = 1
	d.primary.exec("PRAGMA journal_mode="+[]string{"DELETE", "WAL"}[d.r.IntN(2)], "CREATE TABLE t(a INTEGER PRIMARY KEY, b)", "CREATE TABLE u(b)")
	d.primary.write(5)
	d.primary.check(d.primary.send(t.Context()))
	for i := range rounds {
		for _, m := range d.nodes {
			if m != d.primary {
				m.check(m.follow(m.follows()))
			}
		}
		d.load()
		next := d.nodes[d.r.IntN(len(d.nodes))]
		for next == d.primary {
			next = d.nodes[d.r.IntN(len(d.nodes))]
		}
		if d.r.IntN(4) == 0 {
			d.handover(next)
		} else {
			d.takeover(next)
		}
		d.settle(i)
	}
	t.Logf("seed %d, %d rounds: %d rows, %d acknowledged, %v", seed, rounds, d.rows, len(d.acked), d.count)
}

// load is what happens between two takeovers.
func (d *drill) load() {
	p := d.primary
	p.noise = 25
	for range 3 + d.r.IntN(4) {
		p.write(1 + d.r.IntN(6))
		switch d.r.IntN(4) {
		case 0, 1:
			if p.send(d.t.Context()) != nil {
				d.count["shipping failed"]++
			}
		case 2:
			m := d.nodes[d.r.IntN(len(d.nodes))]
			if m == p {
				continue
			}
			if o := m.follows(); d.r.IntN(2) == 0 {
				m.followTrail(p.node, o) // the primary's stream, which may be further than the archive
				d.count["followed the stream"]++
			} else {
				m.check(m.follow(o))
			}
		case 3:
			p.cut = d.r.IntN(3) == 0 // for the rest of the round
		}
	}
}

// meddle is what others do while a takeover is under way.
func (d *drill) meddle() {
	p := d.primary
	switch d.r.IntN(3) {
	case 0:
		p.write(1)
	case 1:
		p.write(1)
		if p.send(d.t.Context()) == nil {
			d.count["shipped during a takeover"]++
		}
	}
}

// takeover promotes a machine while the primary goes on as if nothing were. It may lose against another one.
func (d *drill) takeover(next *machine) {
	old := d.primary
	if old.cut {
		d.count["cut off"]++
	}
	next.noise = 40
	rival, tries := d.rival(next), 0
	for {
		o := next.options()
		o.Store = objstore.Retry(next.store, &objstore.RetryOptions{Tries: 3, Pause: 1, Most: 1})
		o.Events.Taken = func(line journal.Timeline) { d.timely = line }
		o.WithHook(func(string) error {
			d.meddle()
			if rival != nil && d.r.IntN(3) == 0 {
				other := rival
				if rival = nil; d.promoted(other) {
					d.count["a rival won"]++
				}
			}
			if d.r.IntN(6) == 0 {
				d.count["stopped"]++
				return errStop
			}
			return nil
		})
		r, err := takeover.Promote(d.t.Context(), next.path, o)
		if err == nil && r.Timeline < d.timely { // the rival took over from it before it had done its last step
			next.line, next.wrote, next.noise = r.Timeline, map[journal.TXID]int{}, 0
			d.count["succeeded at once"]++
			break
		}
		if err == nil {
			d.now(next, r.Timeline)
			break
		}
		_, held := errors.AsType[*archive.HeldError](err)
		if d.primary != old && (held || errors.Is(err, journal.ErrDiverged)) {
			next.noise = 0
			break // the rival is the primary, perhaps of a history that this one is ahead of
		}
		if tries++; tries > 300 {
			d.t.Fatalf("%s is not promoted: %v", next.name, err)
		}
	}
	d.count["takeovers"]++
	old.write(1) // it does not know yet
	if err := old.send(d.t.Context()); err == nil {
		d.t.Fatalf("%s ships, and %s took over", old.name, d.primary.name)
	}
}

// rival is the third machine, at times.
func (d *drill) rival(next *machine) *machine {
	for _, m := range d.nodes {
		if m != next && m != d.primary && d.r.IntN(2) == 0 {
			return m
		}
	}
	return nil
}

// promoted promotes without being disturbed; false when somebody else was faster.
func (d *drill) promoted(m *machine) bool {
	o := m.options()
	o.Events.Taken = func(line journal.Timeline) { d.timely = line }
	r, err := takeover.Promote(d.t.Context(), m.path, o)
	if _, held := errors.AsType[*archive.HeldError](err); held {
		return false
	}
	m.check(err)
	d.now(m, r.Timeline)
	return true
}

// now makes a machine the primary.
func (d *drill) now(m *machine, line journal.Timeline) {
	d.primary, m.line, m.wrote, m.noise = m, line, map[journal.TXID]int{}, 0
	d.timely = max(d.timely, line)
}

// handover is the planned way: what the primary committed and had not shipped is not lost either.
func (d *drill) handover(next *machine) {
	old := d.primary
	old.cut, old.noise = false, 0
	old.write(2)
	old.close()
	r, at, err := takeover.Handover(d.t.Context(), old.path, &takeover.HandoverOptions{
		Store: old.store, Ship: old.send, Replica: next.path, Promote: takeover.Options{Name: next.name},
		Retire: takeover.RetireOptions{Settle: vfs.Settle},
	})
	old.check(err)
	if r.Position != at {
		d.t.Fatalf("%s ended at %+v, %s begins at %+v", old.name, at, next.name, r.Position)
	}
	for _, row := range old.wrote {
		if got := shell(d.t, next.path, fmt.Sprintf("SELECT count(*) FROM t WHERE a=%d", row)); got != "1" {
			d.t.Fatalf("row %d is lost by a handover", row)
		}
	}
	d.now(next, r.Timeline)
	d.count["handovers"]++
}

// settle heals everything, and compares all with all.
func (d *drill) settle(round int) {
	p := d.primary
	for _, m := range d.nodes {
		m.cut, m.noise = false, 0
	}
	p.write(3)
	p.check(p.send(d.t.Context()))
	want := p.content()
	same(d.t, "the archive", sound(d.t, p.archive().Trail), want)
	for _, m := range d.nodes {
		if m == p {
			continue
		}
		m.close()
		if _, err := os.Stat(m.path + "-pos"); err != nil {
			m.check(m.rejoin())
		} else {
			m.check(m.follow(m.follows()))
		}
		same(d.t, fmt.Sprintf("round %d: %s", round, m.name), m.content(), want)
		if o := m.follows(); o.Trail != "" {
			same(d.t, fmt.Sprintf("round %d: trail of %s", round, m.name), sound(d.t, openTrail(d.t, m.trail)), want)
		}
	}
	rows := map[int]bool{}
	for _, m := range d.nodes[:1] {
		if got := shell(d.t, m.path, "PRAGMA integrity_check"); got != "ok" {
			d.t.Fatalf("round %d: %s", round, got)
		}
		for line := range strings.Lines(shell(d.t, m.path, "SELECT a FROM t")) {
			n, err := strconv.Atoi(strings.TrimSpace(line))
			m.check(err)
			rows[n] = true
		}
	}
	for id, row := range d.acked {
		if !rows[row] {
			d.t.Fatalf("round %d: row %d, acknowledged as transaction %d, is lost", round, row, id)
		}
	}
}
