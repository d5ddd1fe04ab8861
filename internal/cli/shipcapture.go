package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// settle has the trail of a database whose programs do not use the VFS take in what they have committed so far; the first
// time it makes the trail. That there is no room is no error yet: what was recorded before is shipped, which may make some.
func (o *shipOptions) settle(ctx context.Context) error {
	if err := captured(o.trail); err != nil {
		return err
	}
	err := vfs.SettleWith(ctx, o.trail, &vfs.WatchOptions{Quota: o.disk.quota})
	o.unrecorded, o.removed = nil, false
	if o.full.Store(vfs.Full(err)); vfs.Full(err) {
		o.unrecorded, err = err, nil
	}
	return err
}

// inTurns ships what there is, and what could not be recorded before that made room for it.
func (o *shipOptions) inTurns(ctx context.Context, run func(context.Context) error) error {
	for {
		if err := run(ctx); err != nil || o.unrecorded == nil || !o.removed {
			return errors.Join(err, o.unrecorded)
		}
		if err := o.settle(ctx); err != nil {
			return err
		}
	}
}

// captured is the error of an argument that is no database whose commits may be recorded here.
func captured(arg string) error {
	info, err := os.Stat(arg)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kindf(journal.ErrNotFound, "%s is not there", arg)
	case err != nil:
		return err
	case info.IsDir():
		return &hintError{usagef("%s is a trail; what is captured is a database", arg), "name the database"}
	case replica.Is(arg):
		return usagef("%s is a replica: its follower keeps its trail", arg)
	}
	return nil
}

// watching runs ship while what programs commit without the VFS is recorded, and returns the error of whichever ends first.
// When ctx ends the recording does, with what is left, and only then ship is told.
func (o *shipOptions) watching(ctx context.Context, env *Env, run func(context.Context) error) error {
	watched, end := context.WithCancel(ctx)
	defer end()
	shipping, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	over := make(chan error, 1)
	go func() {
		err := vfs.Watch(watched, o.trail, &vfs.WatchOptions{Quota: o.disk.quota, OnFull: func(err error) {
			if o.full.Store(err != nil); err != nil {
				env.notice("%v: what is committed waits in the database's WAL until there is room", err)
			} else {
				env.notice("there is room again, and what was committed is recorded")
			}
			o.unrecorded = err
		}})
		stop(err)
		over <- err
	}()
	err := run(shipping)
	end()
	failed := <-over
	switch {
	case errors.Is(failed, vfs.ErrNotWAL):
		return &hintError{failed, "until then, from cron: " + commandLine("ship", o.trail, "--to", o.to, "--capture", "--once")}
	case failed != nil && !errors.Is(failed, context.Canceled):
		return errors.Join(failed, err)
	case err == nil && o.unrecorded != nil:
		return fmt.Errorf("%w: what was committed last is not recorded yet: %w", ship.ErrUnshipped, o.unrecorded)
	}
	return err
}
