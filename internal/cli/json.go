package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// The types of this file are the contract of --json, listed in JSON.md: a field may be added, none
// is renamed, removed or given another meaning. Sizes are bytes, times are RFC 3339 in UTC with six
// places, TXIDs are numbers (up to 2^53, JavaScript's whole numbers, nobody will miss the rest).

// txJSON is one transaction.
type txJSON struct {
	TXID       journal.TXID `json:"txid"`
	Time       string       `json:"time"`
	Kind       string       `json:"kind"`
	Pages      uint32       `json:"pages"`
	PatchBytes int64        `json:"patch_bytes"`
	PageSize   int          `json:"page_size"`
	PageCount  uint32       `json:"page_count"`
	SizeBytes  int64        `json:"size_bytes"`
	Sum        string       `json:"sum,omitempty"`
	Note       string       `json:"note,omitempty"`
	Points     []string     `json:"points,omitempty"`
	Large      bool         `json:"large,omitempty"`
	Folded     uint64       `json:"folded,omitempty"`
}

func newTxJSON(tx journal.Tx) *txJSON {
	j := &txJSON{
		TXID: tx.TXID, Time: jsonTime(tx.Time.Time()), Kind: kindName(tx.Kind), Pages: tx.Pages, PatchBytes: tx.Bytes,
		PageSize: tx.PageSize, PageCount: tx.PageCount, SizeBytes: sizeOf(tx), Note: tx.Note, Folded: tx.Folded,
	}
	if tx.SumKnown {
		j.Sum = tx.Sum.String()
	}
	return j
}

// journalTime is the moment that jsonTime wrote; the zero time if it did not.
func journalTime(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t
}

// sizeOf is the size of the database after a transaction. The multiplication is done in 64 bits:
// page count times page size passes 4 GiB.
func sizeOf(tx journal.Tx) int64 { return int64(tx.PageCount) * int64(tx.PageSize) }

// kindName is how a kind is called for people and in JSON.
func kindName(k journal.Kind) string {
	switch k {
	case journal.Ordinary:
		return "commit"
	case journal.Physical:
		return "physical"
	case journal.CatchUp:
		return "catch-up"
	case journal.Base:
		return "base"
	}
	return fmt.Sprintf("kind %d", k)
}

// pointsJSON is what points --json answers.
type pointsJSON struct {
	Points []pointJSON `json:"points"`
}

// pointJSON is a restore point.
type pointJSON struct {
	Name       string       `json:"name"`
	TXID       journal.TXID `json:"txid"`
	Time       string       `json:"time"`
	Restorable bool         `json:"restorable"`
}

// spanJSON is an unbroken run of transactions.
type spanJSON struct {
	First     journal.TXID `json:"first"`
	Last      journal.TXID `json:"last,omitempty"`
	FirstTime string       `json:"first_time,omitempty"`
	LastTime  string       `json:"last_time,omitempty"`
	Folded    uint64       `json:"folded,omitempty"`
}

func newSpanJSON(s journal.Span) spanJSON {
	j := spanJSON{First: s.First, Last: s.Last, Folded: s.Folded}
	if s.FirstTime != 0 {
		j.FirstTime = jsonTime(s.FirstTime.Time())
	}
	if s.LastTime != 0 {
		j.LastTime = jsonTime(s.LastTime.Time())
	}
	return j
}

// writeJSON writes one object on one line, so that what reads several can read them as they come.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
