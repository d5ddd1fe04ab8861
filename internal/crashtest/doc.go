// Package crashtest proves that a trail and its database agree after anything.
//
// It has no code but tests. They work through the VFS on the simulated disk of
// internal/crashfs, cut its power (or kill the process, or fail a call) at
// every moment that makes a difference, reopen what is left, and compare:
//
//   - the trail replays, and gives the database, byte for byte;
//   - every transaction that SQLite kept is in it, by itself;
//   - none is in it that SQLite did not keep;
//   - TXIDs are dense.
//
// What SQLite kept is asked of the driver without our VFS, on another clone of
// the same disk. Each transaction of the work writes its number into a row, so
// that the answer is a number.
//
// Beside those cuts there are: transactions over several attached databases,
// cut off and killed (TestAttached); every kind of call on every kind of file
// failed in every way that makes sense, as listed in testdata/faults.txt
// (TestFaults), and the wal-index as SQLite itself uses it (TestWALIndexFaults;
// nothing of the database is ever mapped into memory, since the VFS offers no
// mapping); connections and processes that die (TestDyingConnection,
// TestDeadProcess, TestStop, TestKilledProcess); other programs that write as
// well (TestOutsiders, TestForeignCheckpoint); and four processes that write one
// database and are killed at random (TestWriters).
//
// With synchronous=OFF a power cut may destroy a database, our VFS or not. Then
// only this is asked: that we do not crash, and that trail and database agree
// when the file can still be written to.
//
// Environment:
//
//	PAGETRAIL_CUTS=100000      power cuts for each combination of modes, instead of a few thousand
//	PAGETRAIL_SEED=0x1234      begin with this seed, as printed by a failure
//	PAGETRAIL_FAULTS=60        places of each kind of call that are failed, instead of 2
//	PAGETRAIL_KILLS=100        real processes killed for each combination of modes, instead of 8
//	PAGETRAIL_WRITERS=1m       how long the four processes write, instead of a few hundred transactions
package crashtest
