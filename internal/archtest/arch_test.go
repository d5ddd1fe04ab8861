package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/archtest"
)

const module = "github.com/pagetrail/pagetrail"

// listed is what we read of the output of go list.
type listed struct {
	Dir, ImportPath                   string
	GoFiles, CgoFiles, IgnoredGoFiles []string
	TestGoFiles, XTestGoFiles         []string
}

// building lists every Go file of the module, those for other platforms and
// behind build tags included, since they are imported from somewhere too.
func building(t *testing.T) []archtest.File {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json", "-tags=real", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var files []archtest.File
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		pkg := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if pkg == "" {
			pkg = "."
		}
		for _, names := range [][]string{p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles} {
			for _, name := range names {
				files = append(files, parse(t, p.Dir, pkg, name))
			}
		}
	}
}

func parse(t *testing.T, dir, pkg, name string) archtest.File {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	f := archtest.File{Name: pkg + "/" + name, Package: pkg, Test: strings.HasSuffix(name, "_test.go")}
	for _, s := range tree.Imports {
		path, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		f.Imports = append(f.Imports, path)
	}
	return f
}

func TestArrowsPointDown(t *testing.T) {
	files := building(t)
	if len(files) < 10 {
		t.Fatalf("go list found %d files", len(files))
	}
	for _, v := range archtest.Check(module, files) {
		t.Error(v)
	}
}

// ruleCases are forbidden imports with words of the reason that their author is
// given, and allowed ones.
var ruleCases = []struct {
	file, imports string
	why           string // "" means allowed
}{
	{"diff/a.go", "journal", "arithmetic on pages"},
	{"diff/a.go", "internal/durable", "arithmetic on pages"},
	{"diff/a_test.go", "journal", "arithmetic on pages"},
	{"diff/a.go", "os", "no I/O"},
	{"diff/a.go", "time", "no clock"},
	{"diff/a_test.go", "os", ""},
	{"diff/a.go", "encoding/binary", ""},
	{"diff/a.go", "github.com/zeebo/xxh3", ""},
	{"diff/a.go", "github.com/klauspost/compress/zstd", "matter of the format"},
	{"diff/a_test.go", "github.com/klauspost/compress/zstd", ""},
	{"diff/a_test.go", "pgregory.net/rapid", ""},
	{"diff/a.go", "pgregory.net/rapid", "for tests"},
	{"internal/durable/a.go", "journal", "the floor"},
	{"internal/sqlitefile/a.go", "diff", "none of ours"},
	{"internal/sqlitefile/a.go", "os", "slices and readers"},
	{"internal/ui/a.go", "journal", "nothing of trails"},
	{"internal/crashfs/a.go", "internal/durable", ""},
	{"internal/crashfs/a.go", "journal", "durable.FS"},

	{"journal/a.go", "diff", ""},
	{"journal/a.go", "internal/durable", ""},
	{"journal/a.go", "internal/sqlitefile", "no SQLite"},
	{"journal/a.go", "internal/capture", "no SQLite"},
	{"journal/a.go", "journal/archive", "format and nothing else"},
	{"journal/a.go", "log/slog", "logs nothing"},
	{"journal/a.go", "net/http", "the network"},
	{"journal/a.go", "github.com/klauspost/compress/zstd", ""},
	{"journal/a.go", "github.com/zeebo/xxh3", "diff.PageSum"},
	{"journal/compact/a.go", "journal/archive", "pure merge"},
	{"journal/archive/a.go", "journal/compact", ""},
	{"journal/archive/a.go", "journal/objstore/s3", "above the store's interface"},
	{"journal/ship/a.go", "vfs", "no SQLite"},
	{"journal/objstore/a.go", "journal", "neither trails nor providers"},
	{"journal/objstore/a.go", "github.com/aws/aws-sdk-go-v2/aws", "SDK"},
	{"journal/objstore/s3/a.go", "github.com/aws/aws-sdk-go-v2/aws", ""},
	{"journal/objstore/s3/a.go", "net/http", ""},
	{"journal/objstore/s3/a.go", "journal/objstore", ""},
	{"journal/objstore/gcs/a.go", "journal/objstore/s3", "stands alone"},

	{"internal/capture/a.go", "journal", ""},
	{"internal/capture/a.go", "internal/sqlitefile", ""},
	{"internal/capture/a.go", "vfs", "other front ends"},
	{"internal/capture/a.go", "apply", "no driver"},
	{"internal/capture/a.go", "github.com/ncruces/go-sqlite3/vfs", "the driver stays"},
	{"internal/capture/a_test.go", "github.com/ncruces/go-sqlite3", ""},
	{"vfs/a.go", "internal/capture", ""},
	{"vfs/a.go", "github.com/ncruces/go-sqlite3/vfs", ""},
	{"vfs/a.go", "apply", "journal bytes"},
	{"vfs/a.go", "apply/follow", "journal bytes"},
	{"vfs/a_test.go", "apply", ""},
	{"vfs/a_test.go", "internal/cli", "arrows point down"},
	{"apply/a.go", "vfs", "journal bytes"},
	{"apply/follow/a.go", "vfs", "journal bytes"},
	{"apply/a.go", "internal/capture", "journal bytes"},
	{"apply/a.go", "apply/follow", "replay reads"},
	{"apply/follow/a.go", "apply", ""},
	{"apply/live/a.go", "apply", ""},
	{"apply/live/a.go", "vfs", "journal bytes"},
	{"apply/asof/a.go", "journal/objstore", ""},

	{"internal/web/a.go", "vfs", "status interface"},
	{"internal/cli/a.go", "vfs", ""},
	{"internal/cli/a.go", "journal/objstore/s3", ""},
	{"internal/cli/a.go", "github.com/spf13/cobra", ""},
	{"internal/cli/a.go", "internal/capture", "vfs's to offer"},
	{"internal/cli/a.go", "flag", "cobra's"},
	{"cmd/pagetrail/main.go", "internal/cli", ""},
	{"cmd/pagetrail/main.go", "vfs", "ten lines"},
	{"cmd/pagetrail/main.go", "github.com/spf13/cobra", "command line's"},
	{"journal/a.go", "internal/cli", "arrows point down"},
	{"vfs/a.go", "github.com/prometheus/client_golang/prometheus", "small interface"},
	{"vfs/a.go", "C", "no cgo"},
	{"vfs/a.go", "log", "slog"},
	{"vfs/a.go", "testing", "test framework"},
	{"vfs/a_test.go", "testing", ""},
	{"vfs/a_test.go", "math/rand", "seeded"},
	{"vfs/a.go", "example.com/x", "nobody has let"},
	{"internal/attic/a.go", "fmt", "has no room"},
}

