// Package objstore is what pagetrail asks of an object store, and no more: an interface small enough that a directory,
// a map in memory and S3 all keep its promises, and wrappers that add the same things to each of them.
//
//	stores := objstore.Registry{"file": file.OpenURL, "s3": s3.OpenURL}
//	store, err := stores.Open(ctx, "s3://backups/app?region=eu-central-1")
//	store = objstore.Retry(store, nil)
//	err = store.Create(ctx, "00000001/0/0000000000000001.seg", body, size)
//
// # Two interfaces
//
// [Bucket] holds objects that are written once: get a range, put, put if absent, list, delete. [Head] is one small
// object that changes, by compare-and-swap. They are apart because they ask for different things: any store that
// keeps bytes is a bucket, but only one with conditional writes can have heads, and some accept the condition and
// ignore it. [Probe] finds those. A [Store] is both.
//
// # What a store promises
//
//   - What Put, Create and Swap returned nil for is durable, and every later Get, List and Load sees it.
//   - An object is there whole or not at all, also after a crash in the middle of a Put.
//   - Of two Creates of one key exactly one succeeds; so it is with two Swaps of one tag.
//   - An error other than the sentinels says nothing: the call may have been carried out. [Retry] finds out.
//
// objstoretest holds every implementation and every wrapper to this.
//
// # Wrappers
//
//	Retry     tries again with growing, random pauses; tells "done but reported as failed" from "somebody else did"
//	Limit     bytes and requests per second
//	Meter     counts requests and bytes
//	Kept      reads nothing twice
//	ReadOnly  refuses to change anything
//	Faulty    for tests: any call refused, or carried out and reported as failed
//
// Package encrypt has one more: objects that are encrypted before they leave.
//
// # Stores
//
// file (a directory), mem (for tests), s3 (whatever speaks it), azure and gcs have packages of their own, so that a
// program is linked with the ones it uses.
package objstore
