package archive

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pagetrail/pagetrail/journal"
)

// headKey is the key of the head below the prefix.
const headKey = "head"

// The parts of keys. Level 0 are batches as shipped; the levels above are for folded ones.
const (
	level0        = "0/"
	baseLevel     = "base/"
	segmentSuffix = ".seg"
	baseSuffix    = ".base"
)

func timelineKey(t journal.Timeline) string { return fmt.Sprintf("%08x/", uint32(t)) }

// batchKey is the key of the batch that begins with a transaction.
func batchKey(t journal.Timeline, first journal.TXID) string {
	return fmt.Sprintf("%s%s%016x%s", timelineKey(t), level0, uint64(first), segmentSuffix)
}

// baseKey is the key of a base.
func baseKey(t journal.Timeline, id journal.TXID) string {
	return fmt.Sprintf("%s%s%016x%s", timelineKey(t), baseLevel, uint64(id), baseSuffix)
}

// keyOf is the key of what would be the file name in a trail's directory; false for a name that archives do not have.
func keyOf(t journal.Timeline, name string) (string, bool) {
	if id, ok := parse(name, segmentSuffix); ok && id > 0 {
		return batchKey(t, id), true
	}
	if id, ok := parse(name, baseSuffix); ok {
		return baseKey(t, id), true
	}
	return "", false
}

// nameOf is the other way round.
func nameOf(t journal.Timeline, key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, timelineKey(t))
	if !ok {
		return "", false
	}
	if name, ok := strings.CutPrefix(rest, level0); ok {
		id, ok := parse(name, segmentSuffix)
		return name, ok && id > 0
	}
	name, ok := strings.CutPrefix(rest, baseLevel)
	if ok {
		_, ok = parse(name, baseSuffix)
	}
	return name, ok
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
