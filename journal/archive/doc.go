// Package archive is a trail in an object store: its names, the one object that changes, the fence between two
// writers, and a reader that is a [journal.Trail] like any other.
//
//	<prefix>/head                                      what is part of the history, who writes; the only object that is replaced
//	<prefix>/<timeline>/0/<first TXID>.seg             batches: sealed segments, as package journal writes them
//	<prefix>/<timeline>/1/<first>-<last>.seg           segments written from others, likewise in 2, 3 and so on
//	<prefix>/<timeline>/base/<TXID>.base               bases, byte for byte those of the trail
//
// Timelines are 8 hex digits, TXIDs 16, so that a list is in order. journal/FORMAT.md has the section.
//
// # Reading
//
// [Open] reads the head, one list and the last batch, and presents the objects to package journal as the directory of a
// trail. So
// everything that reads trails reads archives: hydrate, verify, log. Objects come in pieces as they are needed and
// stay in a cache of bounded size.
//
// What is not read is not opened: the head says what the merged objects and the last batches hold, where a list says
// which there are. So the window, and which transaction a moment means, mostly cost no request, and a restore one for
// each object on its way.
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
// # Timelines
//
// A primary that was restored in place, or taken over from, writes the next timeline: its trail's identity says where
// that left the one before. What came before is shared, whatever timeline wrote it; what the timeline before had
// beyond that point stays in the store and is no part of the history. Where the point is in the middle of a batch, the
// beginning of that batch is written anew, and nothing else. The head lists the timelines, and a reader follows them
// from the last back to the first.
//
//	timeline 1   ├── 1 ──┼── 11 ──┼── 21 ┄┄┼┄┄ 31 ┄┄┤fence
//	timeline 2                   └21─25┼── 26 ──┼── 31 ──
//
// The names of two timelines do not meet, so the writer before is stopped by a fence: an object under the name that
// its next batch would have. From then on it cannot add anything, whatever it believes.
//
// Who takes over from a writer that may be alive sets the fence first ([Writer.End]) and claims then ([Writer.Take]):
// so what the archive acknowledged before is known in full when the next timeline begins, and part of it. In between,
// the archive can be read and not be added to.
//
// # What is asked of the store
//
// That a create with if-none-match and a swap with if-match are what they say ([objstore.Probe]), and that a list and
// a get see what was written before. Objects that were deleted, cut or exchanged are found when they are read, as
// files of a trail are: gap, corrupt, diverged, of another database.
//
// # Upkeep
//
// [Maintain] keeps an archive small: many small objects become one, old transactions are folded into minutes and
// hours, and in the end forgotten, as a [Retention] says. Objects of an hour are merged when it is over, and before that
// where 64 batches wait: so none is merged more than twice, and fewer are not worth it. It is a plan of steps, written into the head before the first
// of them, each of which may be done again; so it may be killed anywhere and carried on by anybody, beside the writer
// and the readers.
//
//	head     segments: ── 2/1-5000 ──┼── 1/5001-6200 ──┤        batches: 6201, 6240, …
//	store    the same, and 0/5001 … 0/6190, superseded, until their grace is over
//
// What is part of the history is what the head says, and the batches after that. So each replacement is one swap:
// before it, readers have the old objects, after it the new. The old ones go with the next plan, an hour later.
package archive
