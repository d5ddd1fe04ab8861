// Package workload runs two workloads with the shape of real services against a SQLite connection:
// Bucket, the operation log of a sync service, and Document, an API over JSON documents with
// indexes, a change stream, expiry and backups in the file. Their SQL is in testdata/workloads.
//
// Both are deterministic: the same seed and scale make the same transactions in the same order,
// and so, on a database of its own, the same bytes. Neither knows where its pages go. They are
// written against one connection that is the only writer, with readers beside it on connections
// of their own, so that they run through any VFS, and the plain driver's is the reference.
//
// What makes them tests are the oracles: questions whose answer is known for every transaction,
// put to the live database or to any copy of it, however it was made. Bucket predicts the sums of
// its checksums after each commit (State); Document has invariants that hold between any two
// transactions and are false in the middle of most.
//
// Nothing here is safe for concurrent use, except that readers may run beside the writer.
package workload
