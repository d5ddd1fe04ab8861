package archive

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pagetrail/pagetrail/journal"
)

// headKey is the key of the head below the prefix.
const headKey = "head"

// The parts of keys. Level 0 are batches as shipped; the levels above are of what was written from others.
const (
	level0        = "0/"
	baseLevel     = "base/"
	segmentSuffix = ".seg"
	baseSuffix    = ".base"
	maxLevel      = 9
)

func timelineKey(t journal.Timeline) string { return fmt.Sprintf("%08x/", uint32(t)) }

// batchKey is the key of the batch that begins with a transaction.
func batchKey(t journal.Timeline, first journal.TXID) string {
	return fmt.Sprintf("%s%s%016x%s", timelineKey(t), level0, uint64(first), segmentSuffix)
}

// segmentKey is the key of a segment above level 0.
func segmentKey(t journal.Timeline, level int, first, last journal.TXID) string {
	return fmt.Sprintf("%s%d/%016x-%016x%s", timelineKey(t), level, uint64(first), uint64(last), segmentSuffix)
}

// baseKey is the key of a base.
func baseKey(t journal.Timeline, id journal.TXID) string {
	return fmt.Sprintf("%s%s%016x%s", timelineKey(t), baseLevel, uint64(id), baseSuffix)
}

// fileName is how package journal calls the segment that begins with a transaction.
func fileName(first journal.TXID) string { return fmt.Sprintf("%016x%s", uint64(first), segmentSuffix) }

// objectName is what a key says.
type objectName struct {
	timeline journal.Timeline
	level    int // -1: a base
	first    journal.TXID
	last     journal.TXID // above level 0
}

// parseKey reads a key; false for one that archives do not have.
func parseKey(key string) (o objectName, ok bool) {
	if len(key) < 9 || key[8] != '/' || strings.Trim(key[:8], "0123456789abcdef") != "" {
		return o, false
	}
	t, err := strconv.ParseUint(key[:8], 16, 32)
	o.timeline = journal.Timeline(t)
	level, name, ok := strings.Cut(key[9:], "/")
	if err != nil || !ok || t == 0 {
		return o, false
	}
	if level+"/" == baseLevel {
		o.level = -1
		o.first, ok = parse(name, baseSuffix)
		return o, ok
	}
	if len(level) != 1 || level[0] < '0' || level[0] > '0'+maxLevel {
		return o, false
	}
	if o.level = int(level[0] - '0'); o.level == 0 {
		o.first, ok = parse(name, segmentSuffix)
		return o, ok && o.first > 0
	}
	first, last, ok := strings.Cut(name, "-")
	if !ok {
		return o, false
	}
	o.first, ok = parse(first+segmentSuffix, segmentSuffix)
	if ok {
		o.last, ok = parse(last, segmentSuffix)
	}
	return o, ok && o.first > 0 && o.last >= o.first
}

// parse reads the TXID off a name.
func parse(name, suffix string) (journal.TXID, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 || strings.Trim(hex, "0123456789abcdef") != "" {
		return 0, false
	}
	id, err := strconv.ParseUint(hex, 16, 64)
	if err != nil || journal.TXID(id) > journal.MaxTXID {
		return 0, false
	}
	return journal.TXID(id), true
}