// Every rule must be able to fail.
func TestRules(t *testing.T) {
	for _, c := range ruleCases {
		path := c.imports
		if first := strings.Split(path, "/")[0]; first == "diff" || first == "journal" || first == "internal" ||
			first == "vfs" || first == "apply" || first == "cmd" {
			path = module + "/" + path
		}
		got := archtest.Check(module, []archtest.File{{
			Name: c.file, Package: filepath.ToSlash(filepath.Dir(c.file)),
			Test: strings.HasSuffix(c.file, "_test.go"), Imports: []string{path},
		}})
		switch {
		case c.why == "" && len(got) != 0:
			t.Errorf("should be allowed: %v", got)
		case c.why != "" && (len(got) != 1 || !strings.Contains(got[0].Why, c.why)):
			t.Errorf("%s imports %s: got %v, want %q", c.file, c.imports, got, c.why)
		}
	}
}

func TestTheDriverIsInOneFileOfApply(t *testing.T) {
	file := func(name string) archtest.File {
		return archtest.File{Name: "apply/" + name, Package: "apply", Imports: []string{
			"github.com/ncruces/go-sqlite3", "github.com/ncruces/go-sqlite3/vfs",
		}}
	}
	if got := archtest.Check(module, []archtest.File{file("a.go")}); len(got) != 0 {
		t.Errorf("one file: %v", got)
	}
	got := archtest.Check(module, []archtest.File{file("a.go"), file("b.go")})
	if len(got) == 0 || !strings.Contains(got[0].Why, "apply/a.go does already") {
		t.Errorf("two files: %v", got)
	}
}
