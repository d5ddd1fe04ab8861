package cli

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

type execOptions struct {
	db      string
	to      string
	restore bool
	capture bool
	disk    diskOptions
	grace   time.Duration
	args    []string
}

func (o *execOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.db, "db", "", "the database's `PATH`")
	f.StringVar(&o.to, "to", "", "its archive's `URL`: s3://, azure://, gs:// or file:///DIR")
	f.BoolVar(&o.restore, "restore-if-missing", false, "restore the database first, if it is not there")
	f.BoolVar(&o.capture, "capture", false, "the application does not use the VFS")
	o.disk.addFlags(f)
	lengthVar(f, &o.grace, "grace", 30*time.Second, "how `LONG` is shipped after its end")
}

func newExec(env *Env) *cobra.Command {
	o := &execOptions{}
	cmd := &cobra.Command{
		Use:   "exec --db PATH --to URL [FLAG]... -- APP [ARG]...",
		Short: "Run an application with its database restored and shipped",
		Example: examples(
			"pagetrail exec --restore-if-missing --db app.db --to s3://b/app -- ./app",
		),
		Long: `Run an application, and ship its database's trail beside it. With --restore-if-missing
the database is restored from the archive first, if it is not there: a new machine goes
on where the last one ended. The archive's history continues then, on a timeline of its
own, and the writer before cannot add to it any more. Where there is no archive yet the
application begins with nothing. A disk that is not mounted looks like a store without an
archive, unless --to names a directory in a directory on it, such as
file:///mnt/backup/trails/app, and trails was made there before.

Signals are passed on to the application. When it ends, what it committed is shipped,
for at most --grace, and the exit code is its own (128 and the signal's number when a
signal ended it); 12 when that was 0 and not everything was shipped.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &hintError{usagef("which application? Its command comes after --"), "see: " + cmd.CommandPath() + " --help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.args = args
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Gap, Nothing, Unshipped),
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (o *execOptions) run(ctx context.Context, env *Env) (err error) {
	switch {
	case o.db == "":
		return usagef("which database? --db PATH is missing")
	case !isURL(o.to):
		return &hintError{usagef("where to? --to URL is missing, or no URL"), "for a directory write file:///DIR"}
	}
	if err := o.disk.check(o.capture); err != nil {
		return err
	}
	if o.db, err = filepath.Abs(o.db); err != nil {
		return err
	}
	if o.restore && !exists(o.db) {
		if err := o.restoreMissing(ctx, env); err != nil {
			return err
		}
	}
	if err := insideAnother(ctx, o.to); err != nil {
		return err
	}
	keys, err := env.keys()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.SetDefault(log)
	s, err := sidecar.New(ctx, &sidecar.Options{
		Sources: []sidecar.Source{o.disk.of(sidecar.Source{Path: o.db, To: o.to, Key: func(string) (string, error) { return "", nil }, Capture: o.capture})},
		Open:    stores.Open, Seal: sealWith(keys), StoreName: storeName, Grace: o.grace, Look: 100 * time.Millisecond,
		Log: log,
	})
	if err != nil {
		return err
	}
	shipping, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(shipping) }()
	appErr := o.application(env)
	err = o.settle(ctx)
	stop()
	err = errors.Join(err, unshipped(<-ended), s.Close())
	var code *quietCode
	switch {
	case appErr == nil:
		return err
	case errors.As(appErr, &code) && err != nil:
		env.notice("%v", err) // the application's code is the one to end with
	}
	return appErr
}

// settle has the trail take in what an application that did not close its database has left in the WAL, so that it is
// shipped, too.
func (o *execOptions) settle(ctx context.Context) error {
	if o.capture || !exists(o.db) || !exists(filepath.Join(o.db+trailSuffix, "identity")) {
		return nil
	}
	return vfs.Settle(ctx, o.db)
}

// application runs it to its end and returns its exit code as an error that says nothing.
func (o *execOptions) application(env *Env) error {
	cmd := exec.Command(o.args[0], o.args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, env.Out, env.Err
	forward, stop := catchSignals()
	defer stop()
	if err := cmd.Start(); err != nil {
		return err
	}
	forward(cmd.Process)
	err := cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	code := exit.ExitCode()
	if code < 0 {
		code = signalCode(exit)
	}
	return &quietCode{Code(code), err}
}

// restoreMissing makes the database of the archive's last transaction, and a trail that goes on from there. The
// database gets its name last: a crash before that leaves what the next try begins with.
func (o *execOptions) restoreMissing(ctx context.Context, env *Env) error {
	dir := o.db + trailSuffix
	if exists(dir) {
		blank, err := isBlank(dir)
		if err != nil {
			return err
		}
		if !blank {
			return withHint(kindf(journal.ErrExists, "%s is missing, and its trail is there", o.db),
				"what the trail has may be newer than the archive: %s", commandLine("hydrate", dir, "-o", o.db))
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	t, err := openSoundArchive(ctx, env, o.to)
	if errors.Is(err, journal.ErrNotFound) {
		env.notice("nothing to restore: there is no archive at %s yet", storeName(o.to))
		return nil
	}
	if err != nil {
		return err
	}
	defer t.Close()
	temp := o.db + ".restoring"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r, err := apply.Hydrate(ctx, t.Trail, temp, apply.Latest(), nil)
	if err != nil {
		return withHint(err, "see: %s", commandLine("window", o.to))
	}
	at := r.Tx
	at.Sum = r.Position.Sum
	if err := beginTrail(dir, t.Identity(), at); err != nil {
		return err
	}
	if err := durable.OS.Rename(temp, o.db); err != nil {
		return err
	}
	if err := durable.OS.SyncDir(filepath.Dir(o.db)); err != nil {
		return err
	}
	env.notice("%s is %s of %s, %s", ui.Clean(o.db), describeTx(r.Tx), storeName(o.to), ui.Bytes(r.Size))
	return nil
}

// beginTrail makes a trail that goes on from transaction at of another, on the next timeline.
func beginTrail(dir string, from journal.Identity, at journal.Tx) error {
	id := journal.Identity{
		Format: from.Format, Database: from.Database, Timeline: from.Timeline + 1,
		Parent: &journal.Position{Database: from.Database, Timeline: from.Timeline, TXID: at.TXID, Sum: at.Sum},
	}
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Begin: &journal.Beginning{Identity: id, After: at}})
	if err != nil {
		return err
	}
	return w.Close()
}

// isBlank says that a trail was begun for a restored database and nothing was written since.
func isBlank(dir string) (bool, error) {
	t, err := journal.Open(dir, nil)
	if errors.Is(err, journal.ErrNotFound) { // its identity is what is written last, after one empty segment
		segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		for _, name := range segments {
			info, serr := os.Stat(name)
			if err = errors.Join(err, serr); err != nil || info.Size() > 128 {
				return false, err
			}
		}
		return true, err
	}
	if err != nil {
		return false, err
	}
	defer t.Close()
	parent := t.Identity().Parent
	last, err := t.Last()
	return parent != nil && last.TXID == parent.TXID, err
}
