package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// settle has the trail of a database whose programs do not use the VFS take in what they have committed so far; the first
// time it makes the trail.
func (o *shipOptions) settle(ctx context.Context) error {
	info, err := os.Stat(o.trail)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kindf(journal.ErrNotFound, "%s is not there", o.trail)
	case err != nil:
		return err
	case info.IsDir():
		return &hintError{usagef("%s is a trail; what is captured is a database", o.trail), "name the database"}
	case replica.Is(o.trail):
		return usagef("%s is a replica: its follower keeps its trail", o.trail)
	}
	return vfs.Settle(ctx, o.trail)
}

// captured runs fn while what programs commit without the VFS is recorded, and returns the error of whichever ends first.
func (o *shipOptions) captured(ctx context.Context, fn func(context.Context) error) error {
	shipping, stop := context.WithCancelCause(ctx)
	watched := make(chan error, 1)
	go func() {
		err := vfs.Watch(shipping, o.trail, nil)
		stop(err)
		watched <- err
	}()
	err := fn(shipping)
	stop(nil)
	failed := <-watched
	switch {
	case errors.Is(failed, vfs.ErrNotWAL):
		return &hintError{failed, "until then, from cron: " + commandLine("ship", o.trail, "--to", o.to, "--capture", "--once")}
	case failed != nil && !errors.Is(failed, context.Cause(shipping)):
		return errors.Join(failed, err)
	}
	return err
}
