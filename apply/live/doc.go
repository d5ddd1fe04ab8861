// Package live reads a SQLite database beside the programs that use it, and
// compares it with its trail.
//
// The smallest use says whether a trail ends in the state that its database is
// in:
//
//	report, err := live.Compare(ctx, trail, "app.db", nil)
//	if err == nil && !report.Same() { … }
//
// A [Snapshot] is the committed state as SQLite would read it now: the database
// file, and over it the committed frames of the WAL. Nothing is written, no
// driver is used, and what other programs do meanwhile is kept out of it by the
// locks of an ordinary reader:
//
//	main file    SHARED           nobody writes it in a rollback mode, changes the mode, or removes the WAL
//	wal-index    dead man's switch, shared   nobody takes the index for one of the past
//	wal-index    WAL_READ_LOCK(0), shared    nobody checkpoints, and so nobody begins the WAL anew either
//
// They are waited for, for a bounded time ([Options.Wait]). While a snapshot is
// open, a writer in a rollback mode waits at its commit, as it does for any
// reader, and a WAL grows. A WAL that no program has open has no wal-index that
// could be locked; then the files are looked at again at the end, and the work
// begins anew when somebody came.
//
// A hot journal, left by a program that died within a transaction, is not
// played back, since that would be writing: [ErrHotJournal].
//
// Linux and macOS; on other systems every call is an error that is
// [errors.ErrUnsupported].
package live
