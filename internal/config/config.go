// Package config reads the configuration of pagetrail run: YAML that is checked key by key, so that a misspelt setting
// is an error with its line and the name that was probably meant, and not a default that nobody asked for.
package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Config is what a file says. Every field but To and Databases has a default that works.
type Config struct {
	To        string        // URL below which each database has its archive
	Listen    string        // address of metrics, status and health; empty: none
	LogFormat string        // text or json
	LogLevel  string        // debug, info, warn or error
	Grace     time.Duration // how long is shipped after SIGTERM
	Keep      time.Duration // how long what was shipped stays in the trail; 0: for ever
	KeepBytes int64         // how many bytes of a trail stay though they were shipped; 0: as many as there are
	Quota     int64         // how many bytes the trail of a captured database may take; 0: as many as there are
	Interval  time.Duration // how long a transaction waits for others to share its batch
	Batch     int64         // bytes that end the wait
	Workers   int           // databases that are looked after at the same time
	Scan      time.Duration // how often databases are looked for
	Look      time.Duration // how often a database at rest is looked at
	Rest      time.Duration // how long nothing must change before a database rests
	Limit     int64         // bytes a second to and from stores, all together; 0: as many as there are
	Requests  int           // a second, likewise
	Databases []Database
	// EncryptTo are recipients of age, or files of them, that archives are encrypted to, and Identity files of
	// identities that read them; paths absolute.
	EncryptTo, Identity []string
}

// Database is an entry of databases: one, all that a pattern matches, or all in a directory.
type Database struct {
	Line    int    // in the file
	Path    string // of one, absolute
	Glob    string // or a pattern for many, absolute
	Dir     string // or a directory, absolute, for all below it
	Name    string // below Config.To; default the path
	To      string // URL of the archive itself, instead of Name
	Trail   string // directory of the trail; default the path and "-pagetrail"
	Capture bool   // programs write it without the VFS
	Keep    *time.Duration
	// KeepBytes and Quota are as in Config; 0: as there.
	KeepBytes, Quota int64
}

// Error is a mistake in a configuration, with its place.
type Error struct {
	Path string
	Line int
	Text string
	Hint string // what was probably meant
}

func (e *Error) Error() string {
	text := e.Text
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, text)
}

// Load reads a file. getenv expands ${NAME} and ${NAME:-default} in values; $$ is a dollar.
func Load(path string, getenv func(string) (string, bool)) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, getenv)
}

// Parse is Load of bytes; path is for messages, and relative paths in it are relative to its directory.
func Parse(path string, data []byte, getenv func(string) (string, bool)) (*Config, error) {
	p := &parser{path: path, getenv: getenv}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		e := &Error{Path: path, Line: 1, Text: "not YAML: " + err.Error()}
		if n, _ := fmt.Sscanf(err.Error(), "yaml: line %d:", &e.Line); n == 1 {
			_, e.Text, _ = strings.Cut(err.Error(), fmt.Sprintf("line %d: ", e.Line))
			e.Text = "not YAML: " + e.Text
		}
		return nil, e
	}
	if len(doc.Content) == 0 {
		return nil, &Error{Path: path, Line: 1, Text: "the file is empty", Hint: "a configuration needs to: and databases:"}
	}
	c := &Config{
		LogFormat: "text", LogLevel: "info", Grace: 30 * time.Second, Interval: time.Second, Batch: 1 << 20, Workers: 8,
		Scan: 10 * time.Second, Look: time.Second, Rest: 10 * time.Second,
	}
	p.config(c, doc.Content[0])
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// config fills in c; the first mistake is kept in p.err.
func (p *parser) config(c *Config, root *yaml.Node) {
	p.mapping(root, map[string]func(*yaml.Node){
		"to":         p.text(&c.To),
		"listen":     p.address(&c.Listen),
		"grace":      p.duration(&c.Grace),
		"keep":       p.duration(&c.Keep),
		"keep-bytes": p.bytes(&c.KeepBytes),
		"quota":      p.bytes(&c.Quota),
		"interval":   p.duration(&c.Interval),
		"batch":      p.bytes(&c.Batch),
		"workers":    p.number(&c.Workers, 1, 64),
		"scan":       p.duration(&c.Scan),
		"look":       p.duration(&c.Look),
		"rest":       p.duration(&c.Rest),
		"limit":      p.bytes(&c.Limit),
		"requests":   p.number(&c.Requests, 1, 1_000_000),
		"databases":  p.list(func(n *yaml.Node) { c.Databases = append(c.Databases, p.database(n)) }),
		"encrypt-to": p.keys(&c.EncryptTo),
		"identity":   p.keys(&c.Identity),
		"log": func(n *yaml.Node) {
			p.mapping(n, map[string]func(*yaml.Node){
				"format": p.choice(&c.LogFormat, "text", "json"),
				"level":  p.choice(&c.LogLevel, "debug", "info", "warn", "error"),
			})
		},
	})
	if p.err != nil {
		return
	}
	if len(c.Databases) == 0 {
		p.fail(root, "there are no databases", "databases: is a list of path:, glob: or dir: entries")
	}
	for _, d := range c.Databases {
		if c.To == "" && d.To == "" {
			p.failAt(d.Line, "where to? neither the file nor this database has to:", "")
		}
	}
	for name, d := range map[string]time.Duration{"interval": c.Interval, "scan": c.Scan, "look": c.Look} {
		if d <= 0 {
			p.fail(root, name+" must be more than nothing", "")
		}
	}
}

