module github.com/pagetrail/pagetrail

go 1.26.0

require (
	filippo.io/age v1.3.2 // journal/objstore/encrypt: recipients, identities, headers
	github.com/johannesboyne/gofakes3 v1.2.0 // tests of journal/objstore/s3 and what is above it: a service in the test's process
	github.com/klauspost/compress v1.20.3 // zstd: journal
	github.com/minio/minio-go/v7 v7.4.1 // journal/objstore/s3: the protocol, its signatures and credentials
	github.com/ncruces/go-sqlite3 v0.35.6 // SQLite: vfs, and the tests of everything; later versions do not build everywhere yet
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts of internal/cli
	github.com/spf13/cobra v1.10.2 // internal/cli
	github.com/spf13/pflag v1.0.10 // internal/cli: the flags of cobra
	github.com/zeebo/xxh3 v1.1.0 // the state checksum: diff
	golang.org/x/crypto v0.57.0 // journal/objstore/encrypt: the cipher of age's blocks
	golang.org/x/sync v0.23.0 // apply/asof: several reads at once, with the first error
	golang.org/x/sys v0.49.0 // locks and syncs: internal/durable, apply/follow
	golang.org/x/term v0.47.0 // internal/ui: the width of a terminal
	pgregory.net/rapid v1.3.0 // tests: models
)

require (
	github.com/prometheus/client_golang v1.25.0 // internal/metrics: the exporter of pagetrail run
	go.yaml.in/yaml/v4 v4.0.0 // internal/config: the configuration of pagetrail run
)

require (
	github.com/Azure/azure-sdk-for-go/sdk/azcore v1.23.3 // journal/objstore/azure
	github.com/Azure/azure-sdk-for-go/sdk/azidentity v1.15.0 // journal/objstore/azure: who asks
	github.com/Azure/azure-sdk-for-go/sdk/storage/azblob v1.6.4 // journal/objstore/azure; later versions bring Apache Arrow along
	golang.org/x/oauth2 v0.38.0 // journal/objstore/gcs: who asks
)

require (
	cloud.google.com/go/compute/metadata v0.3.0 // indirect
	filippo.io/hpke v0.4.0 // indirect
	github.com/Azure/azure-sdk-for-go/sdk/internal v1.13.0 // indirect
	github.com/AzureAD/microsoft-authentication-library-for-go v1.10.1 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	github.com/klauspost/crc32 v1.3.0 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/minio/crc64nvme v1.1.1 // indirect
	github.com/minio/md5-simd v1.1.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-sqlite3-wasm/v6 v6.3.35304 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/pkg/browser v0.0.0-20240102092130-5ac0b6a4141c // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/rs/xid v1.6.0 // indirect
	github.com/ryszard/goskiplist v0.0.0-20150312221310-2dfbae5fcf46 // indirect
	github.com/tinylib/msgp v1.6.4 // indirect
	go.shabbyrobe.org/gocovmerge v0.0.0-20230507111327-fa4f82cfbf4d // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	golang.org/x/tools v0.50.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/ini.v1 v1.67.3 // indirect
)
