package config

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/pagetrail/pagetrail/internal/bytesize"
)

// parser turns nodes into values and keeps the first mistake.
type parser struct {
	path   string
	getenv func(string) (string, bool)
	err    error
}

func (p *parser) failAt(line int, text, hint string) {
	if p.err == nil {
		p.err = &Error{Path: p.path, Line: line, Text: text, Hint: hint}
	}
}

func (p *parser) fail(n *yaml.Node, text, hint string) { p.failAt(n.Line, text, hint) }

// mapping hands each value to the function of its key.
func (p *parser) mapping(n *yaml.Node, keys map[string]func(*yaml.Node)) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "want keys and values here: "+strings.Join(slices.Sorted(maps.Keys(keys)), ", "), "")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		set, ok := keys[key.Value]
		if !ok {
			p.fail(key, fmt.Sprintf("unknown key %q", key.Value), suggest(key.Value, keys))
			return
		}
		if line, twice := seen[key.Value]; twice {
			p.fail(key, fmt.Sprintf("%s: is there already, in line %d", key.Value, line), "")
			return
		}
		seen[key.Value] = key.Line
		set(value)
	}
}

// suggest names the key that was probably meant, else all there are.
func suggest(key string, keys map[string]func(*yaml.Node)) string {
	names := slices.Sorted(maps.Keys(keys))
	best, at := "", 1+len(key)/3
	for _, name := range names {
		if d := distance(strings.ToLower(key), name); d <= at {
			best, at = name, d-1
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s:?", best)
	}
	return "there are " + strings.Join(names, ", ")
}

// distance is how many letters have to be changed, put in or left out.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// scalar is a value with the environment expanded.
func (p *parser) scalar(n *yaml.Node) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		p.fail(n, "want one value here", "")
		return "", false
	}
	var out strings.Builder
	for s := n.Value; ; {
		text, rest, found := strings.Cut(s, "$")
		out.WriteString(text)
		if !found {
			return out.String(), true
		}
		if rest, ok := strings.CutPrefix(rest, "$"); ok {
			out.WriteByte('$')
			s = rest
			continue
		}
		name, after, ok := strings.Cut(strings.TrimPrefix(rest, "{"), "}")
		if !ok || !strings.HasPrefix(rest, "{") {
			p.fail(n, "a $ that is no ${NAME}", "write $$ for a dollar")
			return "", false
		}
		name, otherwise, has := strings.Cut(name, ":-")
		value, set := p.getenv(name)
		if !set && !has {
			p.fail(n, fmt.Sprintf("the environment has no %s", name), fmt.Sprintf("set it, or write ${%s:-DEFAULT}", name))
			return "", false
		}
		if !set || value == "" && has {
			value = otherwise
		}
		out.WriteString(value)
		s = after
	}
}

func (p *parser) value(set func(n *yaml.Node, s string)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if s, ok := p.scalar(n); ok {
			set(n, s)
		}
	}
}

func (p *parser) text(to *string) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		if *to = s; s == "" {
			p.fail(n, "the value is empty", "")
		}
	})
}

// absolute makes a path one that is relative to the file's directory.
func (p *parser) absolute(n *yaml.Node, name *string) {
	if *name == "" || filepath.IsAbs(*name) {
		return
	}
	dir, err := filepath.Abs(filepath.Dir(p.path))
	if err != nil {
		p.fail(n, err.Error(), "")
	}
	*name = filepath.Join(dir, *name)
}

// keys takes one key or a list of them: each is a path, or the key itself.
func (p *parser) keys(to *[]string) func(*yaml.Node) {
	one := func(n *yaml.Node) {
		var s string
		p.text(&s)(n)
		if !strings.HasPrefix(s, "age1") && !strings.HasPrefix(s, "AGE-SECRET-KEY-") {
			p.absolute(n, &s)
		}
		*to = append(*to, s)
	}
	return func(n *yaml.Node) {
		if n.Kind == yaml.SequenceNode {
			p.list(one)(n)
			return
		}
		one(n)
	}
}

func (p *parser) choice(to *string, of ...string) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		if *to = s; !slices.Contains(of, s) {
			p.fail(n, fmt.Sprintf("%q is none of %s", s, strings.Join(of, ", ")), "")
		}
	})
}

func (p *parser) address(to *string) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		if _, _, err := net.SplitHostPort(s); s != "" && err != nil {
			p.fail(n, fmt.Sprintf("%q is no address", s), "write HOST:PORT, such as 127.0.0.1:9180")
		}
		*to = s
	})
}

func (p *parser) boolean(to *bool) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		switch s {
		case "true":
			*to = true
		case "false":
			*to = false
		default:
			p.fail(n, fmt.Sprintf("%q is neither true nor false", s), "")
		}
	})
}

func (p *parser) number(to *int, least, most int) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		v, err := strconv.Atoi(s)
		if err != nil || v < least || v > most {
			p.fail(n, fmt.Sprintf("%q is no number from %d to %d", s, least, most), "")
		}
		*to = v
	})
}

// duration takes what Go takes, and days.
func (p *parser) duration(to *time.Duration) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		d, err := time.ParseDuration(s)
		if days, ok := strings.CutSuffix(s, "d"); err != nil && ok {
			var v int
			if v, err = strconv.Atoi(days); err == nil && v < 36500 {
				d = time.Duration(v) * 24 * time.Hour
			}
		}
		if err != nil || d < 0 {
			p.fail(n, fmt.Sprintf("%q is no time", s), "write 500ms, 10s, 5m, 12h or 7d")
		}
		*to = d
	})
}

// bytes takes a number with or without a unit.
func (p *parser) bytes(to *int64) func(*yaml.Node) {
	return p.value(func(n *yaml.Node, s string) {
		v, err := bytesize.Parse(s)
		if err != nil {
			p.fail(n, err.Error(), "")
		}
		*to = v
	})
}

func (p *parser) list(each func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.SequenceNode {
			p.fail(n, "want a list here", "each entry begins with - ")
			return
		}
		for _, item := range n.Content {
			each(item)
		}
	}
}
