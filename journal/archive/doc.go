// Package archive is a trail in an object store: its names, the one object that changes, the fence between two
// writers, and a reader that is a [journal.Trail] like any other.
//
//	<prefix>/head                                      who writes; the only object that is ever replaced
//	<prefix>/<timeline>/0/<first TXID>.seg             batches: sealed segments, as package journal writes them
//	<prefix>/<timeline>/base/<TXID>.base               bases, byte for byte those of the trail
//
// Timelines are 8 hex digits, TXIDs 16, so that a list is in order. journal/FORMAT.md has the section.
//
// # Reading
//
// [Open] reads the head and one list, and presents the objects to package journal as the directory of a trail. So
// everything that reads trails reads archives: hydrate, verify, log. Objects come in pieces as they are needed and
// stay in a cache of bounded size.
//
// The name of the batch after the last is always known: it is that of the next transaction. So [journal.Trail.Refresh]
// follows an archive with one request for that name, and no list.
//
// # Writing, and the fence
//
// A [Writer] claims the head by compare-and-swap, and creates each batch under the name of its first transaction, if
// there is none of that name. Two writers that stand at the same transaction ask for the same name, and the store
// gives it to one. So whatever two writers believe, the archive is one history: each batch continues the one before,
// by its state checksum and by the hash of its last block. The head is not what keeps them apart, but what tells the
// loser by name who won, and stops it soon where nothing else would: both could ship the same history for long.
//
// The last to claim holds the archive, since the one before may be dead and nothing in a store says so. A writer
// claims only after it has seen that the archive's last transaction is its own.
//
// # What is asked of the store
//
// That a create with if-none-match and a swap with if-match are what they say ([objstore.Probe]), and that a list and
// a get see what was written before. Objects that were deleted, cut or exchanged are found when they are read, as
// files of a trail are: gap, corrupt, diverged, of another database.
//
// Retention and folding are not here yet: nothing is deleted, and an archive has one timeline.
package archive
