// Package realtest has no code of its own: its tests, behind the build tag "real", run real input
// through the whole of pagetrail and let other people's SQLite judge the result.
//
//	go test -tags real ./internal/realtest
//
// The input is the database and the SQL migrations of Actual Budget, a local-first application,
// as its npm package @actual-app/api ships them; and the two workloads of internal/workload at
// scale S (PAGETRAIL_SCALE=M for ten times as much). The judges are the C shell sqlite3 and Python's sqlite3, which know nothing of us.
// A test that cannot have its input or a judge is skipped and says which and why.
package realtest
