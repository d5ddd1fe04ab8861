// Package upkeep keeps archives small: it lends package archive the pages that folding and new bases need.
//
//	done, err := upkeep.Run(ctx, store, &archive.MaintainOptions{
//		Retention: archive.Retention{All: 7 * 24 * time.Hour, Minutes: 30 * 24 * time.Hour},
//	})
//
// What is done, and what is promised, is in [archive.Maintain]: this is that function with [archive.Pages] made by
// package apply, in scratch files and with bounded memory, each transaction checked against its state sum.
package upkeep

import (
	"context"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Run is archive.Maintain. o.Pages is set by it; nil means defaults, which lose nothing.
func Run(ctx context.Context, s objstore.Store, o *archive.MaintainOptions) (archive.Maintained, error) {
	var opt archive.MaintainOptions
	if o != nil {
		opt = *o
	}
	opt.Pages = pages{apply.Options{FS: opt.FS, TempDir: opt.TempDir}}
	return archive.Maintain(ctx, s, &opt)
}

// pages makes states for package archive.
type pages struct{ o apply.Options }

var _ archive.Pages = pages{}

func (p pages) Open(ctx context.Context, t *journal.Trail, at journal.TXID, changed func(tx *journal.Tx, no uint32, old, now []byte)) (archive.Database, error) {
	o := p.o
	o.Changed = changed
	s, _, err := apply.Restore(ctx, t, apply.AtTXID(at), &o)
	if err != nil {
		return nil, err
	}
	return s, nil
}
