package vfs

import (
	"errors"
	"log/slog"
	"net/url"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

const (
	passiveFrames = 1000 // frames to copy from which a checkpoint runs, SQLite's own default
	holdFrames    = 4000 // frames in the WAL from which commits wait for one, so that the WAL can begin anew
	roleParam     = "pagetrail_role"
	roleWatcher   = "watcher" // a Watcher's connection
)

// connect is called for each new connection of the process: one whose database
// has a checkpointer leaves checkpoints to it. A program that sets
// wal_autocheckpoint or a WAL hook of its own takes them back.
func connect(c *sqlite3.Conn) error {
	name := c.Filename("main")
	if name.String() == "" {
		return nil
	}
	db, err := of(name.DatabaseFile())
	if err != nil || db.f.checkpointer == nil {
		return nil
	}
	c.WALHook(walHook)
	return nil
}

// walHook is called after a commit to the WAL of schema, which has frames now,
// when the connection has no lock any more. See https://sqlite.org/c3ref/wal_hook.html.
func walHook(c *sqlite3.Conn, schema string, frames int) error {
	db, err := of(c.Filename(schema).DatabaseFile())
	if err == nil && db.f.checkpointer != nil {
		db.f.checkpointer.committed(frames)
		return nil
	}
	// An attached database without a checkpointer: what SQLite does by default.
	if frames >= passiveFrames {
		_, _, err = c.WALCheckpoint(schema, sqlite3.CHECKPOINT_PASSIVE)
		if errors.Is(err, sqlite3.BUSY) {
			return nil // somebody else is at it
		}
		return err
	}
	return nil
}

// checkpointer runs the checkpoints of one database on a connection and a
// goroutine of its own, so that no commit has to.
//
// All its checkpoints are passive: they wait for nobody and make nobody wait.
// But the WAL begins anew only when a writer finds all of it copied, and under
// steady writes that moment may never come. So when the WAL has grown to
// holdFrames a commit, which has happened by then and holds no lock, returns
// only after a round that began after it. With every writer of the process
// waiting there, the round copies all, and the next commit begins the WAL anew.
//
// If a reader, or the writer of another process, is in the way, the round ends
// all the same. The next commit to wait is the one passiveFrames later, and the
// WAL grows meanwhile, as it does with SQLite's own checkpoints.
type checkpointer struct {
	key  string
	path string
	refs int // guarded by checkpointers.mu
	dsn  string
	log  *slog.Logger
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	next   chan struct{} // closed at the end of the round that has not begun yet
	times  int           // that the WAL began anew
	frames int           // in the WAL, after the last commit
	copied int           // of them, as far as the last round knew
	hold   int           // frames in the WAL from which a commit waits
}

var checkpointers = struct {
	mu sync.Mutex
	m  map[string]*checkpointer
}{m: map[string]*checkpointer{}}

func acquireCheckpointer(vfs, path string, params url.Values, log *slog.Logger) *checkpointer {
	if params.Get(roleParam) != "" {
		return nil // the checkpointer's own connection
	}
	checkpointers.mu.Lock()
	defer checkpointers.mu.Unlock()
	key := vfs + "\x00" + path
	c := checkpointers.m[key]
	if c == nil {
		q := url.Values{}
		for k, v := range params {
			q[k] = v
		}
		q.Set("vfs", vfs)
		q.Set(roleParam, "checkpointer")
		c = &checkpointer{
			key: key, path: path, dsn: fileURL(path, q),
			log: log, wake: make(chan struct{}, 1), done: make(chan struct{}),
			next: make(chan struct{}), hold: holdFrames,
		}
		checkpointers.m[key] = c
		go c.run()
	}
	c.refs++
	return c
}

// release ends the checkpointer with its last user, and waits for it: its
// connection is the one that deletes the WAL then.
func (c *checkpointer) release() {
	checkpointers.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last {
		delete(checkpointers.m, c.key)
	}
	checkpointers.mu.Unlock()
	if last {
		close(c.wake)
		<-c.done
	}
}

// committed is called after a commit that left so many frames in the WAL.
func (c *checkpointer) committed(frames int) {
	c.mu.Lock()
	if frames < c.frames { // the WAL began anew
		c.times++
		c.copied, c.hold = 0, holdFrames
	}
	c.frames = frames
	wait, round := frames >= c.hold, c.next
	if wait {
		c.hold = frames + passiveFrames
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default: // a round that has not begun yet is on its way
	}
	if wait {
		<-round
	}
}

func (c *checkpointer) run() {
	defer close(c.done)
	var conn *sqlite3.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for range c.wake {
		c.mu.Lock()
		round, due, times := c.next, c.due(), c.times
		c.next = make(chan struct{})
		c.mu.Unlock()
		if due {
			var copied int
			var err error
			if conn, copied, err = c.checkpoint(conn); err != nil {
				c.log.Warn("checkpoint in the background", "database", c.path, "err", err)
			}
			c.mu.Lock()
			if c.times == times {
				c.copied = max(c.copied, copied)
			}
			c.mu.Unlock()
		}
		close(round)
	}
}

// due says that there is enough to copy: in a WAL of usual size some, so that a
// page that is written often is copied seldom, in a large one whatever is left.
func (c *checkpointer) due() bool {
	left := c.frames - c.copied
	return left >= passiveFrames || left > 0 && c.frames >= holdFrames
}

// checkpoint copies what there is to copy, on conn or, if that is nil, on a new
// connection. It returns the connection and how many frames of the WAL are
// copied now, 0 if that is not known: the next round sees.
func (c *checkpointer) checkpoint(conn *sqlite3.Conn) (_ *sqlite3.Conn, copied int, err error) {
	if conn == nil {
		if conn, err = sqlite3.OpenFlags(c.dsn, sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI); err != nil {
			return nil, 0, err
		}
	}
	log, copied, err := conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	if err == nil && log < 0 {
		// The connection has not read yet, so it does not know of the WAL.
		if err = conn.Exec("PRAGMA schema_version"); err == nil {
			log, copied, err = conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		}
	}
	switch {
	case errors.Is(err, sqlite3.BUSY):
		return conn, 0, nil // somebody else is at it
	case err != nil || log < 0:
		return conn, 0, err
	}
	return conn, copied, nil
}
