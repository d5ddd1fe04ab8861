// Package ship moves a trail into an archive while it grows.
//
//	err := ship.Run(ctx, "app.db-pagetrail", &ship.Options{Store: store, Name: "web-1"})
//
// # The outbox is the trail
//
// There is no queue and no state of its own: what is to be shipped is what the trail has and the archive has not. So a
// shipper may be killed at any moment, may be away for days, and goes on where the archive ends. The archive is asked
// where that is once, when shipping begins; then nothing is requested until something is committed.
//
// # In what order
//
//  1. Look: the head and the last batch. The trail must hold the transaction that the archive ends with, else the two
//     are different histories, and nothing is written.
//  2. Claim the head. From now on the writer before stops, at its next batch. Bases and batches
//     that are lost there and are still in the trail are brought back: all that the head knows of, and with
//     Options.Mend any.
//  3. Options.Sync: the primary makes durable what the batch will hold. So an archive never runs ahead of a primary
//     that lost power.
//  4. The mark in the trail, up to where transactions may have left it (journal.ShipMark), while the trail has them:
//     should the database lose them yet, its next writer ends the timeline there instead of using their numbers again.
//     Then Run goes on with the next timeline.
//  5. Bases that the archive lacks, of transactions up to the batch's last: a base first, so that at no moment there
//     is a transaction that cannot be restored for want of its base.
//  6. The batch, created under the name of its first transaction if there is none of that name. When there is one, it
//     is what an earlier try wrote, or somebody else: its last transaction is compared with the trail's.
//
// Each step may be done again, whatever became of it before: nothing is lost, and nothing is there twice, because the
// name of what comes next is given by what is there.
//
// # What goes wrong
//
// An answer of the store that is none (a timeout, a 503) is tried again for ever, with pauses that grow to
// Options.MostPause; commits do not wait for it. A clear answer ends Run: another writer holds the archive
// (*archive.HeldError), another history is in it (journal.ErrDiverged), the credentials are refused.
//
// # The local disk
//
// What was not shipped is never removed, whatever that takes: it is nowhere else. What was shipped leaves the trail
// when it is older than Options.Keep or the trail larger than KeepBytes, a sealed segment at a time, and the bases before
// it with it; so a trail holds what was not shipped, what is younger than Keep, and one growing segment. Then the archive
// restores what the trail alone no longer can. What a trail takes while the store is away is bounded by the VFS: with
// quota=SIZE commits are refused there, or go on without the trail, as its full= says; of databases that are watched they
// wait in the WAL (vfs.WatchOptions.Quota). Who writes a trail asks for room before that comes to pass (journal.Crowd), and
// then what was shipped leaves it whatever Keep says; where there is none, nothing that was shipped stays, see Options.Full.
//
// # Commits that wait
//
// A commit waits for the archive only where that was asked for: [Acks].
//
// # Many trails
//
// [Run] is a loop around a [Shipper], which a program with thousands of trails calls itself, from few goroutines. A
// Shipper at rest holds no file open, and its [Mark] tells with one stat whether there is something to do again.
//
// A restore point travels with the transaction that follows it.
package ship
