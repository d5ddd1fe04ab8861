package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type recvOptions struct {
	replica string
	full    bool
	rewind  bool
	keep    bool
	json    bool
}

func (o *recvOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.rewind, "rewind", false, "take a replica that is ahead of the stream, or beside it, back")
	f.BoolVar(&o.full, "full", false, "make every commit of the replica durable before readers see it")
	f.BoolVar(&o.keep, "trail", false, "keep a trail of the replica's own, REPLICA-pagetrail, for its past and for others to follow")
	f.BoolVar(&o.json, "json", false, "one JSON object a line on stdout for everything that happens")
}

func newRecv(env *Env) *cobra.Command {
	o := &recvOptions{}
	cmd := &cobra.Command{
		Use:   "recv REPLICA [FLAG]... <STREAM",
		Short: "Bring a replica up to date with what pagetrail send wrote",
		Example: examples(
			"pagetrail send app.db | ssh standby pagetrail recv replica.db",
			"pagetrail recv replica.db </media/stick/stream",
		),
		Long: `Read a stream from stdin and apply it to REPLICA, as pagetrail follow does: other
programs may read REPLICA meanwhile, see whole transactions only, and each is checked
before a byte of it changes. A stream that begins with what REPLICA has already is
applied from there on; one that begins after what it lacks is refused. A stream that is
cut off leaves REPLICA at the last transaction that came whole, and is an error. At its
end recv says which transaction that is: what to give to send --from the next time.`,
		Args: between(1, 1, "into which replica?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.replica = args[0]
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Gap, Nothing, Locked),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *recvOptions) run(ctx context.Context, env *Env) error {
	if env.In == nil {
		return usagef("there is no stream on stdin")
	}
	src, err := remote.Pipe(ctx, env.In, nil)
	if err != nil {
		return o.explain(err)
	}
	defer src.Close()
	f := &followOptions{trail: "the stream", replica: o.replica, json: o.json}
	r := &followReport{o: f, env: env, start: env.Now()}
	err = follow.Run(ctx, o.replica, src, &follow.Options{
		SyncEachCommit: o.full, Rewind: o.rewind, Trail: ownTrail(o.replica, o.keep), BehindWait: -1,
		Events: follow.Events{
			Attached: r.attached, Applied: r.applied, Repaired: r.repaired, Waiting: r.waiting, TrailBegun: r.trailBegun,
		},
	})
	if err == nil {
		err = r.err
	}
	if err == nil && !r.begun {
		err = kindf(journal.ErrNotFound, "the stream has no transaction")
	}
	if err != nil {
		return o.explain(err)
	}
	return r.ended()
}

// explain adds what to do about an error of receiving.
func (o *recvOptions) explain(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return withHint(err, "the stream was cut off; send again --from where %s is", ui.Clean(o.replica))
	case errors.Is(err, journal.ErrLocked):
		return withHint(err, "end the program that writes to %s, or the follow", ui.Clean(o.replica))
	case errors.Is(err, journal.ErrRange):
		return withHint(err, "send again without --from, or from where %s is", ui.Clean(o.replica))
	case errors.Is(err, journal.ErrDiverged):
		return withHint(err, "a stream from before has nothing new; if it is what %s is to be, --rewind makes it that", ui.Clean(o.replica))
	}
	return err
}
