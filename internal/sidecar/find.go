package sidecar

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// archiveName is where an archive is.
type archiveName struct{ to, key string }

// find looks for databases, and notes which are gone.
func (s *Sidecar) find() {
	found := map[string]Source{}
	for _, src := range s.sources {
		for _, path := range s.paths(src) {
			if _, twice := found[path]; !twice { // the first one counts
				found[path] = src
			}
		}
	}
	for path, e := range s.entries {
		src, ok := found[path]
		if !ok || !s.same(e, src) {
			e.gone = true
		}
		switch {
		case !e.gone || e.stage != resting:
		case e.unnamed: // it never was under way
			s.drop(e)
		default:
			s.wake(e)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		if s.entries[path] == nil {
			s.add(path, found[path])
		}
	}
}

// same says that the settings of an entry are still those of its source.
func (s *Sidecar) same(e *entry, src Source) bool {
	key, err := s.keyOf(e.path, src)
	return (err != nil) == e.unnamed && key == e.key && trailOf(e.path, src) == e.trail &&
		src.To == e.src.To && src.Capture == e.src.Capture && src.Keep == e.src.Keep && src.KeepBytes == e.src.KeepBytes && src.Quota == e.src.Quota
}

// keyOf is the name of a database's archive in its store, and an error if that is another's: nothing of the second is begun.
func (s *Sidecar) keyOf(path string, src Source) (string, error) {
	key, err := src.Key(path)
	if err != nil {
		return "", err
	}
	if other, taken := s.names[archiveName{src.To, key}]; taken && other != path {
		return "", fmt.Errorf("its archive would be %s, which is that of %s: give it another name", key, other)
	}
	return key, nil
}

// paths are those of a source's databases.
func (s *Sidecar) paths(src Source) []string {
	switch {
	case src.Glob != "":
		list, _ := filepath.Glob(src.Glob) // the pattern was checked
		return list
	case src.Dir != "":
		return s.below(src)
	}
	return []string{src.Path}
}

// trailSuffix makes the trail's name out of its database's.
const trailSuffix = "-pagetrail"

// below finds the databases below a directory. Hidden files are left alone: those are what somebody is at work on, such as
// hydrate.
func (s *Sidecar) below(src Source) (list []string) {
	files := os.DirFS(src.Dir) // through a symbolic link as well
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		path := filepath.Join(src.Dir, filepath.FromSlash(name))
		if err != nil {
			s.sayUnread(path, err)
			return nil
		}
		hidden := strings.HasPrefix(d.Name(), ".") && name != "."
		db, isTrail := strings.CutSuffix(path, trailSuffix)
		switch {
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir() && isTrail:
			if _, err := fs.Stat(files, name+"/identity"); err == nil {
				list = append(list, db)
			}
			return fs.SkipDir
		case src.Capture && d.Type().IsRegular() && !hidden && (s.entries[path] != nil || s.isDatabase(files, name, path)):
			list = append(list, path)
		}
		return nil
	})
	return list
}

// isDatabase says that a file begins as databases do. See https://sqlite.org/fileformat2.html#the_database_header.
func (s *Sidecar) isDatabase(files fs.FS, name, path string) bool {
	f, err := files.Open(name)
	if err != nil {
		s.sayUnread(path, err)
		return false
	}
	defer f.Close()
	b := make([]byte, len(sqlitefile.Magic))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == sqlitefile.Magic
}

// sayUnread says once of what may not be read that no databases are found there.
func (s *Sidecar) sayUnread(path string, err error) {
	if errors.Is(err, fs.ErrNotExist) || s.unread[path] {
		return
	}
	s.unread[path] = true
	s.log.Warn("this could not be looked into for databases", "path", path, "err", err)
}

func trailOf(path string, src Source) string {
	if src.Trail != "" {
		return src.Trail
	}
	return path + trailSuffix
}

func (s *Sidecar) add(path string, src Source) {
	e := &entry{path: path, src: src, trail: trailOf(path, src), root: s.roots[src.To]}
	e.ship.e, e.watch.e = e, e
	key, err := s.keyOf(path, src)
	if err != nil {
		s.log.Error("a database cannot be shipped", "database", path, "err", err)
		e.unnamed, e.stopped, e.status.State, e.status.Error = true, true, Stopped, err.Error()
	} else {
		e.key = key
		s.names[archiveName{src.To, key}] = path
		e.remember()
		e.status.State = Waiting
		if e.marked {
			e.status.State, e.status.Trail, e.status.Shipped = Resting, e.mark.Last, e.mark.Last
		}
		if e.stirs() {
			e.status.State = Active
			s.wake(e)
		}
		s.sayMissing(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[path] = e
}

// sayMissing says of a database that was named what is waited for: it may be a mistake.
func (s *Sidecar) sayMissing(e *entry) {
	if e.src.Path == "" {
		return
	}
	_, err := os.Stat(e.path)
	_, terr := os.Stat(filepath.Join(e.trail, "identity"))
	switch {
	case errors.Is(err, os.ErrNotExist) && errors.Is(terr, os.ErrNotExist):
		s.log.Warn("a database is not there yet: it is waited for", "database", e.path)
	case errors.Is(terr, os.ErrNotExist) && !e.src.Capture:
		s.log.Warn("a database has no trail yet: its program is waited for to open it with ?vfs=pagetrail; for one that will not, set capture: true",
			"database", e.path, "trail", e.trail)
	}
}
