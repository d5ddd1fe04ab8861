package journal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// A position survives being a token, and nothing else is one.
func TestToken(t *testing.T) {
	p := journal.Position{Database: journal.DatabaseID{0xab, 0xcd}, Timeline: 3, TXID: 41203, Sum: diff.Sum{Lo: 5, Hi: 1 << 63}}
	s := p.Token()
	if got, err := journal.ParseToken(s); err != nil || got != p || strings.Trim(s, "0123456789abcdef.") != "" {
		t.Fatalf("%s is %+v, %v", s, got, err)
	}
	for _, bad := range []string{"", "1", s + ".", "." + s, strings.ToUpper(s), strings.Replace(s, ".3.", ".03.", 1), strings.Replace(s, ".41203.", ".-1.", 1), s[1:], s[:len(s)-1]} {
		if got, err := journal.ParseToken(bad); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%q is %+v, %v", bad, got, err)
		}
	}
}
