package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// many says that more than one database is meant: several were named, or a directory that has databases and is no trail.
func (o *shipOptions) many() bool { return len(o.args) > 1 || isDirectoryOfMany(o.args[0]) }

func isDirectoryOfMany(arg string) bool {
	if !isDir(arg) || strings.HasSuffix(filepath.Clean(arg), trailSuffix) || exists(filepath.Join(arg, "identity")) || exists(filepath.Join(arg, "head")) {
		return false
	}
	segments, err := filepath.Glob(filepath.Join(arg, "*.seg"))
	return err == nil && len(segments) == 0
}

// sources are the databases that were named, each with its place below --to: a database its name, one in a directory its
// path there.
func (o *shipOptions) sources() (list []sidecar.Source, err error) {
	named := map[string]sidecar.Source{}
	for _, arg := range o.args {
		src := o.disk.of(sidecar.Source{Capture: o.capture, To: o.to})
		if isDirectoryOfMany(arg) {
			if src.Dir, err = filepath.Abs(arg); err != nil {
				return nil, err
			}
			src.Key = below(src.Dir)
			list = append(list, src)
			continue
		}
		if src.Path, err = o.database(arg); err != nil {
			return nil, err
		}
		name := objstore.PathKey(filepath.Base(src.Path))
		switch other, taken := named[name]; {
		case taken && other.Path == src.Path:
			continue
		case taken:
			return nil, &hintError{
				usagef("%s and %s would both be shipped to %s/%s", other.Path, src.Path, storeName(o.to), name),
				"ship the directory that has both, or name them in a configuration for pagetrail run",
			}
		}
		named[name] = src
		src.Key = func(string) (string, error) { return name, nil }
		list = append(list, src)
	}
	return list, nil
}

// below names databases by their paths in a directory.
func below(dir string) func(path string) (string, error) {
	return func(path string) (string, error) {
		name, err := filepath.Rel(dir, path)
		return objstore.PathKey(filepath.ToSlash(name)), err
	}
}

// database is the path of the database that an argument means, which there is, or its trail.
func (o *shipOptions) database(arg string) (string, error) {
	if o.capture {
		if err := captured(arg); err != nil {
			return "", err
		}
	} else {
		trail, err := trailDir(arg)
		if err != nil {
			return "", err
		}
		if arg = databaseOf(trail); arg == "" {
			return "", &hintError{
				usagef("%s is a trail that was put elsewhere: of which database it is, is not to be seen", trail),
				"ship it alone, or name both in a configuration for pagetrail run",
			}
		}
	}
	return filepath.Abs(arg)
}

// runMany ships databases as pagetrail run does, without a configuration.
func (o *shipOptions) runMany(ctx context.Context, env *Env) (err error) {
	sources, err := o.sources()
	if err != nil {
		return err
	}
	keys, err := env.keys()
	if err != nil {
		return err
	}
	u, err := url.Parse(o.to)
	if err != nil {
		return &usageError{err}
	}
	if err := belowAnother(ctx, u.JoinPath("any"), "what is shipped below "+storeName(o.to)); err != nil {
		return err
	}
	level := slog.LevelInfo
	if env.quiet || o.once {
		level = slog.LevelWarn
	}
	log := slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: level}))
	s, err := sidecar.New(ctx, &sidecar.Options{
		Sources: sources, Open: stores.Open, Seal: sealWith(keys), StoreName: storeName,
		Name: o.name, Mend: o.mend, Interval: o.interval, Grace: o.grace, Limit: o.rate(), Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ship := s.Run
	if o.once {
		ship = s.Once
	}
	err = ship(ctx)
	if o.once && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(unshipped(err), o.report(env, s))
}

// report says at the end what was shipped.
func (o *shipOptions) report(env *Env, s *sidecar.Sidecar) error {
	st := s.Status(func(*sidecar.DatabaseStatus) bool { return o.json })
	for _, d := range st.List {
		line := struct {
			Database string `json:"database"`
			shipJSON
			Error string `json:"error,omitempty"`
		}{d.Path, newShipJSON(d.Archive, d.Result), d.Error}
		line.Last = d.Shipped
		if err := writeJSON(env.Out, line); err != nil {
			return err
		}
	}
	databases := ui.Plural(st.Databases, "database", "databases")
	switch t := st.Totals; {
	case st.Databases == 0 && o.capture:
		return withHint(kindf(journal.ErrNotFound, "there is no database in %s", strings.Join(o.args, ", ")), "a file that does not begin as SQLite's do is not taken for one")
	case st.Databases == 0:
		return withHint(kindf(journal.ErrNotFound, "there is no database with a trail in %s", strings.Join(o.args, ", ")),
			"a trail begins when a program writes to a database with ?vfs=pagetrail; with --capture those of other programs are shipped")
	case t.Batches+t.Bases == 0:
		env.notice("%s: nothing was shipped", databases)
	default:
		env.notice("%s: shipped %s in %s, %s", databases, ui.Plural(t.Transactions, "transaction", "transactions"), ui.Plural(t.Batches, "batch", "batches"), ui.Bytes(t.Bytes))
	}
	return nil
}