func (p *parser) database(n *yaml.Node) Database {
	d := Database{Line: n.Line}
	var keep time.Duration
	p.mapping(n, map[string]func(*yaml.Node){
		"path":       p.text(&d.Path),
		"glob":       p.text(&d.Glob),
		"dir":        p.text(&d.Dir),
		"name":       p.text(&d.Name),
		"to":         p.text(&d.To),
		"trail":      p.text(&d.Trail),
		"capture":    p.boolean(&d.Capture),
		"keep-bytes": p.bytes(&d.KeepBytes),
		"quota":      p.bytes(&d.Quota),
		"keep": func(n *yaml.Node) {
			p.duration(&keep)(n)
			d.Keep = &keep
		},
	})
	which := 0
	for _, name := range []string{d.Path, d.Glob, d.Dir} {
		if name != "" {
			which++
		}
	}
	switch {
	case which != 1:
		p.fail(n, "a database has one of path:, glob: and dir:", "")
	case d.Path == "" && (d.Name != "" || d.To != "" || d.Trail != ""):
		p.fail(n, "name:, to: and trail: are of one database, and glob: or dir: may be many", "give those a path: entry before this one")
	case d.Quota != 0 && !d.Capture:
		p.fail(n, "quota: is for databases with capture: true", "a program that opens its database with ?vfs=pagetrail says &quota= there")
	case d.Name != "" && d.To != "":
		p.fail(n, "either name: (below the file's to:) or to: (a URL of its own)", "")
	}
	if d.Name != "" {
		if _, err := d.Key(""); err != nil {
			p.fail(n, "name: "+err.Error(), "")
		}
	}
	if strings.ContainsAny(d.Path, "*?[") {
		p.fail(n, "path: is of one database, and "+strconv.Quote(d.Path)+" is a pattern", `write glob: for many, or for one with \ before each of *?[ in its name`)
	}
	if _, err := filepath.Match(d.Glob, ""); err != nil {
		p.fail(n, "glob: "+err.Error(), "")
	}
	for _, name := range []*string{&d.Path, &d.Glob, &d.Dir, &d.Trail} {
		p.absolute(n, name)
	}
	return d
}

// Loopback says that an address is reached from this machine only. What is served has names of databases in it.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// Key is the name of a database below Config.To: the one it was given, or its path, with =XX for each byte that object
// stores do not take. Two paths never have one name.
func (d *Database) Key(path string) (string, error) {
	name := d.Name
	if name == "" {
		name = objstore.PathKey(filepath.ToSlash(strings.TrimPrefix(path, filepath.VolumeName(path))))
	}
	if objstore.CheckKey(name) != nil {
		return "", fmt.Errorf("%q cannot be the name of an archive: give it one by the key name, of letters, digits and any of -_=./ in it, no part of which begins with a dot", name)
	}
	return name, nil
}
