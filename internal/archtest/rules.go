package archtest

// room is a package, or with "/..." all below one, and the arrows out of it.
type room struct {
	path string
	leaf bool     // its tests may not look further either
	may  []string // packages of ours that its production code may import
	why  string
}

// The rooms, from the bottom up. A room that is not built yet has its arrows
// all the same.
var rooms = []room{
	{
		path: "diff", leaf: true,
		why: "diff is arithmetic on pages, so that its format can be written again from its document alone",
	},
	{path: "internal/durable", leaf: true, why: "it is the floor that everything durable stands on"},
	{path: "internal/oflock", leaf: true, why: "locks of files are the floor too"},
	{path: "internal/sqlitefile", leaf: true, why: "it parses SQLite's formats and knows none of ours"},
	{path: "internal/ui", leaf: true, why: "it draws what it is given and knows nothing of trails"},
	{path: "internal/invariant", leaf: true, why: "assertions are used by everyone, so they use nobody"},
	{path: "internal/pause", leaf: true, why: "waiting takes nobody"},
	{path: "internal/wake", leaf: true, may: []string{"internal/pause"}, why: "waiting for writes takes waiting"},
	{path: "internal/bytesize", leaf: true, why: "a number takes nobody"},
	{path: "internal/crashfs", leaf: true, may: []string{"internal/durable"}, why: "the simulated disk is one more durable.FS, and one more VFS below ours"},
	{path: "internal/testdb", leaf: true, why: "it makes databases for tests and knows no trail"},
	{path: "internal/archtest", leaf: true, why: "it looks at the building from outside"},
	{path: "testdata/...", leaf: true, why: "it is data"},

	{
		path: "journal", may: []string{"internal/pause", "diff", "internal/durable", "internal/invariant"},
		why: "journal is the format and nothing else: no SQLite, no store, no engine",
	},
	{path: "journal/tail", may: []string{"journal", "diff", "internal/durable"}, why: "it yields transactions and knows no SQLite"},
	{
		path: "journal/objstore", leaf: true, may: []string{"internal/durable", "internal/pause", "journal/objstore/mem", "journal/objstore/objstoretest"},
		why: "the interface and its wrappers know neither trails nor providers",
	},
	{
		path: "journal/objstore/...", leaf: true, may: []string{"journal/objstore", "journal/objstore/objstoretest", "internal/durable", "internal/pause"},
		why: "a provider knows the interface it implements, and not the other providers",
	},
	{
		path: "journal/objstore/encrypt", leaf: true, may: []string{"journal/objstore", "journal/objstore/mem", "journal/objstore/objstoretest"},
		why: "it encrypts what any store keeps, and knows neither trails nor providers",
	},
	{
		path: "journal/compact", may: []string{"journal", "journal/objstore", "diff", "internal/durable"},
		why: "folding is a pure merge of readers into a writer; when to do it is journal/archive's business",
	},
	{
		path: "journal/archive", may: []string{"journal", "journal/compact", "journal/objstore", "diff", "internal/durable", "internal/pause"},
		why: "names, head, bases and retention, above the store's interface and below those who use them",
	},
	{
		path: "journal/ship", may: []string{"journal", "journal/archive", "journal/objstore", "diff", "internal/durable", "internal/pause"},
		why: "the shipper moves bytes of a trail into an archive and knows no SQLite",
	},
	{
		path: "journal/serve", may: []string{"internal/pause", "internal/wake", "journal", "internal/durable"},
		why: "a server sends bytes of trails to whoever may have them, and knows no SQLite and no store",
	},
	{
		path: "internal/replica", may: []string{"internal/pause", "journal", "diff", "internal/sqlitefile", "internal/durable"},
		why: "it is what a follower writes of its position and readers look at, so it knows neither",
	},
	{
		path: "internal/capture", may: []string{"journal", "diff", "internal/sqlitefile", "internal/durable", "internal/invariant"},
		why: "the engine is told what a file did; it knows SQLite's protocols and no driver",
	},
	{
		path: "vfs", may: []string{"internal/pause", "internal/wake", "internal/bytesize", "internal/capture", "internal/replica", "journal", "diff", "internal/sqlitefile", "internal/durable", "internal/invariant"},
		why: "the front end translates a driver's calls for the engine, and does nothing else",
	},
	{
		path: "apply", may: []string{"journal", "diff", "internal/sqlitefile", "internal/durable", "internal/invariant"},
		why: "replay reads journal bytes, wherever they were captured",
	},
	{
		path: "apply/follow", may: []string{"internal/pause", "apply", "internal/replica", "journal", "journal/tail", "diff", "internal/sqlitefile", "internal/oflock", "internal/durable", "internal/invariant"},
		why: "a follower is a source, a position and a loop; the source comes in through an interface",
	},
	{
		path: "apply/live", may: []string{"internal/pause", "apply", "journal", "diff", "internal/sqlitefile", "internal/oflock"},
		why: "it reads a database beside the programs that use it, and compares it with its trail",
	},
	{
		path: "apply/follow/session", may: []string{"journal"},
		why: "it carries positions between requests, and whoever uses it says how they are asked and waited for",
	},
	{
		path: "apply/follow/changes", may: []string{"internal/pause", "apply", "apply/follow", "journal", "journal/serve", "diff", "internal/sqlitefile"},
		why: "a feed is one more reader of a source, which keeps no replica; a server sends what it finds",
	},
	{
		path: "apply/follow/remote", may: []string{"apply", "apply/follow", "journal", "journal/serve", "internal/durable"},
		why: "a source that reads what a server sends; how it is applied is the follower's business",
	},
	{
		path: "apply/follow/takeover", may: []string{
			"internal/pause",
			"apply", "apply/follow", "journal", "journal/archive", "journal/objstore", "diff", "internal/replica", "internal/sqlitefile",
			"internal/oflock", "internal/durable",
		},
		why: "who takes over follows to the end and claims the archive; the driver that settles a database is handed in",
	},
	{
		path: "apply/asof", may: []string{"apply", "journal", "journal/objstore", "diff", "internal/sqlitefile", "internal/durable", "internal/invariant"},
		why: "it answers reads from page indexes, local or in a store",
	},
	{
		path: "apply/upkeep", may: []string{"apply", "journal", "journal/archive", "journal/objstore", "internal/durable"},
		why: "an archive's plans need pages to fold, and package archive has none: this lends it those of package apply",
	},
	{path: "internal/web", may: []string{"journal", "internal/ui"}, why: "the pages are a reader behind a small status interface"},

	{
		path: "internal/workload", may: []string{"vfs", "apply", "journal", "diff", "internal/sqlitefile", "testdata/workloads"},
		why: "workloads drive what a user has: the driver, the VFS, replay",
	},
	{
		path: "internal/demo", may: []string{"vfs", "apply", "journal", "diff", "internal/workload", "internal/ui", "internal/sqlitefile", "testdata/workloads"},
		why: "the demonstration uses what a user has",
	},
	{path: "internal/realtest/...", may: public, why: "tests with real applications use what a user has"},
	{path: "internal/realtest", may: public, why: "tests with real applications use what a user has"},
	{path: "internal/conformance/...", may: public, why: "other people's suites use what a user has"},
	{path: "internal/conformance", may: public, why: "other people's suites use what a user has"},
	{path: "internal/bench/...", may: public, why: "benchmarks measure what a user has"},
	{path: "internal/bench", may: append([]string{"internal/pause", "internal/query"}, public...), why: "benchmarks measure what a user has"},
	{path: "internal/crashtest/...", may: append([]string{"internal/crashfs", "internal/durable"}, public...), why: "power cuts and faults befall what a user has, on a simulated disk"},
	{path: "internal/crashtest", may: append([]string{"internal/crashfs", "internal/durable"}, public...), why: "power cuts and faults befall what a user has, on a simulated disk"},
	{path: "internal/soak/...", may: public, why: "soaks run what a user has"},
	{path: "internal/soak", may: public, why: "soaks run what a user has"},

	{path: "internal/config", may: []string{"journal/objstore", "internal/bytesize"}, why: "it reads settings, knows what stores take as names, and knows nobody who has the settings"},
	{
		path: "internal/sidecar", may: []string{"vfs", "internal/replica", "journal", "journal/archive", "journal/objstore", "journal/objstore/mem", "journal/objstore/file", "journal/ship", "internal/durable", "internal/pause", "internal/sqlitefile", "apply"},
		why: "it does for many databases what vfs.Watch and ship.Run do for one",
	},
	{
		path: "internal/doctor", may: []string{"vfs", "apply", "journal", "journal/archive", "journal/objstore", "journal/ship", "internal/ui"},
		why: "it does in a store what everybody does there, with a database of its own",
	},
	{path: "internal/query", may: []string{"apply/asof"}, why: "it asks a view, whatever that is made of"},
	{path: "internal/bisect", may: []string{"apply", "apply/asof", "journal", "internal/query"}, why: "it asks states, and knows what makes them"},
	{path: "internal/metrics", may: []string{"internal/sidecar", "journal", "journal/objstore"}, why: "it shows how a sidecar is doing, and changes nothing"},
	{
		path: "internal/cli", may: append([]string{"internal/web", "internal/demo", "internal/pause", "internal/bytesize", "internal/durable", "internal/replica", "internal/bisect", "internal/query", "internal/config", "internal/sidecar", "internal/metrics", "internal/doctor"}, public...),
		why: "the one place that knows everyone, save the engine behind the VFS: that is vfs's to offer",
	},
	{path: "cmd/...", may: []string{"internal/cli"}, why: "main is ten lines; what it does is in internal/cli"},
	{path: "examples/...", may: []string{"vfs", "apply/...", "apply", "journal/...", "journal", "diff"}, why: "examples show what a stranger can import"},
}

