package journal

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pagetrail/pagetrail/diff"
)

// Token is a position as one word, for headers, cookies and command lines: DATABASE.TIMELINE.TXID.SUM.
func (p Position) Token() string {
	return fmt.Sprintf("%v.%d.%d.%v", p.Database, uint32(p.Timeline), uint64(p.TXID), p.Sum)
}

// ParseToken reads what Token made.
func ParseToken(s string) (Position, error) {
	bad := func() (Position, error) {
		return Position{}, because(ErrCorrupt, "%.100q is no position: want DATABASE.TIMELINE.TXID.SUM", s)
	}
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return bad()
	}
	var p Position
	var sum diff.Sum
	database, err := ParseDatabaseID(parts[0])
	timeline, err1 := strconv.ParseUint(parts[1], 10, 32)
	txid, err2 := strconv.ParseUint(parts[2], 10, 63)
	err3 := sum.UnmarshalText([]byte(parts[3]))
	p = Position{Database: database, Timeline: Timeline(timeline), TXID: TXID(txid), Sum: sum}
	if err != nil || err1 != nil || err2 != nil || err3 != nil || p.Token() != s {
		return bad()
	}
	return p, nil
}
