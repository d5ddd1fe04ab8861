package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/config"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

func env(name string) (string, bool) {
	s, ok := map[string]string{"BUCKET": "backups", "EMPTY": ""}[name]
	return s, ok
}

// The example of the repository says everything there is to say, and is right.
func TestExample(t *testing.T) {
	path := filepath.Join("..", "..", "cmd", "pagetrail", "pagetrail.example.yaml")
	c, err := config.Load(path, env)
	if err != nil {
		t.Fatal(err)
	}
	if c.To != "s3://backups/sqlite?region=eu-central-1" || c.Keep != 7*24*time.Hour || c.Batch != 1<<20 || len(c.Databases) != 4 || !c.Databases[2].Capture {
		t.Errorf("%+v", c)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"to", "listen", "log", "format", "level", "grace", "keep", "keep-bytes", "quota", "interval", "batch", "workers", "scan", "look", "rest",
		"limit", "requests", "databases", "path", "glob", "dir", "name", "trail", "capture",
		"encrypt-to", "identity",
	} {
		if !strings.Contains(string(data), key+":") {
			t.Errorf("the example lacks %s:", key)
		}
	}
}

func TestMistakes(t *testing.T) {
	const rest = "to: file:///b\ndatabases: [{path: a.db}]\n"
	for text, want := range map[string]string{
		"":                     "x.yaml:1: the file is empty",
		"to: [":                "x.yaml:2: not YAML: did not find expected",
		"- a":                  "x.yaml:1: want keys and values here",
		rest + "intervall: 1s": `x.yaml:3: unknown key "intervall"; did you mean interval:?`,
		rest + "Keep: 1s":      `x.yaml:3: unknown key "Keep"; did you mean keep:?`,
		rest + "size: 1s":      `x.yaml:3: unknown key "size"; there are batch, databases, `,
		rest + "quota: 1s":     `x.yaml:3: "1s" is no number of bytes; write 512KiB, 1MiB or 4MB`,
		"to: x\ndatabases:\n- path: a\n  quota: 4MB":   `x.yaml:3: quota: is for databases with capture: true; a program that opens`,
		rest + "log:\n  fromat: json":                  `x.yaml:4: unknown key "fromat"; did you mean format:?`,
		rest + "log:\n  format: xml":                   `x.yaml:4: "xml" is none of text, json`,
		rest + "to: file:///c":                         "x.yaml:3: to: is there already, in line 1",
		rest + "keep: 7 days":                          `x.yaml:3: "7 days" is no time; write`,
		rest + "keep: -1s":                             `x.yaml:3: "-1s" is no time`,
		rest + "interval: 0s":                          "interval must be more than nothing",
		rest + "batch: 1 Mb":                           `x.yaml:3: "1 Mb" is no number of bytes`,
		rest + "limit: 0":                              `x.yaml:3: "0" is no number of bytes; write 512KiB, 1MiB or 4MB`,
		rest + "requests: many":                        `x.yaml:3: "many" is no number from 1 to 1000000`,
		rest + "workers: 0":                            `x.yaml:3: "0" is no number from 1 to 64`,
		rest + "listen: 9180":                          `x.yaml:3: "9180" is no address`,
		rest + "grace: ${NONE}":                        "x.yaml:3: the environment has no NONE; set it, or write ${NONE:-DEFAULT}",
		rest + "grace: 5$":                             "x.yaml:3: a $ that is no ${NAME}; write $$ for a dollar",
		rest + "grace: [1s]":                           "x.yaml:3: want one value here",
		"to: file:///b":                                "x.yaml:1: there are no databases",
		"databases: [{path: a}]":                       "x.yaml:1: where to?",
		"to: x\ndatabases: {path: a}":                  "x.yaml:2: want a list here",
		"to: x\ndatabases: [{name: a}]":                "x.yaml:2: a database has one of path:, glob: and dir:",
		"to: x\ndatabases:\n- glob: a\n  name: b":      "x.yaml:3: name:, to: and trail: are of one database",
		"to: x\ndatabases: [{path: a, dir: b}]":        "x.yaml:2: a database has one of path:, glob: and dir:",
		"to: x\ndatabases:\n- dir: a\n  to: b":         "x.yaml:3: name:, to: and trail: are of one database",
		"to: x\ndatabases:\n- glob: '[a'":              "x.yaml:3: glob: syntax error",
		"to: x\ndatabases:\n- path: '*.db'":            `x.yaml:3: path: is of one database, and "*.db" is a pattern; write glob: for many`,
		"to: x\ndatabases:\n- path: a\n  name: a b":    `x.yaml:3: name: "a b" cannot be the name of an archive`,
		"to: x\ndatabases:\n- path: a\n  name: ../b":   `x.yaml:3: name: "../b" cannot be the name of an archive`,
		"to: x\ndatabases:\n- path: a\n  capture: yes": `x.yaml:4: "yes" is neither true nor false`,
	} {
		_, err := config.Parse("x.yaml", []byte(text), env)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestValues(t *testing.T) {
	c, err := config.Parse("/etc/x.yaml", []byte("to: s3://${BUCKET}/a$$b${NO:-}/${EMPTY:-e}\nbatch: 4MB\nlimit: 200kB\nkeep-bytes: 2MB\nquota: 3MB\nrequests: 5\nkeep: 90d\ndatabases:\n- path: a.db\n  keep: 0s\n  keep-bytes: 1MB\n- glob: /srv/*.db\n  capture: true\n  quota: 4MB\n- dir: tenants\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	if c.To != "s3://backups/a$b/e" || c.Batch != 4e6 || c.Limit != 200_000 || c.KeepBytes != 2e6 || c.Quota != 3e6 || c.Databases[1].Quota != 4e6 || c.Requests != 5 || c.Keep != 90*24*time.Hour || c.Databases[0].Path != "/etc/a.db" || *c.Databases[0].Keep != 0 || c.Databases[0].KeepBytes != 1e6 || c.Databases[1].Keep != nil || c.Databases[2].Dir != "/etc/tenants" {
		t.Errorf("%+v", c)
	}
	for path, want := range map[string]string{
		"/srv/tenant-1/a.db":        "srv/tenant-1/a.db",
		"/srv/a b#1?.db":            "srv/a=20b=231=3F.db",
		"/srv/ü/100%.db":            "srv/=C3=BC/100=25.db",
		"/srv/a=20b.db":             "srv/a=3D20b.db",
		"/srv/.hidden/..a/[x]/c.db": "srv/=2Ehidden/=2E.a/=5Bx=5D/c.db",
	} {
		if got, err := c.Databases[1].Key(path); got != want || err != nil || objstore.CheckKey(got) != nil {
			t.Errorf("%s is %q, %v; want %s", path, got, err, want)
		}
	}
	if got, err := c.Databases[1].Key("/srv/" + strings.Repeat("ü", 400)); err == nil {
		t.Errorf("a name of %d bytes is taken", len(got))
	}
}
