package vfs

import (
	"net/url"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	passiveFrames = 1000  // frames in the WAL from which a passive checkpoint runs, SQLite's own default
	restartFrames = 4000  // ... from which writers are held for a moment so that the WAL can begin anew
	overdueFrames = 16000 // ... from which they are, however many frames there are left to copy
	roleParam     = "pagetrail_role"

	// patience is how long a checkpoint that is to begin the WAL anew waits for
	// writers, and then holds them, for readers of the old one.
	patience = 100 * time.Millisecond
)

// connect is called for each new connection of the process: one whose database
// has a checkpointer leaves checkpoints to it.
func connect(c *sqlite3.Conn) error {
	name := c.Filename("main")
	if name.String() == "" {
		return nil
	}
	db, err := of(name.DatabaseFile())
	if err != nil || db.f.checkpointer == nil {
		return nil
	}
	return c.WALAutoCheckpoint(0)
}

// checkpointer runs the checkpoints of one database on a connection and a
// goroutine of its own, so that no commit has to.
//
// A passive checkpoint never waits for anybody and makes nobody wait, but the
// WAL begins anew only when a writer finds all of it copied. Under steady
// writes that moment may never come; so when the WAL has grown to
// restartFrames the writers are held while its last frames are copied.
type checkpointer struct {
	key  string
	refs int // guarded by checkpointers.mu
	dsn  string
	wake chan struct{}
	done chan struct{}
}

var checkpointers = struct {
	mu sync.Mutex
	m  map[string]*checkpointer
}{m: map[string]*checkpointer{}}

func acquireCheckpointer(vfs, path string, params url.Values) *checkpointer {
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
			key: key, dsn: (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String(),
			wake: make(chan struct{}, 1), done: make(chan struct{}),
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

// committed is called after each commit; it never waits.
func (c *checkpointer) committed() {
	select {
	case c.wake <- struct{}{}:
	default:
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
		if conn == nil {
			var err error
			if conn, err = sqlite3.OpenFlags(c.dsn, sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI); err != nil {
				conn = nil
				continue
			}
			conn.BusyTimeout(patience)
		}
		c.checkpoint(conn)
	}
}

// checkpoint copies what there is to copy. Errors are left to the next one: a
// checkpoint that did not happen loses nothing.
func (c *checkpointer) checkpoint(conn *sqlite3.Conn) {
	frames := walFrames(conn)
	if frames < passiveFrames {
		return
	}
	log, copied, err := conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	if err == nil && log < 0 {
		// The connection has not read yet, so it does not know of the WAL.
		if err = conn.Exec("PRAGMA schema_version"); err == nil {
			log, copied, err = conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		}
	}
	if err == nil && log >= restartFrames && (log-copied < passiveFrames || log >= overdueFrames) {
		conn.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
	}
}

// walFrames is the number of frames in the WAL, from its wal-index; 0 when
// there is none.
func walFrames(conn *sqlite3.Conn) int {
	db, err := of(conn.Filename("main").DatabaseFile())
	if err != nil {
		return 0
	}
	return db.f.db.WALFrames()
}
