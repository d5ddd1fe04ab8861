package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/ship"
)

type shipOptions struct {
	args     []string
	trail    string // the first of args
	to       string
	name     string
	once     bool
	capture  bool
	mend     bool
	json     bool
	interval time.Duration
	grace    time.Duration
	limit    int64 // bytes a second; 0: as many as there are
	disk     diskOptions
	// Of what is recorded here: why the last commits are not, as there is no room, that this is so, and that since then some
	// was made.
	unrecorded error
	full       atomic.Bool
	removed    bool
}

func (o *shipOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.to, "to", "", "the archive's `URL`: s3://, azure://, gs:// or file:///DIR; of several, each is at its name below it")
	f.BoolVar(&o.once, "once", false, "ship what there is, and end")
	f.BoolVar(&o.capture, "capture", false, "DB's programs do not use the VFS: record what they commit")
	f.BoolVar(&o.mend, "mend", false, "look at every object of the archive first, and send again what is gone")
	lengthVar(f, &o.interval, "interval", time.Second, "how `LONG` a transaction waits for others to share its batch")
	lengthVar(f, &o.grace, "grace", 30*time.Second, "how `LONG` is shipped on after SIGTERM or SIGINT")
	bytesVar(f, &o.limit, "limit", "send and fetch no more than `SIZE` a second: 200kB, 1MB (default as fast as it goes)")
	o.disk.addFlags(f)
	f.StringVar(&o.name, "name", "", "`NAME` of this writer, for whoever finds the archive held (default machine and process)")
	f.BoolVar(&o.json, "json", false, "say at the end what was shipped as one JSON object on stdout, of several databases one a line")
}

