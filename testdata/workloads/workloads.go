// Package workloads holds the SQL of the two workloads that tests, benchmarks and the demo run:
// a sync service's bucket store and a document API. Each file is the schema, followed by the
// statements of every transaction in comments; internal/workload runs them.
//
// The package lies in testdata so that `./...` leaves it alone; it exists only because go:embed
// does not reach above its own directory.
package workloads

import _ "embed"

// BucketStore is the schema of the bucket store.
//
//go:embed bucket_store.sql
var BucketStore string

// DocumentStore is the schema of the document API.
//
//go:embed document_store.sql
var DocumentStore string
