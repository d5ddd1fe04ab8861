// Package takeover makes a replica the primary, and a primary a replica.
//
// The smallest use, when the primary is lost and its archive is not:
//
//	r, err := takeover.Promote(ctx, "replica.db", &takeover.Options{Store: store, Name: "db-2"})
//
// # Promote
//
// The replica's follower must have ended. In this order, each step durable before the next:
//
//  1. The plan is written to a file beside the replica, R-takeover: with an ID drawn at random, by which the archive
//     knows later who took over. From now on no follower follows into the replica.
//  2. The replica catches up with the archive. What can be wrong with either is found here.
//  3. The timeline that the archive is at is ended by its fence: a batch that is there by now is part of the history,
//     and none comes after it. So whatever the archive acknowledged to the old primary, the new one will have.
//  4. The replica catches up to that end, and is closed. It may be further than the archive, if it follows the
//     primary's stream: then it stays where it is.
//  5. The position where the next timeline begins is added to the plan.
//  6. The head is swapped: the next timeline is the plan's. Of several replicas that got here one wins; the others are
//     told by whom, and go on as followers.
//  7. The replica's own trail joins the timeline, or begins with it.
//  8. R-pos goes, which kept programs from writing (see package vfs).
//  9. The plan goes.
//
// Stopped anywhere, the same call goes on; what fails before step 3 is given up, and the replica followed into again.
// One that was killed until then is given up by removing R-takeover. Between 3 and 6 the
// archive can be read and not be added to, by nobody: then a replica has to be promoted, this or another.
//
// # Without an archive
//
// Nobody can tell whether the old primary is really gone: it may be cut off, and go on to commit for those who reach
// it. Then there are two histories, and of one of them nothing will be left but a branch. That is what Options.Force is
// for. The timeline is the next one all the same, and its trail begins with a base.
//
// # The old primary
//
// It is fenced: its shipper ends with a HeldError that names the new one. [Retire] makes its database a replica, so that
// programs cannot write to it any more, and [Rejoin] does so if a source says that its timeline is over. Then it can be
// followed into with follow.Options.Rewind, which takes it back to where the timelines part and on from there. What it
// had committed and not shipped becomes a branch of its trail, and is nowhere else.
//
// [Handover] is the planned way, in which nothing has to be taken back: retire, ship to the end, promote.
//
// # What is promised
//
//   - At any time at most one writer can add to the archive's history, and a transaction that the archive acknowledged is
//     in the history of every later timeline.
//   - Programs can write to the replica only when the timeline is its own.
//   - Nothing that anybody committed is removed without being kept: as a branch, or under another name.
//
// Linux and macOS only, as package follow.
package takeover
