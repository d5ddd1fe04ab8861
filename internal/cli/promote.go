package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

type promoteOptions struct {
	replica string
	to      string
	force   bool
	expect  string
	name    string
	json    bool
}

func (o *promoteOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.to, "to", "", "claim the archive at `URL`, to which the old primary ships")
	f.BoolVar(&o.force, "force", false, "without an archive: see to it that the old primary is gone")
	f.StringVar(&o.expect, "expect", "", "only promote at this `POSITION`, as handover says it")
	f.StringVar(&o.name, "name", "", "`NAME` of the new writer, for the old (default machine, path)")
	f.BoolVar(&o.json, "json", false, "say at the end what was done as one JSON object on stdout")
}

func newPromote(env *Env) *cobra.Command {
	o := &promoteOptions{}
	cmd := &cobra.Command{
		Use:   "promote REPLICA {--to URL | --force} [FLAG]...",
		Short: "Make a replica the primary",
		Example: examples(
			"pagetrail promote app.db --to s3://backups/app   # the old primary is lost, or cut off",
			"pagetrail ship app.db --to s3://backups/app      # and go on from here",
			"pagetrail follow s3://backups/app app.db --rewind   # on the old primary, once back",
		),
		Long: `Make REPLICA, which pagetrail follow kept in step, a primary that programs write to. End
its follow first; programs that read it may go on, and open it anew to write.

With --to the old primary is fenced off: nothing that it ships is taken any more,
wherever it is and whatever it believes. REPLICA gets all that the archive has, and goes
on from there, or from where it is if it follows the primary's stream and is further, on
the next timeline. Of several that are promoted one wins; the others stay replicas. What
was committed on the old primary and neither shipped nor streamed is not in REPLICA. The
old primary keeps it, as a branch of its trail, when it becomes a follower:
pagetrail follow URL DB --rewind.

--force is for replicas without an archive. THE RISK: if the old primary still runs and
somebody reaches it, both are written to, and all that one of them commits from then on
is lost but for a branch. Switch it off first, or use pagetrail handover there, which
says at which position REPLICA must be: --expect refuses any other.

Stopped at any moment, the same command goes on. Until it is done programs cannot write
to REPLICA, nor can it be followed into. Once the old primary is fenced off the takeover
has to be finished, here or by promoting another replica: until then nobody can ship.
REPLICA-takeover says that one has begun.`,
		Args: between(1, 1, "which replica?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.replica = args[0]
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Gap, Nothing, Locked),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *promoteOptions) run(ctx context.Context, env *Env) error {
	switch {
	case isURL(o.replica):
		return usagef("%s is a URL; what is promoted is a replica on this machine", o.replica)
	case o.to == "" && !o.force:
		return &hintError{usagef("what keeps the old primary from writing? --to URL is missing"), "with no archive, and the old primary switched off: --force"}
	case o.to != "" && o.force:
		return usagef("--to and --force: the archive is the safe way, and needs no force")
	case o.to != "" && !isURL(o.to):
		return &hintError{usagef("--to %s is not a URL", o.to), "for a directory write file://" + absolute(o.to)}
	}
	opt := promotion(env, o.replica)
	opt.Force, opt.Name = o.force, o.name
	if o.expect != "" {
		at, err := parsePosition(o.expect)
		if err != nil {
			return usagef("--expect %s: %v", o.expect, err)
		}
		opt.Expect = &at
	}
	if o.to != "" {
		s, err := env.openStore(ctx, o.to, func(s objstore.Store) objstore.Store { return objstore.Retry(s, nil) })
		if err != nil {
			return err
		}
		defer s.Close()
		opt.Store, opt.Archive = s, storeName(o.to)
	}
	r, err := takeover.Promote(ctx, o.replica, opt)
	if err != nil {
		return explainPromote(err, o.replica)
	}
	return tellPromoted(env, o.replica, o.to, r, o.json)
}

// parsePosition reads a position as JSON or a token.
func parsePosition(text string) (p journal.Position, err error) {
	if strings.HasPrefix(text, "{") {
		err = json.Unmarshal([]byte(text), &p)
		return p, err
	}
	return journal.ParseToken(text)
}

// promotion is how a replica is promoted, and what is said of it meanwhile.
func promotion(env *Env, path string) *takeover.Options {
	path = ui.Clean(path)
	return &takeover.Options{Events: takeover.Events{
		Ended: func(at journal.Position) {
			env.notice("timeline %d of the archive ends after transaction %d: its writer cannot add to it any more", at.Timeline, at.TXID)
		},
		Repaired: func(reason string, pages int) {
			env.notice("%s: %s: put right, %s", path, reason, ui.Plural(pages, "page", "pages"))
		},
		Waiting: func(what string) { env.notice("%s: %s", path, what) },
	}}
}

// explainPromote adds what to do about an error of a promotion.
func explainPromote(err error, path string) error {
	_, held := errors.AsType[*archive.HeldError](err)
	switch {
	case errors.Is(err, replica.ErrNone):
		return withHint(err, "what is promoted is a file that pagetrail follow kept in step")
	case held:
		return withHint(err, "follow the archive on, and promote again if that one is gone too")
	case errors.Is(err, journal.ErrLocked):
		return withHint(err, "end the pagetrail follow of %s, or the program that writes to it", path)
	case errors.Is(err, journal.ErrDiverged):
		return withHint(err, "follow with --rewind makes %s what the archive says; then promote it", path)
	case errors.Is(err, fs.ErrInvalid):
		return withHint(err, "go on as it was begun, or remove %s-takeover to give it up", path)
	}
	return err
}

// promotedJSON is what promote --json answers.
type promotedJSON struct {
	Replica  string           `json:"replica"`
	Trail    string           `json:"trail"`
	Timeline journal.Timeline `json:"timeline"`
	Parent   journal.Position `json:"parent"`
	Merged   journal.TXID     `json:"merged_txid,omitempty"`
	Readers  bool             `json:"readers"`
	Already  bool             `json:"already"`
}

func tellPromoted(env *Env, path, to string, r *takeover.Result, asJSON bool) error {
	if asJSON {
		return writeJSON(env.Out, promotedJSON{path, r.Trail, r.Timeline, r.Position, r.Merged, r.Readers, r.Already})
	}
	name := ui.Clean(path)
	if r.Already {
		env.notice("%s is a primary already, on timeline %d since transaction %d", name, r.Timeline, r.Position.TXID)
		return nil
	}
	env.notice("%s is the primary, on timeline %d after transaction %d: open it with ?vfs=pagetrail", name, r.Timeline, r.Position.TXID)
	if r.Merged > 0 {
		env.notice("it had transactions %d to %d, which the archive has not: they become one with the first write", r.Position.TXID+1, r.Merged)
	}
	if r.Readers {
		env.notice("programs have it open: they go on reading, and open it anew to write")
	}
	if to == "" {
		env.notice("no archive was claimed: a primary that still runs elsewhere is not stopped by this")
		return nil
	}
	env.notice("ship it: %s", commandLine("ship", path, "--to", to))
	return nil
}