// public is what test drivers and the command line may use.
var public = []string{
	"vfs", "apply", "apply/...", "journal", "journal/...", "diff",
	"internal/ui", "internal/workload", "internal/sqlitefile", "internal/testdb", "testdata/...",
}

// top is what nobody below may import, tests included.
var top = []string{"cmd/...", "internal/cli", "internal/web"}

// ban is an arrow that deserves a better reason than "not in the list".
type ban struct {
	from, to []string
	why      string
}

var bans = []ban{
	{[]string{"vfs"}, []string{"apply", "apply/..."}, "vfs and apply meet in journal bytes only, so that either can be written again from journal/FORMAT.md"},
	{[]string{"apply", "apply/..."}, []string{"vfs", "internal/capture"}, "vfs and apply meet in journal bytes only, so that either can be written again from journal/FORMAT.md"},
	{[]string{"journal", "journal/..."}, []string{"internal/sqlitefile", "vfs", "internal/capture"}, "a trail can be read, checked, shipped and folded by a program that has no SQLite"},
	{[]string{"journal/objstore/..."}, []string{"journal/objstore/..."}, "each provider stands alone, so that a program pays for the one it uses"},
	{[]string{"internal/capture"}, []string{"vfs"}, "other front ends are to use the same engine"},
}

// guest is a module of others and the rooms it may be in.
type guest struct {
	module  string
	rooms   []string // any file
	oneFile []string // one production file of each of these
	tests   []string // test files
	why     string
}

