package archive

import (
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

const (
	// mergeBytes is about the most that is merged into one object.
	mergeBytes = 64 << 20
	// mergeSoon is how many batches of the hour that runs are merged before it is over: each that waits costs whoever
	// restores a request, and each that is merged is written twice more.
	mergeSoon = 64
	// planKeys bounds the objects that one plan deletes by name, since it is in the head.
	planKeys = 2000
	// thinDays: of bases that are older than every transaction is kept for, one is kept in so many days.
	thinBucket = 30 * dayUS
)

// planner makes a plan out of a survey.
type planner struct {
	*survey
	retention Retention
	cuts      cuts
	now       journal.Time
	grace     time.Duration
	plan      Plan
	start     journal.TXID // where the history begins, once the plan was carried out
	floor     journal.TXID
}

// make fills the plan.
func (p *planner) make() {
	p.cuts = p.retention.cuts(p.now.Time())
	p.start, p.floor = p.head.Start, p.head.Floor
	p.forget()
	p.thin()
	p.orphans()
	p.fold()
	p.recent()
}

// held says that a hold is on a transaction.
func (p *planner) held(id journal.TXID) bool { return p.head.Hold != nil && id <= p.head.Hold.TXID }

// forget lets go of what is older than anything is kept for: the history then begins with a base.
func (p *planner) forget() {
	if p.retention.forever() || len(p.segments) == 0 || p.held(p.segments[0].First) {
		return
	}
	oldest := journal.MaxTXID
	for _, point := range p.points {
		oldest = min(oldest, point.TXID)
	}
	// The first segment that is needed. The last one always is: it is what the next batch continues.
	i := slices.IndexFunc(p.segments, func(s placed) bool { return s.LastTime > p.cuts.points || s.Last >= oldest })
	if i < 0 {
		i = len(p.segments) - 1
	}
	from := p.segments[i].First - 1
	base := journal.TXID(0)
	for _, b := range p.bases {
		if b.TXID <= from && b.TXID > base && p.reaches(b.TXID+1, from) || b.TXID == from {
			base = b.TXID
		}
	}
	if base < from && p.reaches(max(base, 1), from) && p.bytes(base+1, from) >= p.baseSize()/2 {
		p.add(Step{Op: OpBase, Timeline: p.head.Timeline, Base: from, Bytes: p.bytes(base+1, from)})
		base = from
	}
	if base == 0 {
		return
	}
	first := p.segments[slices.IndexFunc(p.segments, func(s placed) bool { return s.Last > base || s.Last == p.last.TXID })].First
	older := slices.ContainsFunc(p.bases, func(b journal.BaseInfo) bool { return b.TXID < base })
	if first <= p.segments[0].First && !older {
		return
	}
	p.start, p.floor = first, base
	n := slices.IndexFunc(p.segments, func(s placed) bool { return s.First >= first })
	p.add(Step{Op: OpForget, Base: base, First: first, Objects: n, Bytes: p.bytes(1, first-1)})
}

func (p *planner) add(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

// fold makes fewer objects, and fewer states, out of what is old enough.
func (p *planner) fold() {
	var group []placed
	var of *class
	flush := func() {
		p.group(of, group)
		group = nil
	}
	var size int64
	for _, s := range p.segments {
		if s.First < p.start {
			continue
		}
		c := p.cuts.classOf(s.LastTime)
		if c != nil && c.level > levelMerged && (p.held(s.First) || !p.reaches(s.First, s.Last) || s.First <= p.floor) {
			c = &classes[levelMerged]
			if c.end(s.LastTime) > p.now {
				c = nil
			}
		}
		if c == nil && s.level == 0 {
			c = &running
		}
		same := len(group) > 0 && c == of && c != nil && c.end(s.LastTime) == c.end(group[0].LastTime) && size+s.Size <= mergeBytes
		if !same {
			flush()
			of, size = c, 0
		}
		group, size = append(group, s), size+s.Size
	}
	flush()
}

// group adds a step for segments that are to become one, if they are not what they would become.
func (p *planner) group(c *class, group []placed) {
	if c == nil || len(group) == 0 {
		return
	}
	lower := slices.ContainsFunc(group, func(s placed) bool { return s.level < c.level })
	switch {
	case c == &running && len(group) < mergeSoon:
		return
	case c.level == levelMerged && len(group) == 1:
		return
	case c.level > levelMerged && !lower:
		return
	}
	s := Step{
		Op: OpMerge, Timeline: p.head.Timeline, Level: c.level, First: group[0].First, Last: group[len(group)-1].Last,
		Objects: len(group),
	}
	for _, g := range group {
		s.Bytes += g.Size
		s.Level = max(s.Level, g.level)
	}
	if c.level > levelMerged {
		s.Op, s.Every = OpFold, c.every
	}
	p.add(s)
}

// recent makes a base where what would have to be replayed is more than the database.
func (p *planner) recent() {
	at, newest := journal.TXID(0), p.floor
	for _, s := range p.plan.Steps {
		at = max(at, s.Last)
	}
	for _, s := range p.segments {
		if s.level > 0 {
			at = max(at, s.Last)
		}
	}
	for _, b := range p.bases {
		newest = max(newest, b.TXID)
	}
	n := p.bytes(newest+1, at)
	if at > newest && n > max(p.baseSize(), minReplay) && p.reaches(at, at) {
		p.add(Step{Op: OpBase, Timeline: p.head.Timeline, Base: at, Bytes: n})
	}
}

// minReplay: replaying less than this is no reason for a base.
const minReplay = 1 << 20

// thin deletes bases that nothing needs and that make older states only a little faster to restore.
func (p *planner) thin() {
	if p.retention.forever() {
		return
	}
	bucket := int64(-1)
	s := Step{Op: OpDelete}
	for i := len(p.bases) - 2; i >= 0; i-- { // the newest stays
		b := p.bases[i]
		if b.TXID <= p.floor || p.held(b.TXID) || b.Time > p.cuts.minutes || !p.reaches(b.TXID, b.TXID) || p.restarts(b.TXID) {
			continue
		}
		if k := int64(b.Time) / thinBucket; k != bucket { // the newest of its days
			bucket = k
			continue
		}
		if key := p.keyOfBase(b.TXID); key != "" {
			s.Keys, s.Objects, s.Bytes = append(s.Keys, key), s.Objects+1, s.Bytes+b.Size
		}
	}
	if s.Objects > 0 {
		p.add(s)
	}
}

// restarts says that a span begins with a base, or that its record is of kind base.
func (p *planner) restarts(id journal.TXID) bool {
	return slices.ContainsFunc(p.window.Spans, func(s journal.Span) bool { return s.First == id })
}

// keyOfBase is the key of a base of the history.
func (p *planner) keyOfBase(id journal.TXID) string {
	for _, part := range p.head.chain() {
		for _, o := range p.objects {
			if part.base(id) && o.Key == baseKey(part.timeline, id) {
				return o.Key
			}
		}
	}
	return ""
}
