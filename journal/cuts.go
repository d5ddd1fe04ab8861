package journal

import (
	"path/filepath"
	"slices"
)

// Cut is an end that the trail once had, and that was cut off since the database had lost it, see Writer.CutAfter. None
// of it was shipped.
type Cut struct {
	Dir    string   // to be opened as a trail: the one that was, up to what was cut
	At     Time     // when it was cut
	Common Position // the last transaction that stayed then
	After  TXID     // the last transaction that it shares with the trail as it is now: Common's, or one of a later cut or fork
	Last   Tx       // the last transaction that it has
	Err    error    // why it cannot be read: of the rest only Dir and At are set then
}

// Cuts lists the cuts of the trail, in the order in which they were made.
func (t *Trail) Cuts() ([]Cut, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	all := []Cut{}
	after := MaxTXID
	for _, a := range slices.Backward(asides(t.fs, filepath.Clean(t.dir), v.names)) {
		c := Cut{Dir: a.dir, At: a.at, Err: a.err}
		if c.Err == nil {
			c.Common = *a.id.Common
			after = min(after, c.Common.TXID)
			c.After = after
		}
		if a.at == 0 { // a branch
			continue
		}
		if c.Err == nil {
			c.Last, c.Err = asideEnd(t.fs, a.dir)
		}
		all = append(all, c)
	}
	slices.Reverse(all)
	return all, nil
}
