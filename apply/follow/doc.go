// Package follow keeps a database file in step with the trail of another, while
// programs that know nothing of it, C SQLite, Python, Go, read the file.
//
// The smallest use follows until the context ends:
//
//	trail, err := journal.Open("app.db-pagetrail", nil)
//	…
//	err = follow.Run(ctx, "replica.db", follow.TrailSource(trail, ""), nil)
//
// [Open] and [Replica.CatchUp] are the same in single steps. Transactions come
// through a [Source]; a trail in a directory is one, and so is an archive. While
// a source cannot be reached the replica stays as it is, and Run asks again.
//
// # The universal WAL
//
// Readers of SQLite look into a write-ahead log whenever there is one that is
// not empty, whatever journal mode the database's header names. So any database
// can be followed into by being the one writer of such a log: readers get
// snapshots, never wait and never hold the writer up, and the file itself stays
// bit by bit what the primary's is, header included. The files are
//
//	R       the database
//	R-wal   frames of pages, each transaction's last one holding its position
//	R-shm   SQLite's wal-index: which frames there are, who reads up to where
//	R-pos   a lower bound of the position, for when there is no frame
//
// # Attaching
//
//  1. Without R, the source's last state is written to a temporary file, synced,
//     its position to R-pos, and the file given the name, never over one that is
//     there.
//  2. R is opened and SQLite's SHARED lock taken for life: nobody can change the
//     journal mode, delete the WAL at the last close, or lock exclusively. A hot
//     journal beside R is refused: it is SQLite's to roll back. Without R-pos, R
//     must be a file that nobody has open: else it may be a primary.
//  3. Where R's header names a rollback mode and there is no WAL, its header is
//     written and synced under EXCLUSIVE, at a moment when nobody reads.
//  4. R-shm is opened by SQLite's dead man's switch, and WAL_WRITE_LOCK taken for
//     life: other writers are told that the database is locked.
//  5. If the two copies of the index's header differ, or do not fit the log, a
//     writer died between them: the index is rebuilt from the log as SQLite
//     would, touching only words that differ.
//  6. All of the replica is read and its checksum taken. The position is that of
//     the last frame if the checksum is the same; else that of R-pos; else that
//     of the first transaction after R-pos's that has the checksum, since a
//     reader may have checkpointed and removed the WAL of a follower that died.
//     If none has, another program wrote to R, which is put right (see below),
//     or, when nothing says that R was a replica at all, refused.
//
// # Applying
//
//  1. Patches are decoded against the replica's own pages, and the outcome's
//     checksum must be the one in the record. Up to here no file is written.
//     Then the next transaction, up to a batch: they become one commit.
//  2. The header in R-shm must be what was written there last.
//  3. If all frames are in R and nobody reads them (CKPT and READ1 to 4 are to be
//     had), the WAL begins anew: lower bound written and synced, header with no
//     frames and other salts published.
//  4. The first commit after that writes and syncs the WAL's header, before any
//     frame can be there.
//  5. The frames are written, each page once. Pages that the transaction adds
//     without a patch are written as zeros, because older frames and R itself
//     may have something else in their place. The last frame has the position,
//     under a page number that no database has, and makes all of it a commit.
//  6. The hash tables get the new frames, then copy 1 of the header is written,
//     and after a memory barrier copy 0: now readers that begin see them.
//  7. If READ1 is free its mark is moved up, for readers that cannot write R-shm.
//  8. [Events.Applied] is told. No reader that begins later sees less.
//
// # Checkpoints
//
// Every thousand frames or so: CKPT; the farthest frame that no reader's mark is
// before; READ0; WAL synced; pages written to R; when that was all of them, R
// cut to its size and synced and the lower bound written; the number of frames
// copied. Nobody is waited for. But readers that overlap would let the WAL grow
// for ever, so at a limit (16 MiB) the follower stops for up to 2 s, in which
// new readers need no frames and the old ones end. With a reader that does not
// end it goes on after that, and the WAL grows until it does.
//
// A transaction with another page size needs a WAL of its own: it waits until
// readers of the old size end their transactions, for as long as that takes, and
// [Events.Waiting] is told.
//
// # Repair
//
// Where patches do not help, the replica becomes the source's state by writing
// the pages that differ, in one commit, so readers see whole states only: when
// another program wrote to R, when the source no longer holds the transactions
// that are missing, and for records of kind Base.
//
// A write of another program while this one follows is impossible through
// SQLite. Bytes changed behind SQLite's back are found when a transaction builds
// on them, or by the next attach.
//
// # A source that is behind
//
// A load balancer may lead to a relay that lags. A replica that is ahead of its
// source stays as it is and waits, see [BehindError], as long as the source's last
// transaction is, by its checksum, the one that led to what the replica has. That
// is known of the last thousand that this process applied, and of those in the
// replica's own trail; otherwise it is looked at when the source has as many
// transactions: then another history is a [journal.ErrDiverged]. So is another
// timeline, at once.
//
// # Positions
//
// [Where] says what readers of a replica see, [Wait] waits until they see what
// was written to the primary, in whatever process the follower is; so does
// PRAGMA pagetrail_wait of package vfs, and package session carries positions
// from one HTTP request to the next. A [Monitor] tells how far behind a replica
// is, and how long its source has been silent.
//
// # The replica's own trail
//
// With [Options.Trail] the follower writes a trail of its own, of what it
// applied: past states can be had from it here, and it can be shipped, served
// and followed as the primary's can, so that followers need not all ask the
// primary. A transaction is there when it was checked, just before readers see
// it, and durable before the replica's WAL is made so. A follower that finds the
// trail behind, ahead or lost brings it in step; where transactions cannot be had
// any more, or come folded, or the source never had what it holds, the trail gets
// another name and a new one begins, which [Events.TrailBegun] tells. When the source goes on to the next timeline,
// as after a takeover, so does the trail, and what only it has becomes a branch of
// it, if that is in the segment that still grows. Restore points do not come through a Source,
// so there are none in it.
//
// # What is promised
//
//   - Readers see whole transactions, in their order. What was announced is what
//     they see. They never wait for the follower, save those without a busy
//     timeout that open R in the moment in which Close looks whether it is alone.
//   - A transaction that does not lead to the state its record names changes no
//     byte of any file, and the error says which one it was.
//   - Killed at any moment, the next follower goes on. After a power cut the
//     replica is a state of the history, perhaps an older one; with
//     [Options.SyncEachCommit] none that is older than what was announced. This
//     asks of the source that it still has, or gets again, what was applied.
//   - Close leaves one file, if no reader is there; else the last reader to close
//     does. That file is byte for byte the primary's after a checkpoint.
//
// Memory is bounded: the pages of a batch, [Options.MemoryBytes] of those of a
// large transaction, a cache of 8 MiB, and about 150 bytes a page that is in the
// WAL or on its way there.
//
// Not covered: readers with immutable=1 or nolock=1, SQLite built without WAL,
// network file systems, and copies of R without R-wal made while it is followed
// into. A reader that keeps a prepared statement notices a new schema by the
// schema cookie, as always.
//
// Linux and macOS only, for the sake of locks that belong to a descriptor and
// not to the process; elsewhere Open returns an [errors.ErrUnsupported]. In a
// program that also uses SQLite through cgo, that copy of SQLite must not open
// the replica: its locks belong to the process.
package follow
