package journal

import (
	"errors"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Branch is the end of a timeline that the trail did not go on with, see Writer.Fork.
type Branch struct {
	Dir    string   // to be opened as a trail, when it has transactions
	Common Position // the last state that it shares with the next timeline
	Last   TXID     // its last transaction; Common.TXID when none are kept here: who they were shipped to has them
}

// Branches lists the branches of the trail, ascending by timeline.
func (t *Trail) Branches() ([]Branch, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	var all []Branch
	for _, a := range asides(t.fs, t.dir, v.names) {
		if a.at != 0 {
			continue
		}
		if a.err != nil {
			return nil, a.err
		}
		b := Branch{Dir: a.dir, Common: *a.id.Common, Last: a.id.Common.TXID}
		if last, err := asideEnd(t.fs, a.dir); err == nil {
			b.Last = last.TXID
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// asideEnd is the last transaction of a branch or cut; ErrNotFound when it has none of its own.
func asideEnd(fsys durable.FS, dir string) (Tx, error) {
	b, err := Open(dir, &ReadOptions{FS: fsys, Damaged: true})
	if err != nil {
		return Tx{}, err
	}
	last, err := b.Last()
	return last, errors.Join(err, b.Close())
}
