package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow/changes"
	"github.com/pagetrail/pagetrail/internal/ui"
)

type watchOptions struct {
	trail  string
	from   string
	once   bool
	json   bool
	remote remoteOptions
}

func (o *watchOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.from, "from", "", "begin after transaction `TXID`; 0 is the first that can be told (default: what comes)")
	f.BoolVar(&o.once, "once", false, "end with what there is")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	o.remote.addFlags(f)
}

func newWatch(env *Env) *cobra.Command {
	o := &watchOptions{}
	cmd := &cobra.Command{
		Use:   "watch TRAIL|DB|URL [FLAG]...",
		Short: "Tell which tables each transaction changes, as they come",
		Example: examples(
			"pagetrail watch app.db                           # until interrupted",
			"pagetrail watch app.db --from 41203 --once       # what changed since",
			"pagetrail watch https://primary.example:7330/app.db --json",
		),
		Long: `Print a line for each transaction: its TXID, its time, and the tables whose rows or
indexes it changed; a change of the schema is one of sqlite_schema. "(any)" stands for a
transaction of which that cannot be told, because another program than one with the VFS
changed the database, for instance.

A trail has pages, and to know whose they are takes the database: the state at which
watching begins is restored into the directory for temporary files (TMPDIR) and kept up
to date there. It begins with the next transaction, or after the one that --from names.
URL is that of a database that pagetrail serve serves (http or https), or of an archive.
Programs without pagetrail are told the same by pagetrail serve, at URL/changes.

` + trailHelp,
		Args: oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail = args[0]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *watchOptions) run(ctx context.Context, env *Env) error {
	opt := &changes.Options{Once: o.once}
	if o.from == "0" {
		opt.FromStart = true
	} else if o.from != "" {
		var err error
		if opt.After, err = parseTXID(o.from); err != nil {
			return &usageError{err}
		}
	}
	f := &followOptions{trail: o.trail, remote: o.remote, once: o.once}
	src, end, err := f.source(ctx, env)
	if err != nil {
		return o.explain(err)
	}
	defer func() { _ = end() }() // it was only read
	if isURL(o.trail) && !isServer(o.trail) {
		opt.PollMin, opt.PollMax = archivePollMin, archivePollMax
		opt.Retry = mayPass
	}
	for c, err := range changes.Feed(ctx, src, opt) {
		if err != nil {
			return o.explain(err)
		}
		if err := o.print(env, &c); err != nil {
			return err
		}
	}
	if o.once {
		return o.explain(end())
	}
	return nil
}

func (o *watchOptions) print(env *Env, c *changes.Change) error {
	if o.json {
		return writeJSON(env.Out, c)
	}
	what := ui.Clean(strings.Join(c.Tables, ", "))
	if c.All {
		what = "(any)"
	}
	if c.Note != "" {
		what += "  " + ui.Clean(c.Note)
	}
	_, err := fmt.Fprintf(env.Out, "%-8d %s  %s\n", c.Position.TXID, env.showTime(c.Time), what)
	return err
}

// explain adds what to do about an error of watching.
func (o *watchOptions) explain(err error) error {
	err = withBaseHint(err, o.trail)
	if codeOf(err) == Damaged {
		return withHint(err, "how bad it is: %s", commandLine("verify", o.trail))
	}
	return err
}
