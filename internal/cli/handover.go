package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

type handoverOptions struct {
	db      string
	replica string
	to      string
	name    string
	json    bool
}

func (o *handoverOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.to, "to", "", "the archive's `URL`, to which DB is shipped")
	f.StringVar(&o.name, "name", "", "`NAME` of the new writer, with REPLICA (default machine, path)")
	f.BoolVar(&o.json, "json", false, "say at the end what was done as one JSON object on stdout")
}

func newHandover(env *Env) *cobra.Command {
	o := &handoverOptions{}
	cmd := &cobra.Command{
		Use:   "handover DB [REPLICA] [--to URL] [FLAG]...",
		Short: "Make a replica the primary as planned, without any loss",
		Example: examples(
			"pagetrail handover app.db --to s3://backups/app   # then promote elsewhere",
			"pagetrail handover app.db standby.db --to s3://backups/app   # both are here",
			"pagetrail follow s3://backups/app app.db          # app.db is a replica then",
		),
		Long: `Make DB, a primary, a replica, and another the primary, so that nothing committed is lost
and nothing has to be taken back. End the programs that write to DB first; those that
open it through pagetrail later cannot write to it any more. Then

 - with --to, all of DB is shipped, or waited for if another pagetrail is shipping it;
 - with REPLICA, that is promoted (see pagetrail promote), if it comes to where DB ended;
 - without, it says what to type on the other machine, and with --to waits until that
   was done.

Stopped at any moment, the same command goes on. Should nobody be promoted, DB is made
the primary again by pagetrail promote DB, like any replica.

DB can be followed into afterwards, and keeps its trail.`,
		Args: between(1, 2, "which database, and to which replica?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.db = args[0]; len(args) > 1 {
				o.replica = args[1]
			}
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Gap, Nothing, Locked),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *handoverOptions) run(ctx context.Context, env *Env) error {
	if isURL(o.db) || isURL(o.replica) {
		return usagef("DB and REPLICA are databases on this machine; without REPLICA it says what to type on another")
	}
	if !exists(o.db) {
		return withHint(kindf(journal.ErrNotFound, "there is no database %s", o.db), "see: pagetrail handover --help")
	}
	opt := &takeover.HandoverOptions{
		Replica: o.replica, Promote: *promotion(env, o.replica), Retire: takeover.RetireOptions{Settle: vfs.Settle},
	}
	opt.Promote.Name = o.name
	if o.to != "" {
		s, err := env.openStore(ctx, o.to, func(s objstore.Store) objstore.Store { return objstore.Retry(s, nil) })
		if err != nil {
			return err
		}
		defer s.Close()
		opt.Store, opt.Archive = s, storeName(o.to)
		opt.Ship = func(ctx context.Context) error { return o.ship(ctx, s) }
		opt.Shipped = func(at journal.Position) {
			env.notice("%s is retired at transaction %d, and the archive has it", ui.Clean(o.db), at.TXID)
			if o.replica == "" {
				env.notice("now promote the other, to its end: %s", commandLine("promote", "REPLICA", "--to", o.to, "--expect", at.Token()))
			}
		}
	}
	r, at, err := takeover.Handover(ctx, o.db, opt)
	if err != nil {
		return explainPromote(err, o.db)
	}
	return o.tell(env, r, at)
}

// ship ships all that the database has.
func (o *handoverOptions) ship(ctx context.Context, s objstore.Store) error {
	dir, err := trailDir(o.db)
	if err != nil {
		return err
	}
	_, err = ship.Run(ctx, dir, &ship.Options{
		Store: s, Archive: storeName(o.to), Once: true,
		Sync: func(context.Context) error { return syncPrimary(durable.OS, dir) },
	})
	return err
}

// handoverJSON is what handover --json answers.
type handoverJSON struct {
	Database string           `json:"database"`
	Position journal.Position `json:"position"`
	Token    string           `json:"token"`
	Replica  string           `json:"replica,omitempty"`
	Timeline journal.Timeline `json:"timeline,omitempty"`
}

func (o *handoverOptions) tell(env *Env, r *takeover.Result, at journal.Position) error {
	if o.json {
		j := handoverJSON{Database: o.db, Position: at, Token: at.Token(), Replica: o.replica}
		if r != nil {
			j.Timeline = r.Timeline
		}
		return writeJSON(env.Out, j)
	}
	if r == nil {
		env.notice("%s is retired at transaction %d. When the other has that, end its follow and type: %s",
			ui.Clean(o.db), at.TXID, commandLine("promote", "REPLICA", "--force", "--expect", at.Token()))
		return nil
	}
	source := o.to
	if source == "" {
		source = o.replica
	}
	if o.replica != "" {
		if err := tellPromoted(env, o.replica, o.to, r, false); err != nil {
			return err
		}
	} else {
		env.notice("handed over: the archive is at timeline %d, after transaction %d", r.Timeline, r.Position.TXID)
	}
	env.notice("%s is a replica: %s", ui.Clean(o.db), commandLine("follow", source, o.db))
	return nil
}