func newShip(env *Env) *cobra.Command {
	o := &shipOptions{}
	cmd := &cobra.Command{
		Use:   "ship TRAIL|DB|DIR... --to URL [FLAG]...",
		Short: "Copy trails to object storage as they grow",
		Example: examples(
			"pagetrail ship app.db --to s3://backups/app?region=eu-central-1   # until stopped",
			"pagetrail ship app.db --to file:///mnt/backup/app --once   # what there is, from cron",
			"pagetrail ship app.db --to s3://backups/app --capture   # of a program in any language",
			"pagetrail ship /srv/tenants --to s3://backups/tenants   # all databases below it",
			"pagetrail ship app.db --to s3://backups/app --encrypt-to age1ql3... --identity key.txt",
			"pagetrail hydrate s3://backups/app -o app.db --at 14:05   # the way back, anywhere",
		),
		Long: `Copy the transactions of a trail to an archive in object storage, in batches, for as
long as it runs: it may be stopped, killed or cut off from the network at any time,
and goes on where the archive ends. Programs that commit never wait for it. While
nothing is committed nothing is requested.

SIGTERM and SIGINT end it: it ships what there is, for at most the time --grace. It ends
with code 0 when everything was shipped, and with 12 when not; nothing is lost then, what
was not shipped is in the trail and goes out the next time. A second signal ends it at
once.

Several databases, or a directory of them, are shipped to archives of their own below the
URL: a database at its name, one in DIR at its path there (of what no store takes in names
each byte is written =XX). In DIR and all below it those are meant that have a trail, or
with --capture all files that are databases; new ones are found while it runs. One that
cannot be shipped stops no other. More settings, metrics and a status: pagetrail run.

With --capture what programs commit without the VFS is recorded first. The database must
be in WAL mode then, and each commit is a transaction of the trail; with --once it may be
in any, and all that was committed since the last time is one transaction, unless the WAL
still has each.

The trail keeps what was shipped, unless --keep or --keep-bytes let it go; then the
archive restores what the trail alone no longer can. What was not shipped is never
removed. With --capture --quota bounds that too: near it what was shipped makes room, and
beyond it commits wait in the database's WAL, up to 64 MiB, and what a longer one loses is
one transaction afterwards.

What somebody deleted from the archive is sent again when shipping begins, if the trail
still has it: without --mend what is gone of its beginning, of the last batches, of bases,
and of what compact has merged, which takes no request to find out.

Before a batch leaves, the database's files are synced, so that the archive never
has a transaction that a power cut took from this machine. Run it as a user who may
write to them.

An archive has one writer. Who claims it last is the holder; the one before stops and
says who that is, and what it did not ship stays in its trail. Trails of different
histories never share an archive, and none begins inside the prefix of another. The trail
of a replica is shipped to a prefix of its own; the archive of its primary it claims only
once it was promoted.

` + archiveURLHelp,
		Args: someTrails,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.args, o.trail = args, args[0]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing, Locked, Unshipped),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// archiveURLHelp says how a place is named, and how it is encrypted.
const archiveURLHelp = `URL parameters of s3: region, endpoint (https://HOST of another service than Amazon's)
and path-style=true. Credentials come from AWS_ACCESS_KEY_ID and its companions, the
shared credentials file, or the machine's role. azure://ACCOUNT/CONTAINER/PREFIX is
Azure Blob Storage, with AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or the identity of
the machine or of whoever logged in. gs://BUCKET/PREFIX is Google Cloud Storage, with
GOOGLE_APPLICATION_CREDENTIALS, or likewise.

` + "`age-keygen -o key.txt`" + ` makes an identity and says its recipient. With --encrypt-to
RECIPIENT every object is encrypted before it leaves, and only an identity reads it
again: nothing that is kept in the store does. Names and sizes of objects stay visible,
and so about when and how much was written. --identity key.txt is what hydrate, log,
verify, compact and all that read the archive need, and ship too unless the archive is
new: it looks first where it ends. Keep a copy of key.txt apart from this machine. An
archive is encrypted from its first object on, or never.`

// rate is the limit of --limit.
func (o *shipOptions) rate() objstore.LimitOptions {
	return objstore.LimitOptions{BytesPerSecond: float64(o.limit)}
}

// check refuses a command that was written wrongly.
func (o *shipOptions) check() error {
	switch {
	case o.to == "":
		return &hintError{usagef("where to? --to URL is missing"), "try: pagetrail ship " + strings.Join(o.args, " ") + " --to file:///DIR"}
	case !isURL(o.to):
		return &hintError{usagef("--to %s is not a URL", o.to), "for a directory write file://" + absolute(o.to)}
	case o.interval <= 0:
		return usagef("--interval %v: want more than nothing", o.interval)
	}
	for _, arg := range o.args {
		if isURL(arg) {
			return usagef("%s is an archive; what is shipped is a trail", arg)
		}
	}
	return o.disk.check(o.capture)
}

func (o *shipOptions) run(ctx context.Context, env *Env) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.many() {
		return o.runMany(ctx, env)
	}
	if o.capture {
		if err := o.settle(ctx); err != nil {
			return err
		}
	}
	dir, err := trailDir(o.trail)
	if err != nil {
		return cmp.Or(o.unrecorded, err)
	}
	s, err := env.openStore(ctx, o.to, objstore.NewLimiter(o.rate()).Limit)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := insideAnother(ctx, o.to); err != nil {
		return err
	}
	var result ship.Result
	run := func(ctx context.Context) error {
		r, err := ship.Run(ctx, dir, &ship.Options{
			Store: s, Archive: storeName(o.to), Name: o.name, Once: o.once, Mend: o.mend, Grace: o.grace, Interval: o.interval,
			Keep: o.disk.keep, KeepBytes: o.disk.keepBytes, Full: o.full.Load,
			Replica: func() bool { return replica.Is(databaseOf(dir)) },
			Sync:    func(context.Context) error { return syncPrimary(durable.OS, dir) }, Events: o.events(env),
		})
		result = ship.Result{
			Batches: result.Batches + r.Batches, Bases: result.Bases + r.Bases, Transactions: result.Transactions + r.Transactions,
			Bytes: result.Bytes + r.Bytes, Mended: result.Mended + r.Mended, Last: r.Last,
		}
		return err
	}
	switch {
	case !o.capture:
		err = run(ctx)
	case o.once:
		err = o.inTurns(ctx, run)
	default:
		err = o.watching(ctx, env, run)
	}
	if o.json {
		if e := writeJSON(env.Out, newShipJSON(o.to, result)); err == nil {
			err = e
		}
	}
	place, placed := errors.AsType[*journal.Error](err)
	if o.mend && placed && errors.Is(err, journal.ErrCorrupt) && strings.HasPrefix(place.Path, storeName(o.to)) {
		return withHint(err, "move the object out of the archive, and run this again: what is gone is sent anew")
	}
	switch {
	case errors.Is(err, ship.ErrUnshipped) && o.unrecorded != nil:
		return withHint(kindf(errUnshipped, "%v", err), "it is in the database and its WAL: make room, or raise the quota, and run this again")
	case errors.Is(err, ship.ErrUnshipped):
		return withHint(kindf(errUnshipped, "%v", err), "what was not is in %s, and goes out the next time", dir)
	case err != nil:
		return archiveHint(err, o.to)
	}
	tellShipped(env, &result)
	return nil
}