// testers are packages that are tests in all but name.
var testers = []string{
	"internal/workload", "internal/demo", "internal/testdb", "journal/objstore/objstoretest",
	"internal/realtest", "internal/realtest/...", "internal/conformance", "internal/conformance/...",
	"internal/bench", "internal/bench/...", "internal/soak", "internal/soak/...",
	"internal/crashfs", "internal/crashtest", "internal/crashtest/...",
}

// everyone is every package, for tests.
var everyone = []string{
	"diff", "journal", "journal/...", "vfs", "apply", "apply/...", "internal/...", "cmd/...", "testdata/...", "examples/...",
}

var guests = []guest{
	{
		module: "github.com/ncruces/go-sqlite3", oneFile: []string{"apply"},
		rooms: append([]string{"vfs", "apply/asof", "examples/...", "internal/query", "internal/doctor"}, testers...),
		tests: []string{"vfs", "apply", "apply/...", "internal/capture", "internal/cli", "internal/sidecar", "internal/bisect"},
		why:   "the driver stays in vfs, in what is one itself or writes or asks a database of its own, and in tests: the format and the engine outlive it",
	},
	{
		module: "github.com/klauspost/compress", rooms: append([]string{"journal"}, testers...), tests: []string{"diff", "journal/..."},
		why: "compression is a matter of the format, and its limits on memory are set in one place; others may only compare with it",
	},
	{
		module: "github.com/zeebo/xxh3", rooms: []string{"diff"}, tests: []string{"diff"},
		why: "the hash of a page is diff.PageSum everywhere",
	},
	{module: "github.com/spf13/cobra", rooms: []string{"internal/cli"}, why: "flags and verbs are the command line's"},
	{module: "github.com/spf13/pflag", rooms: []string{"internal/cli"}, why: "flags and verbs are the command line's"},
	{
		module: "github.com/prometheus", rooms: []string{"internal/metrics"},
		why: "libraries report through a small interface; the exporter is the program's choice",
	},
	{module: "go.yaml.in/yaml", rooms: []string{"internal/config"}, why: "settings are read in one place"},
	{module: "github.com/minio", rooms: []string{"journal/objstore/s3"}, why: "each provider's SDK stays in its own package"},
	{
		module: "github.com/johannesboyne/gofakes3", tests: []string{"journal/objstore/s3", "journal/ship", "internal/cli"},
		why: "it is for tests of what speaks S3",
	},
	{module: "filippo.io/age", rooms: []string{"journal/objstore/encrypt"}, why: "age is one package's: others give it text, and get stores"},
	{module: "golang.org/x/crypto", rooms: []string{"journal/objstore/encrypt"}, why: "what is encrypted, and how, is to be read in one place"},
	{module: "github.com/aws", rooms: []string{"journal/objstore/s3"}, why: "each provider's SDK stays in its own package"},
	{module: "golang.org/x/oauth2", rooms: []string{"journal/objstore/gcs"}, why: "each provider's SDK stays in its own package"},
	{module: "cloud.google.com/go", rooms: []string{"journal/objstore/gcs"}, why: "each provider's SDK stays in its own package"},
	{module: "github.com/Azure", rooms: []string{"journal/objstore/azure"}, why: "each provider's SDK stays in its own package"},
	{
		module: "golang.org/x/sys", rooms: []string{"internal/durable", "internal/ui", "internal/capture", "vfs", "internal/oflock", "apply/follow"},
		tests: everyone, why: "system calls belong where files, locks and terminals are handled",
	},
	{module: "golang.org/x/term", rooms: []string{"internal/ui", "internal/cli"}, why: "only the command line talks to a terminal"},
	{
		module: "golang.org/x/sync",
		rooms:  append([]string{"journal", "journal/...", "internal/capture", "vfs", "apply", "apply/...", "internal/cli", "internal/web"}, testers...),
		tests:  everyone, why: "leaves start no goroutines",
	},
	{module: "pgregory.net/rapid", rooms: testers, tests: everyone, why: "it is for tests"},
	{module: "github.com/google/go-cmp", rooms: testers, tests: everyone, why: "it is for tests"},
	{module: "github.com/rogpeppe/go-internal", rooms: testers, tests: everyone, why: "it is for tests"},
}

