// Package capture records the transactions of a SQLite database in its trail.
//
// It knows SQLite's commit protocols and no SQLite driver. A front end, the
// package vfs for SQLite in Go, tells a [Conn] what a connection is about to do
// with its files, and the Conn appends to the trail what that commits. All
// connections of a process to one database share a [DB].
//
// # Rollback modes
//
// See https://sqlite.org/atomiccommit.html for what SQLite does. The events,
// in order:
//
//	lock RESERVED    Conn.Reserved    nobody else can commit: trail and database are compared (page 1)
//	write page       Conn.Write       its first write keeps the pre-image
//	FCNTL_SYNC       Conn.Prepare     all pages are in the file: the record is appended, prepared
//	sync             Conn.Sync        the trail is synced beside the database
//	                                  ... SQLite deletes its journal: the commit point ...
//	COMMIT_PHASETWO  Conn.Committed   the record is confirmed
//	unlock           Conn.Unlock      without the former it was a rollback: the record is taken
//	                                  back, and what stayed changed is recorded as Physical
//
// A hot journal is played back under an EXCLUSIVE lock without RESERVED. Between
// its last page and its end FCNTL_SYNC comes as well, and trail and database are
// compared, since pages of the free-list are not restored.
//
// A record that was prepared and neither confirmed nor taken back is left by a
// process that died; the database tells whether SQLite kept its transaction,
// see DB.reconcile.
//
// # WAL
//
// The WAL itself is the durable source, so nothing is recorded before the
// commit, and no sync is added to it. Catch-up (DB.catchUp) turns the
// committed frames after the last recorded one into records, whoever wrote
// them. After a commit it runs on a goroutine beside the writer; before a
// checkpoint writes to the database, before the WAL begins anew, is cut or
// closed, and for whoever asks for a position it runs within the call. See
// https://sqlite.org/walformat.html.
//
// # A trail that cannot be written
//
// The [Policy] decides whether the commit is refused or goes on without the
// trail. In a rollback mode the moments are lock RESERVED, Prepare and Sync; a
// refusal there has SQLite roll back. In WAL mode they are the first frame of a
// transaction, and what would overwrite frames that are not recorded: a
// checkpoint, a new header, a cut. See permit and excuse.
//
// # The page table
//
// The file "pages" in the trail has a 128-bit hash of every page of the
// committed state. It makes the state checksum of a transaction the matter of
// a few additions, tells whether a pre-image is what the trail believes (else
// the page is recorded in full), and finds what outsiders changed by one scan.
// It is a cache: it is believed only as far as its sum is the state checksum,
// and rebuilt from the database otherwise.
//
// # Sealing
//
// Segments of the trail that have ended are compressed on a goroutine. Nobody
// waits for it, not even the close of the database: it is stopped, and what is
// left is taken up by the next process that writes. See the type sealing, also
// for the exception.
//
// # Locks
//
// In this order: SQLite's locks, DB.mu (connections of this process), the
// trail's lock (processes). No lock of SQLite is ever taken here, save the
// shared ones of a [Watch], which are never waited for. The goroutine that seals
// takes none of them, only the lock that Seal and Prune share.
package capture
