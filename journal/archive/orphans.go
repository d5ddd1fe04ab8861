package archive

import (
	"slices"

	"github.com/pagetrail/pagetrail/journal"
)

// orphans deletes what is no part of the history: what earlier plans left over, what plans and forks that were cut
// short wrote, and, when it is old enough, what a timeline was given up with.
func (p *planner) orphans() {
	keys := Step{Op: OpDelete}
	run := Step{} // of batches that follow each other
	flush := func() {
		if run.Objects > 0 {
			p.add(run)
		}
		run = Step{}
	}
	for _, o := range p.objects {
		name, ok := parseKey(o.Key)
		if !ok || keys.Objects >= planKeys {
			continue
		}
		if !p.unneeded(name, o.Size, o.Key) {
			if name.level == 0 {
				flush()
			}
			continue
		}
		if name.level != 0 {
			keys.Keys, keys.Objects, keys.Bytes = append(keys.Keys, o.Key), keys.Objects+1, keys.Bytes+o.Size
			continue
		}
		if run.Timeline != name.timeline {
			flush()
			run = Step{Op: OpDelete, Timeline: name.timeline, First: name.first}
		}
		run.Last, run.Objects, run.Bytes = name.first, run.Objects+1, run.Bytes+o.Size
	}
	flush()
	if keys.Objects > 0 {
		p.add(keys)
	}
}

// unneeded says that an object is to be deleted.
func (p *planner) unneeded(name objectName, size int64, key string) bool {
	switch {
	case p.head.line(name.timeline) == nil:
		p.plan.Strays = append(p.plan.Strays, key)
		return slices.Contains(p.head.Strays, key) && p.tidied()
	case name.level == 0 && size < minSegment: // a fence
		return false
	case p.head.holds(name):
		return false
	case p.head.givenUp(name):
		return p.old(name.timeline)
	}
	return p.tidied()
}

// minSegment is less than any segment has.
const minSegment = 128

// part is what a timeline contributes to the history; false when it contributes nothing.
func (h *Head) part(t journal.Timeline) (stretch, bool) {
	for _, part := range h.chain() {
		if part.timeline == t {
			return part, true
		}
	}
	return stretch{}, false
}

// holds says that an object belongs to the history.
func (h *Head) holds(name objectName) bool {
	if name.level > 0 {
		return slices.ContainsFunc(h.Segments, func(s Segment) bool {
			return s.Timeline == name.timeline && s.Level == name.level && s.First == name.first && s.Last == name.last
		})
	}
	part, ok := h.part(name.timeline)
	if name.level < 0 {
		return ok && part.base(name.first) && name.first >= h.Floor
	}
	return ok && part.batch(name.first) && h.live(name.first)
}

// givenUp says that an object is of what a timeline had after the next one left it.
func (h *Head) givenUp(name objectName) bool {
	part, ok := h.part(name.timeline)
	switch {
	case name.timeline == h.Timeline || name.level > 0:
		return false
	case name.level < 0:
		return !ok || !part.base(name.first)
	}
	return !ok || !part.batch(name.first)
}

// tidied says that whoever began to read before the last plan was done is done too.
func (p *planner) tidied() bool {
	since := max(p.head.Tidied, p.head.current().Since)
	return p.grace <= 0 || since.Time().Add(p.grace).Before(p.now.Time())
}

// old says that what a timeline was given up with is older than every transaction is kept for.
func (p *planner) old(t journal.Timeline) bool {
	i := slices.IndexFunc(p.head.Lines, func(l Line) bool { return l.Timeline > t })
	if p.retention.forever() || i < 0 {
		return false
	}
	keep := max(p.retention.longest(), p.grace)
	return p.head.Lines[i].Since.Time().Add(keep).Before(p.now.Time())
}
