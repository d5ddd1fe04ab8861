// Package compact writes one segment out of several: the same records, or fewer that stand for more.
//
//	batch, err := compact.Merge(ctx, file, sources, timeline)          // loses nothing
//	batch, err := compact.Fold(ctx, file, sources, timeline, folding)  // loses the states between
//
// It is a merge of readers into a writer, and nothing else: it knows no store, no clock and no policy. When to do it,
// and what becomes of the sources, is for package archive.
//
// # Merging
//
// Records are copied as they are, into larger blocks that are compressed better.
//
// # Folding
//
// Many transactions become one record, which leads from the state before the first to the state after the last. For
// that the pages must be had: a [State] stands where the first source begins, and each record is applied to it. Of
// each page that changes, the [Images] keep what it held at the beginning; at the end, the first and the last image
// are encoded anew. Where most pages changed once, that is larger than the patches were: then the records are copied,
// and more states can be restored than were asked for.
//
//	records      1 ── 2 ── 3 ── 4 ── 5 ── 6       keep 4 and 6
//	             └──── folded ────┘  └folded┘
//	written                      4         6
//
// Some records end what can be folded, whatever is asked for: one of kind Base, one that changes the page size, and
// the last of the sources, so that what follows still continues the segment.
//
// # What is checked
//
// Every record is applied, and so checked against its state sum. What was encoded is decoded again and compared with
// the pages; and the sum that it leads to is computed from the images and compared with that of the state. Only then
// is the record written, with that sum.
package compact
