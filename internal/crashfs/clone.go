package crashfs

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Crash is the way in which everything ended.
type Crash int

const (
	// Kill is the death of the process: all that was done stays.
	Kill Crash = iota
	// PowerCut loses what was not synced, in part.
	PowerCut
)

func (c Crash) String() string {
	if c == Kill {
		return "kill"
	}
	return "power cut"
}

// Clone makes a disk as this one would be found after the crash. seed decides
// what a power cut keeps. real is a new directory for its wal-indexes. It may
// be called from within OnOp, before the operation that is told there, or from
// within Locked.
func (d *Disk) Clone(root, real string, crash Crash, seed uint64) *Disk {
	c := New(root, real)
	c.seq, c.inodes = d.seq, d.inodes
	k := keeper{mode: keepAll}
	if crash == PowerCut {
		k = newKeeper(seed, d.seq)
	}
	names := d.names
	if k.mode != keepAll {
		names = d.keptNames(&k)
	}
	if k.mode == keepSome {
		d.decideTruncations(&k)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !reachable(names, name) {
			continue
		}
		n := names[name]
		m := &inode{no: n.no, dir: n.dir, mode: n.mode}
		if moment, ok := k.moments[n]; ok {
			m.data, m.mtime = n.kept(&keeper{mode: keepPrefix, rng: k.rng, moment: moment})
		} else {
			m.data, m.mtime = n.kept(&k)
		}
		m.synced, m.stime = slices.Clone(m.data), m.mtime
		c.names[name] = m
	}
	c.synced = maps.Clone(c.names)
	return c
}

// Locked calls fn while no operation is under way.
func (d *Disk) Locked(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn()
}

// reachable says whether all directories above name are there.
func reachable(names map[string]*inode, name string) bool {
	for i := strings.LastIndexByte(name, '/'); i >= 0; i = strings.LastIndexByte(name[:i], '/') {
		if up := names[name[:i]]; up == nil || !up.dir {
			return false
		}
	}
	return true
}

// keepMode is how the cut treats what was not synced.
type keepMode int

const (
	keepAll    keepMode = iota
	keepNone            // nothing reached the disk
	keepPrefix          // what was done before a moment: a disk that keeps the order
	keepSome            // each by itself
)

// keeper decides what is kept.
type keeper struct {
	mode   keepMode
	rng    *rand.Rand
	moment int64   // keepPrefix: changes after it are lost
	chance float64 // keepSome: of a change to be kept
	torn   float64 // of a kept write to be torn

	// In keepSome:
	lost    int64            // the first change of a name that is lost
	moments map[*inode]int64 // of the files whose changes are lost in order
	sizes   map[int64]bool   // truncations that are kept
}

func newKeeper(seed uint64, seq int64) keeper {
	rng := rand.New(rand.NewPCG(seed, 0xc7a5))
	k := keeper{rng: rng, mode: keepSome, lost: math.MaxInt64}
	switch p := rng.IntN(100); {
	case p < 5:
		k.mode = keepAll
	case p < 15:
		k.mode = keepNone
	case p < 30:
		k.mode, k.moment = keepPrefix, seq-int64(rng.IntN(40))
	}
	k.chance = []float64{0.1, 0.5, 0.5, 0.9, 0.97}[rng.IntN(5)]
	k.torn = []float64{0, 0.3, 1}[rng.IntN(3)]
	return k
}

// change says whether a change is kept, and whether it may be torn.
func (k *keeper) change(seq int64) (kept, torn bool) {
	switch k.mode {
	case keepAll:
		return true, false
	case keepNone:
		return false, false
	case keepPrefix:
		return seq <= k.moment, false
	}
	if kept, ok := k.sizes[seq]; ok {
		return kept, false
	}
	return k.rng.Float64() < k.chance, k.rng.Float64() < k.torn
}

func (d *Disk) keptNames(k *keeper) map[string]*inode {
	names := maps.Clone(d.synced)
	for _, c := range d.pending {
		if kept, _ := k.change(c.seq); kept {
			c.apply(names)
		} else {
			k.lost = min(k.lost, c.seq)
		}
	}
	return names
}

// kept is the content and the time of change that are found.
func (n *inode) kept(k *keeper) ([]byte, int64) {
	if k.mode == keepAll || len(n.log) == 0 {
		return slices.Clone(n.data), n.mtime
	}
	data := slices.Clone(n.synced)
	any := false
	for _, c := range n.log {
		kept, torn := k.change(c.seq)
		switch {
		case !kept:
			if end := c.off + int64(len(c.data)); c.data != nil && end > int64(len(data)) && k.mode == keepSome && k.rng.IntN(3) == 0 {
				data = resize(data, end) // the size was written, the data was not
			}
			continue
		case torn && c.data != nil:
			data = c.tear(data, k.rng)
		default:
			data = c.apply(data)
		}
		any = true
	}
	if any && (k.mode != keepSome || k.rng.IntN(4) > 0) {
		return data, n.mtime
	}
	return data, n.stime
}

// decideTruncations has truncations survive in the order of the changes of
// names and of each other. File systems keep such changes in one log, and SQLite
// relies on it: it cuts a database after it removed the journal, without a sync
// in between (unless synchronous=EXTRA), and the journal has no copy of what is
// cut off. The journal that is kept in order counts like a name.
func (d *Disk) decideTruncations(k *keeper) {
	k.moments, k.sizes = map[*inode]int64{}, map[int64]bool{}
	var seqs []int64
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		n := d.names[name]
		for _, c := range n.log {
			if c.data == nil {
				seqs = append(seqs, c.seq)
			}
		}
		if d.inOrder == nil || !d.inOrder(name) || len(n.log) == 0 {
			continue
		}
		at := k.rng.IntN(len(n.log) + 1)
		if k.moments[n] = 0; at > 0 {
			k.moments[n] = n.log[at-1].seq
		}
		if at < len(n.log) {
			k.lost = min(k.lost, n.log[at].seq)
		}
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		if k.sizes[seq] = seq < k.lost && k.rng.Float64() < k.chance; !k.sizes[seq] {
			k.lost = min(k.lost, seq)
		}
	}
}

// tear applies some of the sectors of a write.
func (c *change) tear(data []byte, rng *rand.Rand) []byte {
	for at := int64(0); at < int64(len(c.data)); {
		end := min(int64(len(c.data)), (c.off+at)/SectorSize*SectorSize+SectorSize-c.off)
		if rng.IntN(2) == 0 {
			part := change{off: c.off + at, data: c.data[at:end]}
			data = part.apply(data)
		}
		at = end
	}
	return data
}

// String counts what a power cut could take, for messages.
func (d *Disk) String() string {
	n := len(d.pending)
	for _, f := range d.names {
		n += len(f.log)
	}
	return fmt.Sprintf("%s: %d operations, %d changes not synced", d.root, d.ops, n)
}
