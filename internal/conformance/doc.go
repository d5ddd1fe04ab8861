// Package conformance has no code: run.sh runs other people's test suites on our VFS.
//
// The suites are those of github.com/ncruces/go-sqlite3 itself (its driver, its tests folder with
// Brad Fitzpatrick's database/sql tests and the parallel readers and writers) and SQLite's own
// mptest and speedtest1, which that module translates. The script copies the module out of the
// module cache into a temporary directory, makes a workspace of the copy and of this repository,
// and changes three things in the copy:
//
//   - A connection that names no VFS, or "os", goes through "pagetrail". The registry is left
//     alone: vfs.Find("os") still finds the operating system, which our VFS stands on.
//   - Tests that keep their database in memory keep it in a file instead, for else it would
//     never meet the VFS.
//   - When a test's temporary directory is about to be removed, each database in it is compared
//     with what its trail makes: see the package in overlay, which the script copies too.
//
// A package that fails is run again with the operating system's VFS, so that what fails here
// without us is told apart.
package conformance
