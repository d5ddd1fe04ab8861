package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/vfs"
)

type followOptions struct {
	trail   string
	replica string
	once    bool
	full    bool
	rewind  bool
	json    bool
	keep    bool
	remote  remoteOptions
}

func (o *followOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.once, "once", false, "end when the replica is where the trail is")
	f.BoolVar(&o.rewind, "rewind", false, "take a replica that is ahead of the trail, or beside it, back")
	f.BoolVar(&o.full, "full", false, "make every commit of the replica durable before readers see it")
	f.BoolVar(&o.json, "json", false, "one JSON object a line on stdout for everything that happens")
	f.BoolVar(&o.keep, "trail", false, "keep a trail of the replica's own, REPLICA-pagetrail, for its past and for others to follow")
	o.remote.addFlags(f)
}

func newFollow(env *Env) *cobra.Command {
	o := &followOptions{}
	cmd := &cobra.Command{
		Use:   "follow TRAIL|DB|URL REPLICA [FLAG]...",
		Short: "Keep a replica that any SQLite program can read in step",
		Example: examples(
			"pagetrail follow app.db replica.db          # until interrupted",
			"pagetrail follow app.db replica.db --once   # catch up and end",
			"pagetrail follow https://primary.example:7330/app.db replica.db --token-file token",
			"pagetrail follow s3://backups/app replica.db   # what was shipped, on any machine",
		),
		Long: `Keep REPLICA, an ordinary SQLite file, in step with a trail on this machine, with a
database that pagetrail serve serves (http or https), or with an archive that is
shipped to, transaction by transaction, while other programs read it. They see whole
transactions, each checked against the state checksum in the trail before a byte of
the replica changes, and are never made to wait. They cannot write: the replica is
locked for writing as long as it is followed into.

REPLICA is made if it does not exist. If it does, it must be in some state of the
trail's history, a hydrated copy for instance, and no program may have it open when it
is followed into for the first time. Killed at any moment, the next follow goes on from
there. What another program wrote to it in between is found and put right, page by page.

While followed into, REPLICA has REPLICA-wal and REPLICA-shm beside it, which belong
to it: copy it with SQLite's own means only. When it ends and nobody has the replica
open, follow leaves one file, byte for byte the primary's; else the last program to
close it does. REPLICA-pos says where it was.

A replica that is ahead of the trail waits for it, and says so, again after a minute: it
may be that of a relay that lags, which a load balancer chose. With --once that is an
error. A replica that is beside the trail, because that is another's or has lost what was
followed, is refused. With --rewind both are taken back: then what only the replica has
is lost, or kept in its own trail. So does a primary that was taken over from
(see pagetrail promote) become a replica: end its programs, and follow the new one with
--rewind. What it had committed and not shipped becomes a branch of its trail.

With --trail REPLICA has a trail of its own, REPLICA-pagetrail, from when it begins on:
hydrate, log and the others read it, ship ships it, and serve lets others follow this
replica instead of the primary. Once begun it is gone on with, --trail or not. Restore
points of the primary are not in it.

A server sends transactions as they come, and says when none do. An archive is asked for
its next batch by name, four times a second while batches come and every two seconds
while none do. When somebody takes over the archive, follow goes on with the next
timeline. When one that answered at first does not any more, or what it sends is damaged,
the replica stays as it is, and follow tries again, for as long as it takes. A server with
another database at that name, or one that refuses the token, ends it.

It ends with code 0 when interrupted, unless --once was not done.

` + trailHelp,
		Args: between(2, 2, "which trail, into which replica?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail, o.replica = args[0], args[1]
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Gap, Nothing, Locked),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// followJSON is a line of follow --json.
type followJSON struct {
	Event        string           `json:"event"` // attached, applied, repaired, waiting, unreachable, reached, trail, ended
	Position     journal.Position `json:"position"`
	Transactions int              `json:"transactions,omitempty"`
	Pages        int              `json:"pages,omitempty"`
	Behind       uint64           `json:"behind_transactions"`
	BehindBytes  int64            `json:"behind_bytes,omitempty"`
	Delay        float64          `json:"delay_seconds,omitempty"`
	Stale        float64          `json:"stale_seconds,omitempty"`
	Reason       string           `json:"reason,omitempty"`
}

func (o *followOptions) run(ctx context.Context, env *Env) error {
	src, end, err := o.source(ctx, env)
	if err != nil {
		return o.explain(err)
	}
	defer func() { _ = end() }() // it was only read
	if err := o.rejoin(ctx, env, src); err != nil {
		return err
	}
	r := &followReport{o: o, env: env, start: env.Now()}
	opt := &follow.Options{
		Once: o.once, SyncEachCommit: o.full, Rewind: o.rewind, Monitor: &r.monitor,
		Events: follow.Events{
			Attached: r.attached, Applied: r.applied, CaughtUp: r.caughtUp, Repaired: r.repaired, Waiting: r.waiting, Unreachable: r.unreachable,
			TrailBegun: r.trailBegun,
		},
	}
	opt.Trail = ownTrail(o.replica, o.keep)
	if isURL(o.trail) && !isServer(o.trail) {
		opt.PollMin, opt.PollMax = archivePollMin, archivePollMax
		opt.Retry = mayPass
	}
	err = follow.Run(ctx, o.replica, src, opt)
	for errors.Is(err, archive.ErrTimeline) {
		// Somebody took over: so the next timeline is followed, in a while if that is not done yet.
		if err = o.moved(ctx, env, src.Identity().Timeline, err); err != nil || ctx.Err() != nil {
			break
		}
		next, endNext, e := o.source(ctx, env)
		if err = e; err != nil {
			break
		}
		_ = end()
		src, end = next, endNext
		err = follow.Run(ctx, o.replica, src, opt)
	}
	if err == nil {
		err = r.err
	}
	if err == nil {
		err = r.ended()
	}
	if o.once && (err == nil || errors.Is(err, journal.ErrNotFound)) {
		if damage := end(); damage != nil {
			err = damage
		}
	}
	return o.explain(err)
}

// moved waits until the archive is at a later timeline than line, which has ended with err.
func (o *followOptions) moved(ctx context.Context, env *Env, line journal.Timeline, err error) error {
	for wait := archivePollMin; ; wait = min(2*wait, archivePollMax) {
		t, e := openSoundArchive(ctx, env, o.trail)
		if e == nil {
			now := t.Identity().Timeline
			e = t.Close()
			if e == nil && now > line {
				env.notice("%s: the archive is at timeline %d now: somebody took over", ui.Clean(o.replica), now)
				return nil
			}
		}
		switch {
		case o.once:
			return errors.Join(err, e)
		case e != nil && !mayPass(e):
			return e
		case wait == archivePollMin:
			env.notice("%s: timeline %d has ended, and a takeover is not done yet", ui.Clean(o.replica), line)
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// rejoin makes a primary that was taken over from a replica, if it is to be taken back.
func (o *followOptions) rejoin(ctx context.Context, env *Env, src follow.Source) error {
	if !o.rewind || exists(o.replica+"-pos") || !isDir(o.replica+trailSuffix) || !exists(o.replica) {
		return nil
	}
	at, err := takeover.Rejoin(ctx, o.replica, src, &takeover.RetireOptions{Settle: vfs.Settle})
	if err != nil {
		return withHint(err, "end the programs that use %s first; if nobody has taken over it is what others follow", o.replica)
	}
	env.notice("%s was a primary up to transaction %d of timeline %d, and is a replica now", ui.Clean(o.replica), at.TXID, at.Timeline)
	return nil
}

// ownTrail is where a replica keeps its trail: "" when it has none, and none is wanted.
func ownTrail(replica string, wanted bool) string {
	if target, err := filepath.EvalSymlinks(replica); err == nil {
		replica = target
	}
	dir := replica + trailSuffix
	if wanted || exists(replica+"-pos") && isDir(dir) {
		return dir
	}
	return ""
}

// source opens what is to be followed. end closes it, and says whether it was damaged behind what could be read: with
// --once what stands before the damage is taken first.
func (o *followOptions) source(ctx context.Context, env *Env) (src follow.Source, end func() error, err error) {
	if isServer(o.trail) {
		s, err := o.remote.open(ctx, env, o.trail)
		if err != nil {
			return nil, nil, err
		}
		return s, func() error { _ = s.Close(); return nil }, nil
	}
	open := openSound
	if o.once {
		open = openTrail
	}
	t, err := open(ctx, env, o.trail)
	if err != nil {
		return nil, nil, err
	}
	return follow.TrailSource(t.Trail, ""), func() error {
		damage := t.ending()
		_ = t.Close() // it was only read
		return damage
	}, nil
}

// How often an archive is asked for the next batch, which costs a request: while batches come, and after a while
// without one. A batch is shipped once a second at most, unless ship is told otherwise.
const (
	archivePollMin = 250 * time.Millisecond
	archivePollMax = 2 * time.Second
)

// mayPass says of a store's error that the same call may get a better answer later.
func mayPass(err error) bool {
	_, ofStore := errors.AsType[*objstore.Error](err)
	return ofStore && !objstore.Final(err)
}

// explain adds what to do about an error of following.
func (o *followOptions) explain(err error) error {
	err = withBaseHint(err, o.trail)
	switch {
	case errors.Is(err, journal.ErrLocked):
		return withHint(err, "end the program that writes to %s, or the other follow", o.replica)
	case errors.Is(err, journal.ErrCorrupt):
		return withHint(err, "how bad it is: %s", commandLine("verify", o.trail))
	case errors.Is(err, journal.ErrForeign):
		return withHint(err, "name another replica, or take %[1]s away with what belongs to it, %[1]s-pos and %[1]s%[2]s", o.replica, trailSuffix)
	case errors.Is(err, follow.ErrNotReady):
		return withHint(err, "try again in a while; if what the replica has is lost there, --rewind takes it back")
	case errors.Is(err, journal.ErrDiverged):
		return withHint(err, "if the trail is sound (%s), --rewind makes the replica what it says", commandLine("verify", o.trail))
	}
	return err
}

// followReport tells people in sentences and programs in JSON what happens.
type followReport struct {
	o     *followOptions
	env   *Env
	start time.Time

	pos   journal.Position
	begun bool
	away  bool // the source was not reached when last asked
	count uint64
	err   error // of writing to stdout

	monitor follow.Monitor
}

func (r *followReport) say(j followJSON, format string, args ...any) {
	if !r.o.json {
		if format != "" {
			r.env.notice(format, args...)
		}
		return
	}
	j.Position = r.pos
	if lag := r.monitor.Lag(); !lag.Level.IsZero() {
		j.BehindBytes, j.Stale = max(lag.Bytes, 0), lag.Staleness(r.env.Now()).Seconds()
	}
	if err := writeJSON(r.env.Out, j); err != nil && r.err == nil {
		r.err = err
	}
}

func (r *followReport) attached(pos journal.Position) {
	r.pos = pos
	what := "following into %s, from transaction %d on"
	if r.begun {
		what = "%s: attached again, at transaction %d"
	}
	r.begun = true
	r.say(followJSON{Event: "attached"}, what, ui.Clean(r.o.replica), pos.TXID)
}

func (r *followReport) applied(a follow.Applied) {
	r.pos = a.Position
	r.count += uint64(a.Transactions)
	r.say(followJSON{Event: "applied", Transactions: a.Transactions, Pages: a.Pages, Behind: a.Behind, Delay: a.Delay.Seconds()}, "")
}

func (r *followReport) repaired(reason string, pages int) {
	r.say(followJSON{Event: "repaired", Pages: pages, Reason: reason}, "%s: %s: put right to transaction %d, %s",
		ui.Clean(r.o.replica), reason, r.pos.TXID, ui.Plural(pages, "page", "pages"))
}

// caughtUp is said when the source had been away.
func (r *followReport) caughtUp(pos journal.Position) {
	r.pos = pos
	if r.away {
		r.say(followJSON{Event: "reached"}, "%s is where the source is again: at transaction %d", ui.Clean(r.o.replica), pos.TXID)
	}
	r.away = false
}

// unreachable is said once for each time that the source is away.
func (r *followReport) unreachable(err error, _ time.Duration) {
	if !r.away && r.begun {
		r.say(followJSON{Event: "unreachable", Reason: err.Error()}, "%s stays at transaction %d for now: %v", ui.Clean(r.o.replica), r.pos.TXID, err)
	} else if !r.away {
		r.say(followJSON{Event: "unreachable", Reason: err.Error()}, "%s has to wait: %v", ui.Clean(r.o.replica), err)
	}
	r.away = true
}

func (r *followReport) trailBegun(reason, aside string) {
	r.say(followJSON{Event: "trail", Reason: reason}, "%s: %s: its trail begins anew, and what was there is in %s", ui.Clean(r.o.replica), reason, ui.Clean(aside))
}

func (r *followReport) waiting(what string) {
	r.say(followJSON{Event: "waiting", Reason: what}, "%s: %s", ui.Clean(r.o.replica), what)
}

func (r *followReport) ended() error {
	text := fmt.Sprintf("%s is at transaction %d", ui.Clean(r.o.replica), r.pos.TXID)
	if r.count > 0 {
		text += fmt.Sprintf(", %s applied in %s", ui.Plural(r.count, "transaction", "transactions"), ui.Duration(r.env.since(r.start)))
	}
	r.say(followJSON{Event: "ended"}, "%s", strings.TrimSpace(text))
	return r.err
}
