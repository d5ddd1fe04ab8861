module github.com/pagetrail/pagetrail

go 1.26.0

require (
	github.com/klauspost/compress v1.20.3 // zstd: journal
	github.com/ncruces/go-sqlite3 v0.35.6 // SQLite: vfs, and the tests of everything
	github.com/spf13/cobra v1.10.2 // internal/cli
	github.com/zeebo/xxh3 v1.1.0 // the state checksum: diff
	golang.org/x/sys v0.49.0 // locks and syncs: internal/durable
	golang.org/x/term v0.47.0 // internal/cli
)

require pgregory.net/rapid v1.3.0 // tests: models

require (
	github.com/rogpeppe/go-internal v1.16.0
	github.com/spf13/pflag v1.0.9
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/cpuid/v2 v2.2.10 // indirect
	github.com/ncruces/go-sqlite3-wasm/v6 v6.3.35304 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	golang.org/x/tools v0.50.0 // indirect
)
