// Package apply makes databases out of trails: it replays page patches onto
// pages, and vouches for what comes out.
//
// The smallest use writes the newest state of a trail to a file that is not
// there yet:
//
//	trail, err := journal.Open("app.db-pagetrail", nil)
//	…
//	result, err := apply.Hydrate(ctx, trail, "restored.db", apply.Latest(), nil)
//
// A [Target] says which moment is meant: the latest, a TXID, a time or a named
// restore point. [Resolve] turns it into a [Plan] without restoring anything:
// which transaction that is, what came next, and how much has to be read.
//
// # How a state comes about
//
//	nearest base at or before the target ──► pages      (all cores, blocks independent)
//	     or the empty database                 │        with the patches that need no other page
//	transactions after it, up to the target ──► patches  (one goroutine reads, another applies)
//	                                           │
//	               temporary file ──► read back and hashed ──► synced, renamed
//
// A [State] is the machine in the middle: pages in a scratch file behind a
// cache of bounded size, and the checksum of all pages, kept up to date with
// each transaction by taking the hashes of the old pages away and adding those
// of the new. Every transaction states the checksum that must come out; a
// small transaction is checked before any page is changed.
//
// # What is promised
//
//   - The file is byte for byte what the database was, its length included. A
//     page nobody wrote, such as the lock-byte page at 1 GiB, is a hole.
//   - Nothing is reported before it is checked: each transaction against the
//     checksum in its record (in sealed segments 4 of its 16 bytes, all 16 at
//     the end of each block), the file as a whole, read back, against the
//     checksum of the target.
//   - A file that exists is not touched unless [Options.Force] says so, and the
//     trail's own database and the trail itself not even then. What fails or is
//     cancelled leaves nothing behind.
//   - Memory is bounded whatever the size of the database: the page cache
//     ([Options.CacheBytes], 32 MiB unless told otherwise), one group of
//     patches at a time, and while a base is loaded, before there is anything
//     in the cache, 40 MiB of the patches that follow it.
//
// [Verify] is the same work for a whole trail, without an output: every byte
// of every file, and every checksum of every transaction.
//
// The package never writes to a trail, nor locks it, and may read one that is
// being appended to. It knows no SQLite driver: pages are bytes to it.
//
// Functions are safe for concurrent use; a State is for one goroutine at a
// time.
package apply
