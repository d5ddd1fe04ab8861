package sidecar

import (
	"errors"
	"os"
	"path/filepath"
)

// find looks for databases, and notes which are gone.
func (s *Sidecar) find() {
	found := map[string]Source{}
	for _, src := range s.sources {
		paths := []string{src.Path}
		if src.Glob != "" {
			paths, _ = filepath.Glob(src.Glob) // the pattern was checked
		}
		for _, path := range paths {
			if _, twice := found[path]; !twice { // the first one counts
				found[path] = src
			}
		}
	}
	for path, e := range s.entries {
		src, ok := found[path]
		if !ok || !e.same(src) {
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
	for path, src := range found {
		if s.entries[path] == nil {
			s.add(path, src)
		}
	}
}

// same says that the settings of an entry are still those of its source.
func (e *entry) same(src Source) bool {
	key, err := src.Key(e.path)
	return (err != nil) == e.unnamed && key == e.key && src.To == e.src.To && src.Capture == e.src.Capture && src.Keep == e.src.Keep && trailOf(e.path, src) == e.trail
}

func trailOf(path string, src Source) string {
	if src.Trail != "" {
		return src.Trail
	}
	return path + "-pagetrail"
}

func (s *Sidecar) add(path string, src Source) {
	e := &entry{path: path, src: src, trail: trailOf(path, src), root: s.roots[src.To]}
	e.ship.e, e.watch.e = e, e
	key, err := src.Key(path)
	if err != nil {
		s.log.Error("a database cannot be shipped", "database", path, "err", err)
		e.unnamed, e.stopped, e.status.State, e.status.Error = true, true, Stopped, err.Error()
	} else {
		e.key = key
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
	if e.src.Glob != "" {
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
