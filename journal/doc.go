// Package journal is the format of a trail: the journal of one SQLite database, kept as patches of pages in a
// directory beside it. It writes trails and reads them, and knows neither SQLite nor what the patches mean to it.
//
// # Words
//
// A transaction is one record, with its TXID: dense, from 1. A trail is a directory of segments, the files that
// hold records, and bases, the files that hold all pages as they were after one transaction. The last segment is
// the tail and grows; the others are sealed: compressed, indexed, never written again. A restore point is a name
// for a TXID. A position is database, timeline, TXID and state checksum together: two that are equal are the same
// bytes.
//
//	mydb-pagetrail/
//	   identity                    database ID, timeline, where it began
//	   0000000000000001.seg        sealed: transactions 1 to 1999
//	   00000000000007d0.seg        the tail, from transaction 2000 on
//	   00000000000007cf.base       all pages after transaction 1999
//	   left                        up to where others may have it
//	   branch-00000001             what timeline 1 had beyond timeline 2
//	   cut-1795000000000000        what the trail had until then, and the database lost
//	   lock, lock-seal, …
//
// # The format
//
// FORMAT.md is normative. In short, a file is a header of 128 bytes and then blocks; a block is the unit of
// writing, of tearing, and of compression.
//
//	tail     header │ T │ T │ N │ P P T │ T C │ …             one T a commit, or a group of commits
//	sealed   header │ T······ │ P P T │ N │ T····· │ F │ trailer
//	base     header │ B······ │ B······ │ F │ trailer
//
//	T transactions         C the prepared T before it is committed     E the segment has ended
//	P a group of pages     N restore point                             F footer: the indexes
//
//	block    ┌ kind, codec, flags, length, first TXID, records, decoded length ┬ CRC of payload ┬ CRC ┐
//	         │ [sealed: SHA-256 of the block before]  payload                                          │
//	         └─────────────────────────────────────────────────────────────────────────────────────────┘
//	T        ┌ H preamble: sum, time, size before │ record headers ┐ ┌ P pages ┐ ┌ T tokens ┐ ┌ L literals ┐
//
// # Writing
//
// A [Writer] excludes others by [Writer.Lock], buffers records by [Writer.Add] and makes them visible by
// [Writer.Flush], all in one write. [Writer.Sync] makes them durable. A record of a rollback-journal transaction is
// added as prepared, and counts from [Writer.Confirm] on. When the tail is [Writer.Full], [Writer.Rotate] begins the
// next and [Seal] compresses the old one, at any time and in any process.
//
// # Reading
//
// A [Trail] reads the directory, also while others write: it takes no lock and answers from what it saw at [Open] or
// the last [Trail.Refresh]. [Trail.Records] yields committed records only. A [SegmentReader] reads one segment and a
// [BaseReader] one base from anywhere that has an [io.ReaderAt].
//
// # Timelines
//
// A database may lose transactions that were shipped, when a disk lied about what it had synced. Others keep what they
// have, so [Writer.TakeBack] ends the timeline and begins the next; what the ended one had beyond that is a branch, see
// [Trail.Branches], which [Open] opens as a trail. What nobody else has is cut off, and the timeline goes on; it is kept
// too, as a cut, see [Trail.Cuts].
//
// # What is guaranteed
//
//   - What Flush wrote is there for every reader after it, whole or not at all. What Sync returned for survives a
//     power cut.
//   - A crash at any moment leaves a trail that the next Lock repairs by itself. What it cuts off is kept in a file
//     torn-<µs>.
//   - Damage is found, not guessed at: a CRC-32C covers every byte, in sealed history a SHA-256 chain too, and every
//     block says what state it continues. A torn tail, corruption, a gap, a divergence, a newer version, an unknown
//     flag and a foreign file are different errors: see [ErrCorrupt] and its neighbours.
//   - No length in a file is trusted: memory is bounded by the limits of FORMAT.md whatever the file says.
//
// What is asked in return: that the file system does as package internal/durable says, that locks work (a trail on a
// network share without them has no protection against two writers), and that nobody else changes the files.
//
// # Versions
//
// This release reads and writes format version 1. A later version that this one cannot read is refused as
// [ErrVersion], never misread.
package journal
