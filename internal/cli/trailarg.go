package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// trailSuffix makes the trail's name out of its database's.
const trailSuffix = "-pagetrail"

// openTrail finds the trail that an argument means and opens it for reading, as far as it can be read.
func openTrail(ctx context.Context, env *Env, arg string) (*openedTrail, error) {
	if isURL(arg) {
		return openArchive(ctx, env, arg)
	}
	return openDir(arg, openWhole)
}

// openScattered is openTrail for who reads pages here and there.
func openScattered(ctx context.Context, env *Env, arg string) (*openedTrail, error) {
	if isURL(arg) {
		return openArchiveBy(ctx, env, arg, archive.Options{Damaged: true, Scattered: true}, nil)
	}
	return openTrail(ctx, env, arg)
}

// openOften is openScattered for who does so again and again: the same parts of an archive are fetched once. What it
// keeps on disk is given up by end.
func openOften(ctx context.Context, env *Env, arg string) (t *openedTrail, end func() error, err error) {
	if !isURL(arg) {
		t, err = openTrail(ctx, env, arg)
		return t, func() error { return t.Close() }, err
	}
	var kept objstore.Store
	t, err = openArchiveBy(ctx, env, arg, archive.Options{Damaged: true, Scattered: true}, func(s objstore.Store) objstore.Store {
		kept = objstore.Kept(s, "")
		return kept
	})
	if err != nil && kept != nil {
		_ = kept.Close() // nobody reads it
	}
	return t, func() error { return errors.Join(t.Close(), kept.Close()) }, err
}

// openSound is openTrail for who goes on reading as the trail grows: damage of its end is an error, now and later.
func openSound(ctx context.Context, env *Env, arg string) (*openedTrail, error) {
	if isURL(arg) {
		return openSoundArchive(ctx, env, arg)
	}
	return openDir(arg, func(dir string) (*openedTrail, error) {
		t, err := journal.Open(dir, nil)
		return &openedTrail{Trail: t}, err
	})
}

func openDir(arg string, open func(dir string) (*openedTrail, error)) (*openedTrail, error) {
	dir, err := trailDir(arg)
	if err != nil {
		return nil, err
	}
	t, err := open(dir)
	if errors.Is(err, journal.ErrNotFound) && !exists(filepath.Join(dir, "identity")) {
		return nil, &hintError{kindf(journal.ErrNotFound, "%s is no trail: it has no file identity", dir), neighbours(dir, beginnings(dir))}
	}
	return t, err
}

// beginnings is the hint for a directory that is no trail: either it was one, or one never began.
func beginnings(dir string) string {
	if files, err := filepath.Glob(filepath.Join(dir, "*.seg")); err == nil && len(files) > 0 {
		return "but it has segments: " + commandLine("repair", dir) + " makes the identity again"
	}
	if exists(filepath.Join(dir, "head")) {
		return "it is an archive: name it by its URL, " + (&url.URL{Scheme: "file", Path: filepath.ToSlash(absolute(dir))}).String()
	}
	return "a trail begins when a program writes to the database with ?vfs=pagetrail"
}

// trailDir finds the trail that an argument means: the trail itself, or the database it belongs to.
// The database need not exist any more; that is when a trail is needed most.
func trailDir(arg string) (string, error) {
	if arg == "" {
		return "", usagef("the TRAIL|DB argument is empty")
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		return filepath.Clean(arg), nil
	case err == nil:
		return besideFile(arg, info)
	case !errors.Is(err, fs.ErrNotExist):
		// *fs.PathError names operation and path already.
		return "", err
	}
	beside := strings.TrimRight(arg, string(filepath.Separator)) + trailSuffix
	if isDir(beside) {
		return beside, nil
	}
	return "", withHint(kindf(journal.ErrNotFound, "%s: there is neither a trail of that name nor %s", arg, filepath.Base(beside)),
		"%s", neighbours(filepath.Dir(arg), "name the database, and its trail is found beside it, or name the trail's directory"))
}

// besideFile is for an argument that is a file: a database with its trail beside it, or by mistake a
// file out of a trail.
func besideFile(arg string, info fs.FileInfo) (string, error) {
	if beside := arg + trailSuffix; isDir(beside) {
		return beside, nil
	}
	// A database may be reached through a symbolic link; its trail lies where the file is.
	if target, err := filepath.EvalSymlinks(arg); err == nil && isDir(target+trailSuffix) {
		return target + trailSuffix, nil
	}
	if parent := filepath.Dir(arg); exists(filepath.Join(parent, "identity")) {
		hint := "the trail is the directory: " + parent
		if strings.HasPrefix(filepath.Base(arg), "torn-") {
			hint += "; this file is what a crash left of a write, in which there is nothing whole"
		}
		return "", &hintError{usagef("%s is a file of a trail, not a trail", arg), hint}
	}
	if !info.Mode().IsRegular() {
		return "", usagef("%s is neither a database nor a trail", arg)
	}
	return "", withHint(kindf(journal.ErrNotFound, "%s has no trail: there is no directory %s beside it", arg, filepath.Base(arg)+trailSuffix),
		"a trail begins when a program writes to the database with ?vfs=pagetrail, or without the VFS while pagetrail ship --capture, or run with capture: true, looks after it; if it lies elsewhere (trail=DIR), name that directory")
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// neighbours names the trails in a directory, for an argument that missed; otherwise is the hint
// when there are none.
func neighbours(dir, otherwise string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return otherwise
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), trailSuffix) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	switch {
	case len(found) == 0:
		return otherwise
	case len(found) > 5:
		found = append(found[:5], "…")
	}
	return "trails there: " + strings.Join(found, ", ")
}