// tellShipped says what a run has shipped that ended well.
func tellShipped(env *Env, result *ship.Result) {
	switch {
	case result.Last == 0:
		env.notice("nothing to ship: the archive begins with the next transaction of the trail")
	case result.Batches+result.Bases+result.Mended == 0:
		env.notice("nothing to ship: the archive ends with transaction %d, as the trail does", result.Last)
	case result.Batches == 0:
		env.notice("nothing else to ship: the archive ends with transaction %d, as the trail does", result.Last)
	default:
		env.notice("shipped %s up to %d in %s, %s", ui.Plural(result.Transactions, "transaction", "transactions"), result.Last,
			ui.Plural(result.Batches, "batch", "batches"), ui.Bytes(result.Bytes))
	}
}

// shipJSON is what ship --json answers.
type shipJSON struct {
	To           string       `json:"to"`
	Transactions uint64       `json:"transactions"`
	Last         journal.TXID `json:"last_txid"`
	Batches      int          `json:"batches"`
	Bases        int          `json:"bases"`
	Mended       int          `json:"mended,omitempty"`
	Bytes        int64        `json:"bytes"`
}

func newShipJSON(to string, r ship.Result) shipJSON {
	return shipJSON{To: to, Transactions: r.Transactions, Last: r.Last, Batches: r.Batches, Bases: r.Bases, Mended: r.Mended, Bytes: r.Bytes}
}

// events tells people of what they would otherwise wonder about; batches, which are the normal course, are not among
// it.
func (o *shipOptions) events(env *Env) ship.Events {
	return ship.Events{
		Claimed: func(from archive.Holder, after journal.TXID) {
			switch {
			case from.Name == "":
				env.notice("a new archive at %s", storeName(o.to))
			case !o.once:
				env.notice("going on after transaction %d; before, the archive was held by %s", after, from)
			}
		},
		Base: func(id journal.TXID, size int64) {
			env.notice("shipped the base of transaction %d, %s", id, ui.Bytes(size))
		},
		Mended: func(first, last journal.TXID, size int64, err error) {
			if err != nil {
				env.notice("transactions %d to %d are missing in the archive, and cannot be sent again: %v", first, last, err)
				return
			}
			env.notice("sent transactions %d to %d again, which were missing in the archive, %s", first, last, ui.Bytes(size))
		},
		Pruned: func([]string, int64) { o.removed = true },
		Retry: func(err error, _ int, pause time.Duration) {
			env.notice("%v; again in %s", err, ui.Duration(pause))
		},
	}
}

// syncPrimary makes what a trail's database has committed durable.
func syncPrimary(fsys durable.FS, trail string) error {
	return sidecar.SyncPrimary(fsys, databaseOf(trail), trail)
}

// databaseOf is the database of a trail; empty for one put elsewhere: which database it is of is not written anywhere.
func databaseOf(trail string) string {
	db, ok := strings.CutSuffix(filepath.Clean(trail), trailSuffix)
	if !ok {
		return ""
	}
	return db
}

// absolute is a path for a file URL.
func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return fmt.Sprintf("/%s", strings.TrimPrefix(filepath.ToSlash(abs), "/"))
}
