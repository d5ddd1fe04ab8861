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
// With synchronous=OFF a power cut may destroy a database, our VFS or not. Then
// only this is asked: that we do not crash, and that trail and database agree
// when the file can still be written to.
//
// Environment:
//
//	PAGETRAIL_CUTS=100000      power cuts for each combination of modes, instead of a few thousand
//	PAGETRAIL_SEED=0x1234      begin with this seed, as printed by a failure
package crashtest