// stdBan is a package of the standard library that some rooms do without.
type stdBan struct {
	to, from, except []string
	tests            bool // tests too
	why              string
}

var stdBans = []stdBan{
	{
		to: []string{"C"}, from: everyone, tests: true,
		why: "no cgo: one static program for every platform",
	},
	{
		to: []string{"log"}, from: everyone,
		why: "logging is a *slog.Logger in options, or it is not there",
	},
	{
		to:   []string{"os", "os/...", "io", "io/...", "net", "net/...", "time", "log/...", "context", "sync", "sync/..."},
		from: []string{"diff"}, why: "diff has no I/O, no clock, no log and no state",
	},
	{
		to: []string{"os", "os/...", "net", "net/...", "time", "log/..."}, from: []string{"internal/sqlitefile"},
		why: "parsing needs no files: it is given slices and readers",
	},
	{
		to: []string{"net", "net/http/...", "net/http", "net/rpc/...", "net/rpc", "net/smtp"}, from: everyone,
		except: []string{"journal/objstore/...", "journal/serve", "apply/follow/remote", "apply/follow/session", "internal/web", "internal/cli", "internal/metrics", "internal/config", "internal/bench", "internal/realtest", "internal/realtest/..."},
		why:    "the network is behind an object store or a stream, or in the program",
	},
	{
		to: []string{"log/slog"}, from: []string{"journal", "journal/compact"},
		why: "the format reports errors to its caller and logs nothing",
	},
	{
		to: []string{"math/rand"}, from: everyone, tests: true,
		why: "math/rand/v2 is seeded by choice, not by accident",
	},
	{
		to: []string{"testing"}, from: everyone, except: testers,
		why: "production code is not linked with the test framework",
	},
	{
		to: []string{"flag"}, from: everyone, except: testers,
		why: "flags are cobra's, in internal/cli",
	},
}
