package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

type rewindOptions struct {
	db     string
	trail  string
	from   string
	dryRun bool
	json   bool
	target targetOptions
}

func (o *rewindOptions) addFlags(f *pflag.FlagSet) {
	o.target.addFlags(f)
	f.StringVar(&o.trail, "trail", "", "the trail is in `DIR` (trail= of the DSN), not beside the database")
	f.StringVar(&o.from, "from", "", "read the old state from the archive at `URL`, when the trail begins later, or from a cut or branch, a directory")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be undone")
	f.BoolVar(&o.json, "json", false, "say what was done as one JSON object on stdout")
}

func newRewind(env *Env) *cobra.Command {
	o := &rewindOptions{}
	cmd := &cobra.Command{
		Use:   "rewind DB {--txid N | --at TIME | --point NAME} [FLAG]...",
		Short: "Take a database back to an earlier state, while it is in use",
		Example: examples(
			"pagetrail rewind app.db --txid 41203      # as it was after transaction 41203",
			"pagetrail rewind app.db --at 14:05 -n     # what would that undo?",
			"pagetrail rewind app.db --point deploy --from s3://backups/app",
			"pagetrail rewind app.db --txid 41210 --from app.db-pagetrail/cut-1795751103038331   # what was cut off",
		),
		Long: `Make a database what it was at an earlier moment, where it is. That is one more
transaction: programs may have the database open, and see it as they see any commit of
another; nothing is taken out of the trail; followers and archives go on; and the same
command, with the number that it says at the end, undoes it.

What programs commit until it is done is undone, too. Those that keep rows in memory
should be stopped first, or restarted after. To look at the old state beside the present
one, and take only some rows from it, hydrate it to another file.

The old state is made in a scratch file in the directory for temporary files (TMPDIR),
which needs room for it, and checked as hydrate does. Then it becomes the content of DB:
every page is as it was, but for the counters in the header by which SQLite knows that
something changed. For that moment it is locked: it waits ten seconds for transactions of
others, and then ends with code 11 and without a change.

In WAL mode a database cannot be taken back to when its pages had another size.

` + timeHelp,
		Args: between(1, 1, "which database?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.db = args[0]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing, Locked),
	}
	o.addFlags(cmd.Flags())
	mustComplete(cmd, "txid", recentTXIDs)
	mustComplete(cmd, "point", pointNames)
	return cmd
}

// rewound is what a rewind did, or with --dry-run would do.
type rewound struct {
	to       journal.Tx       // the transaction whose state it is again
	last     journal.TXID     // the last one before the rewind
	pageSize int              // of the last one
	shared   journal.TXID     // up to which the history that leads to it is the database's own
	at       journal.Position // after the rewind; zero when it was not done
}

func (o *rewindOptions) run(ctx context.Context, env *Env) error {
	dir, err := o.check()
	if err != nil {
		return err
	}
	target, err := o.target.resolve(env)
	if err != nil {
		return err
	}
	own, err := openTrail(ctx, env, dir)
	if err != nil {
		return err
	}
	defer own.Close()
	if own.damage != nil {
		return withHint(own.damage, "heal it first: %s; what stands before the damage can be had: %s",
			commandLine("repair", o.db), commandLine("window", o.db))
	}
	source := own
	if o.from != "" {
		if source, err = openTrail(ctx, env, o.from); err != nil {
			return err
		}
		defer source.Close()
		if a, b := source.Identity().Database, own.Identity().Database; a != b {
			return usagef("%s is of another database, %s; %s is %s", o.from, a, o.db, b)
		}
	}
	plan, err := apply.Resolve(ctx, source.Trail, target)
	if err != nil {
		return o.explain(ctx, env, source, err)
	}
	last, err := own.Last()
	if err != nil {
		return err
	}
	done := rewound{to: plan.Tx, last: last.TXID, pageSize: last.PageSize, shared: min(plan.Tx.TXID, last.TXID)}
	if common := source.Identity().Common; common != nil {
		done.shared = min(done.shared, common.TXID)
	}
	if !o.dryRun {
		if err := o.replace(ctx, env, source, &done); err != nil {
			return err
		}
	}
	if o.json {
		return writeJSON(env.Out, o.answer(&done))
	}
	if cut := o.cutHint(ctx, env, source, plan.Tx); cut != "" {
		defer env.notice("%s", cut)
	}
	return o.tell(env, &done)
}

// check returns the directory of the trail of what may be rewound.
func (o *rewindOptions) check() (dir string, err error) {
	switch {
	case isURL(o.db):
		return "", &hintError{
			usagef("%s is an archive; what is rewound is a database on this machine", o.db),
			"a database from the archive: " + commandLine("hydrate", o.db, "-o", "FILE") + "; an older state for one that is here: --from " + o.db,
		}
	case replica.Is(o.db):
		return "", &hintError{usagef("%s is a replica: it follows its primary", o.db), "rewind the primary, and the replica follows"}
	case o.target == targetOptions{}:
		return "", &hintError{usagef("to which moment? --txid N, --at TIME or --point NAME is missing"), "see what happened: " + commandLine("log", o.db)}
	case o.from != "" && !isURL(o.from) && cutOf(o.from) == "":
		return "", &hintError{usagef("--from %s is no URL, and no cut or branch of a trail", o.from), "for an archive in a directory write file://" + absolute(o.from)}
	}
	if dir = o.trail; dir == "" {
		if dir, err = trailDir(o.db); err != nil {
			return "", err
		}
	}
	switch info, err := os.Stat(o.db); {
	case err != nil && !os.IsNotExist(err):
		return "", err
	case err != nil:
		return "", withHint(kindf(journal.ErrNotFound, "%s is not there to be taken back", o.db),
			"%s makes it anew", commandLine("hydrate", dir, "-o", o.db))
	case info.IsDir():
		return "", usagef("%s is a trail; what is rewound is its database", o.db)
	}
	return dir, nil
}

// rewindCommand is the command that takes the database of a trail back to a transaction; "" if that is not on this machine.
func rewindCommand(trail string, id journal.TXID) string {
	if isURL(trail) || isServer(trail) {
		return ""
	}
	dir, err := trailDir(trail)
	if err != nil {
		return ""
	}
	own := cutOf(dir)
	db := databaseOf(cmp.Or(own, dir))
	if info, err := os.Stat(db); err != nil || !info.Mode().IsRegular() || replica.Is(db) {
		return ""
	}
	if own != "" {
		return commandLine("rewind", db, "--txid", id.String(), "--from", dir)
	}
	return commandLine("rewind", db, "--txid", id.String())
}

// replace makes the old state, and then the database of it.
func (o *rewindOptions) replace(ctx context.Context, env *Env, source *openedTrail, r *rewound) error {
	scratch, err := os.MkdirTemp("", "pagetrail-rewind-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	was := filepath.Join(scratch, "was.db")
	progress := env.progress(ctx, "hydrating")
	_, err = apply.Hydrate(ctx, source.Trail, was, apply.AtTXID(r.to.TXID), &apply.Options{Progress: progress.apply})
	progress.finish()
	if err != nil {
		return o.explain(ctx, env, source, err)
	}
	opt := &vfs.ReplaceOptions{Note: "rewound to transaction " + fmt.Sprint(r.to.TXID)}
	if r.to.TXID > r.shared {
		opt.Note += " of " + filepath.Base(o.from)
	}
	if o.trail != "" {
		if opt.Trail, err = filepath.Abs(o.trail); err != nil {
			return err
		}
	}
	r.at, err = vfs.Replace(ctx, o.db, was, opt)
	switch {
	case err == nil:
		r.last = r.at.TXID - 1
		return nil
	case vfs.Busy(err):
		return withHint(kindf(journal.ErrLocked, "%s: a program is in the middle of a transaction: nothing was changed", o.db), "try again, or stop it")
	case r.to.TXID != 0 && r.to.PageSize != r.pageSize:
		return withHint(fmt.Errorf("its pages had %d bytes then and have %d now, which SQLite does not change in WAL mode: %w", r.to.PageSize, r.pageSize, err),
			"stop the programs, and with PRAGMA journal_mode=delete it works; or %s", commandLine("hydrate", o.db, "-o", "FILE", "--txid", fmt.Sprint(r.to.TXID)))
	}
	err = fmt.Errorf("rewind %s: %w", o.db, err)
	if hintFor(err) != "" {
		return err
	}
	return withHint(err, "if it is damaged: end its programs, move it away with its -wal and -shm, and %s",
		commandLine("hydrate", o.db, "-o", o.db, "--txid", fmt.Sprint(r.to.TXID)))
}

// explain adds the command to type next to an error of finding or making the old state.
func (o *rewindOptions) explain(ctx context.Context, env *Env, source *openedTrail, err error) error {
	command := commandLine("rewind", o.db)
	if cut := o.cutHint(ctx, env, source, journal.Tx{}); cut != "" && codeOf(err) == Nothing {
		return &hintError{err, cut}
	}
	if out, ok := errors.AsType[*apply.RangeError](err); ok {
		hint := o.target.nearest(env, out, command)
		if o.from == "" && out.Before == nil {
			hint += "\n  or, if it was shipped, read what was before that from the archive: --from URL"
		}
		return withHint(err, "%s", hint)
	}
	if errors.Is(err, journal.ErrNotFound) && o.target.point != "" {
		return withHint(err, "see: %s", commandLine("points", o.db))
	}
	return err
}

// cutHint is for a transaction that was cut: how to rewind to it.
func (o *rewindOptions) cutHint(ctx context.Context, env *Env, source *openedTrail, got journal.Tx) string {
	return o.target.cutHint(ctx, env, source, got, func(dir, id string) string {
		return commandLine("rewind", o.db, "--txid", id, "--from", dir)
	})
}

// rewoundJSON is what rewind --json answers.
type rewoundJSON struct {
	File        string        `json:"file"`
	Database    string        `json:"database,omitempty"`
	Timeline    uint32        `json:"timeline,omitempty"`
	Transaction *txJSON       `json:"transaction"`
	Undone      uint64        `json:"undone"`
	TXID        *journal.TXID `json:"txid"`
}

func (o *rewindOptions) answer(r *rewound) rewoundJSON {
	j := rewoundJSON{File: o.db, Transaction: newTxJSON(r.to), Undone: uint64(r.last - r.shared)}
	if r.at.TXID != 0 {
		j.Database, j.Timeline, j.TXID = r.at.Database.String(), uint32(r.at.Timeline), &r.at.TXID
	}
	return j
}

func (o *rewindOptions) tell(env *Env, r *rewound) error {
	paint := env.painter(env.OutTerm)
	is := " is again "
	if o.dryRun {
		is = " would again be "
	}
	fmt.Fprintf(env.Out, "%s\n", paint.Paint(ui.Good, ui.Clean(o.db)+is+describeTx(r.to)))
	f := newFacts(env.Out, paint)
	if r.to.TXID != 0 {
		f.add("recorded", "%s%s", env.showTime(r.to.Time.Time()), o.target.before(r.to))
	}
	if r.to.Note != "" {
		f.add("note", "%s", ui.Clean(r.to.Note))
	}
	undone := ui.Plural(uint64(r.last-r.shared), "transaction", "transactions")
	switch r.last - r.shared {
	case 0:
		why := ""
		if r.to.TXID == r.last {
			why = ": that is the latest"
		}
		f.add("undone", "nothing%s", why)
	case 1:
		f.add("undone", "%s, %d", undone, r.last)
	default:
		f.add("undone", "%s, %d to %d", undone, r.shared+1, r.last)
	}
	if !o.dryRun {
		f.add("now", "transaction %d", r.at.TXID)
		f.add("back", "%s", commandLine("rewind", o.db, "--txid", fmt.Sprint(r.last)))
	}
	return f.flush()
}
