// Package asof reads a database as it was, without restoring it: a question to last Tuesday costs the pages that it
// touches and those that they were made of, and not the whole database.
//
//	trail, err := journal.Open("app.db-pagetrail", nil) // or the Trail of an archive.Reader
//	view, err := asof.Open(ctx, trail, apply.AtTXID(41203), nil)
//	err = view.ReadPage(ctx, 1, page)
//
// A View is an io.ReaderAt of the database file at that moment. For SQL there is a VFS, registered by importing this package,
// that takes the moment from the name of the database:
//
//	import _ "github.com/pagetrail/pagetrail/apply/asof"
//	db, err := sql.Open("sqlite3", "file:/var/lib/app.db?vfs=pagetrail-asof&at=2026-11-26T14:05:00Z")
//
// # How
//
// A page at a transaction is what the nearest base before it has there, and the patches of that page since. Which blocks of
// the trail patch it is in the page indexes of its sealed segments (journal/FORMAT.md §7); segments without one, as the tail,
// are read once when the View is opened. Patches copy from other pages of their transaction, so a page may need others, as
// they were at some earlier moment. What is needed is found by going back in the trail, from the moment asked for, with a
// set of pages that grows by those that are copied from and shrinks by those that stand in full; then the patches found are
// applied on the way forward. So each patch is decoded once for a page, however entangled pages are.
//
// Where that is not worth it the database is restored as a whole, to a scratch file: when it is small, when a transaction is
// so large that one page of it costs as much as all, when the page size changed on the way, when what is needed of one page
// does not fit in memory, and when so many pages were read that restoring would have been as cheap. Nobody has to know;
// Stats says so.
//
// # What is checked
//
// Every block that is read, by its CRC; every patch, before it is applied. The state checksum, however, is that of all pages,
// and only who reads all of them can compare it: Verify does, as does restoring as a whole, or to a file with apply.Hydrate.
package asof
