// Package vfs captures every committed transaction of a SQLite database.
//
// It is a [SQLite VFS] for [github.com/ncruces/go-sqlite3]. One import and one
// change of the DSN are all it takes:
//
//	import (
//		_ "github.com/ncruces/go-sqlite3/driver"
//		_ "github.com/pagetrail/pagetrail/vfs"
//	)
//
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=pagetrail")
//
// From then on each commit is appended, as a patch of the pages it changed, to
// the trail: the directory app.db-pagetrail. `pagetrail hydrate` makes the
// database of any transaction or moment out of it, bit for bit.
//
// # What is guaranteed
//
// The database stays a plain SQLite file, with the bytes it would have without
// this package: no tables, no changed pragmas, no forced checkpoints. Leave
// ?vfs=pagetrail away and it is an ordinary database; what programs without the
// VFS write to it is noticed at the next write through it and recorded as one
// transaction.
//
// The trail has exactly the transactions that SQLite has. It is as durable as
// SQLite itself is in the same mode: synced with the database in rollback
// modes; in WAL mode, where a commit is not synced (synchronous=NORMAL) or only
// the WAL is, the WAL rebuilds what a crash takes from the trail's end, and the
// trail is synced before a checkpoint gives the WAL up. No sync is added to a
// commit.
//
// A panic in a callback of the application, or of ours, becomes an error.
//
// All journal modes, page sizes, synchronous and locking_mode settings are
// captured, and transactions over several attached databases. Databases in
// memory, temporary databases and tables pass through untouched.
//
// # When the trail cannot be written
//
// Its disk may be full, fail, or be mounted read-only, or the trail may have
// reached its quota=, which bounds what it takes there. What becomes of commits
// then is the database's policy, in any case without a loss:
//
//   - full=refuse, the default: the commit fails with SQLITE_FULL (READONLY,
//     IOERR) and is rolled back. In WAL mode, where a commit does not write the
//     trail, it is the first write transaction after one that could not be
//     recorded; that one stays in the WAL, which no checkpoint overwrites and
//     no further transaction makes longer. In journal_mode=OFF nothing can be
//     rolled back: what failed is in the database, and is recorded when there
//     is room.
//   - full=detach: commits go on without the trail, checkpoints too. The next
//     write after there is room again takes in what is missing: one by one what
//     the WAL still has, else as one catch-up record, whose note says how many
//     transactions it merges, from when to when, and why. PRAGMA
//     pagetrail_status and `pagetrail status` say that the trail is left behind;
//     a position or a restore point is an error meanwhile.
//
// A trail that is damaged, or of another database, has commits refused under
// either policy. Every change of state is logged once, to log/slog's default logger
// or Options.Log; PRAGMA pagetrail_status names the problem while it lasts.
//
// # Settings
//
// Parameters of the DSN, for one database:
//
//	trail=DIR              where the trail is; relative to the database's directory;
//	                       default: the database's name + "-pagetrail"
//	checkpoint=background  checkpoints run on a connection and goroutine of their
//	                       own, so that no commit does one; the WAL stays bounded, for
//	                       which a commit that finds 4,000 frames in it waits for one
//	encode=inline          in WAL mode, encode within the commit instead of beside
//	                       it: later commits never fail for an earlier one
//	full=refuse|detach     when the trail cannot be written, see above
//	quota=SIZE             how much the trail may take on its disk: 500MB, 2GiB; default:
//	                       as much as there is
//	sync=remote            COMMIT waits until the transaction is acknowledged elsewhere, see
//	                       below; sync=local does without
//	sync_timeout=TIME      how long it waits at most; default 10s
//	unacknowledged=error|continue  what COMMIT says when it waited in vain, see below
//
// [Register] makes VFSes with other defaults, or over another VFS than the
// operating system's, one that encrypts for instance.
//
// PRAGMAs, each also to be had in Go by [Of] and [Raw]:
//
//	PRAGMA pagetrail_txid            the last committed transaction
//	PRAGMA pagetrail_position        database, timeline, TXID and state checksum, JSON
//	PRAGMA pagetrail_status          how the capture is doing, JSON, see [Status]
//	PRAGMA pagetrail_note='text'     attach a note to this connection's next transaction; '' takes it back
//	PRAGMA pagetrail_point='name'    name the last transaction: a restore point
//
// # Commits that wait for elsewhere
//
// With sync=remote COMMIT returns when Options.Acknowledge has, which the VFS must
// have been registered with: for an archive, give ship.Run of journal/ship in the
// same process an Acks, and its method here. A shipper in another process, such as
// `pagetrail ship`, does not tell this one how far it is: with one of those use
// sync=local, or an Acknowledge of your own.
//
// In WAL mode the wait is without locks, so that commits of other connections go
// on and share an acknowledgement. In rollback modes the database stays locked
// until it has come: one at a time.
//
// What was not acknowledged in time, or was refused, is committed here all the
// same, and will be shipped when it can be: nothing is taken back, because others
// may have read it. With unacknowledged=error COMMIT then returns
// [ErrUnacknowledged], and the transaction must not be repeated; with continue it
// succeeds. Options.Log is told the reason. Of a transaction over several attached
// databases that has a super-journal SQLite does not pass on errors that come so
// late, so it is as with continue; of other transactions, what they wrote to
// temporary tables is rolled back by the error.
//
// # First use on an existing database
//
// The first write through the VFS copies the database into the trail as its
// base, under SQLite's write lock: readers go on, other writers wait. See
// Options.Progress.
//
// # Moving and copying
//
// The trail belongs to the database by its place. Whoever renames, moves or
// copies app.db while no program has it open does the same with
// app.db-pagetrail; a database without its trail begins a new one, with a new
// identity, and does not go on in the archive of the old. A trail without its
// database is still read: `pagetrail hydrate` brings the database back. Of two
// copies that are both written to, each has its own history from there on, and
// only one of them goes on in an archive.
//
// # Replicas
//
// A database that `pagetrail follow` keeps in step with another, which is one
// that has a file with -pos behind its name beside it, is not captured but
// guarded: it can be read, and writes fail with SQLITE_READONLY, also while no
// follower runs. A program reads what it wrote to the primary by handing on the
// position (PRAGMA pagetrail_position) and waiting for it:
//
//	PRAGMA pagetrail_txid            the last transaction that readers see
//	PRAGMA pagetrail_position        its position, JSON
//	PRAGMA pagetrail_wait='P [D]'    wait until readers that begin now see position P, for at most D
//
// P is a TXID, a position in JSON or its token ([journal.Position.Token]), D a
// duration, 10s if it is not given. It is asked for outside of a transaction:
// one that has begun sees what it saw. `pagetrail promote` makes a primary out
// of a replica; a connection that was opened before stays one that only reads.
//
// # Concurrency
//
// Any number of connections, goroutines and processes may write a database,
// as SQLite allows. All of them should use the VFS. For those that cannot, in
// WAL mode, there is [Watch], from the same or another process.
//
// # Requirements
//
// The locks of the operating system's VFS must be those of C SQLite: do not
// build with the tags sqlite3_flock or sqlite3_dotlk when other programs use
// the database. Network file systems are not supported, as for SQLite's WAL.
//
// [SQLite VFS]: https://sqlite.org/vfs.html
package vfs
