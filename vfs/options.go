package vfs

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/internal/bytesize"
	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// Options say how the databases of a VFS are captured. Nil and the zero value
// mean the defaults. The table in the package comment lists what a DSN can set
// for one database.
type Options struct {
	// Base is the name of the VFS beneath, through which all files of the
	// database are read and written; default the operating system's. With
	// another VFS, one that encrypts for instance, transactions of WAL mode are
	// encoded within their commit rather than beside it. The trail itself is
	// not encrypted by it.
	Base string

	// FS is the file system of the trail, and says that the files of Base are
	// there too, under the paths SQLite uses. Default the operating system's;
	// for tests with a simulated disk.
	FS durable.FS

	// SealBytes is how large the growing segment of a trail may become before
	// it is compressed; default 8 MiB, or an eighth of the quota if that is less.
	SealBytes int64

	// GroupBytes is how many bytes of pages are encoded at a time, with as many of
	// their old content and twice that for a transaction of many, and how many of
	// old content a transaction of a rollback mode keeps in memory: so it bounds
	// the memory that capture takes, however large a transaction is. Small groups
	// make large transactions take more of the trail, since what moved from one
	// to another is not found. Default: 16 MiB, and groups of 2 MiB for
	// transactions that do not fit into that.
	GroupBytes int

	// Checkpoint is "background" to run checkpoints on a connection and a
	// goroutine of their own instead of within commits. Default "": SQLite's
	// own way.
	Checkpoint string

	// Full is what becomes of commits when the trail cannot be written, because
	// its disk is full or fails: FullRefuse has them fail, FullDetach has them go
	// on without it until it can be written again. The package comment says more.
	// Default FullRefuse.
	Full string

	// Quota is how many bytes a trail may take on its disk. More is as if that
	// disk were full: then Full says what becomes of commits. At three quarters
	// of it whoever ships the trail is asked to remove what was shipped, until
	// half of it is left; package journal/ship does. The first base is as large
	// as the database, compressed, and a segment that is being sealed may go
	// beyond by as much as it has. Default: no limit.
	Quota int64

	// Sync is SyncRemote to have COMMIT return when Acknowledge has. Default "":
	// a commit never waits for anything but the local disk.
	Sync string

	// Acknowledge waits until the transaction at a position of a database is safe
	// elsewhere: in an archive (ship.Acks has such a method), or with a follower.
	// It is called after the commit, for several connections at a time.
	Acknowledge func(ctx context.Context, database string, at journal.Position) error

	// SyncTimeout limits that wait; default 10 s.
	SyncTimeout time.Duration

	// Unacknowledged is what becomes of a commit for which Acknowledge failed or
	// took too long. The transaction stands in any case: it is too late to take it
	// back, since others may have read it. UnacknowledgedError, the default, has
	// COMMIT return ErrUnacknowledged all the same; UnacknowledgedContinue has it
	// succeed. Log is told why either way.
	Unacknowledged string

	// Progress is called while the base of a database that existed before its
	// trail is written, with bytes done and in total. It is called with locks
	// held and must not use the database. Default: none.
	Progress func(database string, done, total int64)

	// Log receives what went wrong where no caller can be told, and changes by
	// outside writers: a line when something changes, never one a transaction.
	// Default: [slog.Default], as it is at the time. slog.DiscardHandler silences it.
	Log *slog.Logger
}

const checkpointBackground = "background"

// FullDetach is the value of Options.Full with which commits go on without the
// trail; FullRefuse the one with which they do not.
const (
	FullRefuse = "refuse"
	FullDetach = "detach"
)

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.Log == nil {
		opt.Log = slog.New(defaultLog{})
	}
	return opt
}

func (o *Options) progressOf(path string) func(done, total int64) {
	if o.Progress == nil {
		return nil
	}
	return func(done, total int64) { o.Progress(path, done, total) }
}

// params are what a DSN says of one database.
type params struct {
	trail      string
	checkpoint string
	inline     bool
	full       capture.Policy
	quota      int64
	remote     *remote
}

func parseParams(name *sqlitevfs.Filename, o Options) (p params, err error) {
	for given := range name.URIParameters() {
		if meant := misspelt(given); meant != "" {
			return p, fmt.Errorf("pagetrail: there is no setting %s=: write %s=", given, meant)
		}
	}
	p.checkpoint = o.Checkpoint
	if s := name.URIParameter("checkpoint"); s != "" {
		p.checkpoint = s
	}
	switch p.checkpoint {
	case "", "sqlite":
		p.checkpoint = ""
	case checkpointBackground:
	default:
		return p, fmt.Errorf("pagetrail: checkpoint=%s: want \"background\" or \"sqlite\"", p.checkpoint)
	}
	if p.remote, err = parseRemote(name.URIParameter, &o); err != nil {
		return p, err
	}
	switch s := name.URIParameter("encode"); s {
	case "", "beside":
	case "inline":
		p.inline = true
	default:
		return p, fmt.Errorf("pagetrail: encode=%s: want \"beside\" or \"inline\"", s)
	}
	full := o.Full
	if s := name.URIParameter("full"); s != "" {
		full = s
	}
	switch full {
	case "", FullRefuse:
	case FullDetach:
		p.full = capture.Detach
	default:
		return p, fmt.Errorf("pagetrail: full=%s: want %q or %q", full, FullRefuse, FullDetach)
	}
	p.quota = o.Quota
	if s := name.URIParameter("quota"); s != "" {
		if p.quota, err = bytesize.Parse(s); err != nil {
			return p, fmt.Errorf("pagetrail: quota=%w", err)
		}
	}
	p.trail = trailOf(name.String(), name.URIParameter("trail"))
	return p, nil
}

// settings are the names of our parameters in a DSN.
var settings = []string{"trail", "checkpoint", "encode", "full", "quota", "sync", "sync_timeout", "unacknowledged"}

// misspelt is the setting that was meant by a name that is none, "" if it is likely to be somebody else's. SQLite ignores
// what it does not know, and a database whose full=detach is not heeded is found out when the disk is full.
func misspelt(name string) string {
	if slices.Contains(settings, name) || strings.HasPrefix(name, "_") { // those are a driver's
		return ""
	}
	lower := strings.ToLower(name)
	for _, s := range settings {
		if lower == s || oneSlip(lower, s) {
			return s
		}
	}
	return ""
}

// oneSlip says that one letter was left out, doubled or added, mistaken, or exchanged with the next to get from b to a.
func oneSlip(a, b string) bool {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	a, b = a[n:], b[n:]
	switch {
	case a == "" || b == "":
		return len(a)+len(b) == 1
	case len(a) == len(b):
		return a[1:] == b[1:] || len(a) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
	}
	return a[1:] == b || a == b[1:]
}
