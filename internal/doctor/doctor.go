// Package doctor finds out whether an object store is fit for an archive, by doing there all that an archive does, in
// a prefix of its own that it removes again.
package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for Examine; nil means defaults.
type Options struct {
	// Now is this machine's clock; default time.Now.
	Now func() time.Time
	// TempDir is where the canary lives; default os.TempDir().
	TempDir string
	// Tidy, if set, removes what the store keeps of a prefix without objects, such as directories.
	Tidy func(prefix string) error
}

// Check is one thing that was looked at.
type Check struct {
	Name    string
	Text    string        // what was found, when all is well
	Err     error         // what is wrong
	Hint    string        // what to do about that
	Skipped bool          // not done, for an earlier one failed
	Took    time.Duration // zero when skipped
}

// MaxSkew is by how much the clocks of this machine and of the store may differ: S3 refuses requests that are 15
// minutes off, and whoever restores to a time means that of other clocks.
const MaxSkew = time.Minute

// cleanUpTime limits cleaning up after an interrupt.
const cleanUpTime = 30 * time.Second

// patient is what is under way: a store, and what was found out about it.
type patient struct {
	store  objstore.Store // within its prefix
	whole  objstore.Store
	prefix string
	opt    Options
	meter  objstore.Meter
	dir    string
	canary canary
}

// Examine does one check after the other. One that fails has those that stand on it skipped.
func Examine(ctx context.Context, s objstore.Store, o *Options) (checks []Check, err error) {
	p := &patient{}
	if o != nil {
		p.opt = *o
	}
	if p.opt.Now == nil {
		p.opt.Now = time.Now
	}
	var name [8]byte
	_, _ = rand.Read(name[:]) // documented never to fail
	p.prefix = "doctor-" + hex.EncodeToString(name[:])
	p.whole = objstore.Metered(s, &p.meter)
	p.store = objstore.Sub(p.whole, p.prefix)
	if p.dir, err = os.MkdirTemp(p.opt.TempDir, "pagetrail-doctor-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()

	failed := make(map[string]bool)
	for _, c := range []struct {
		name  string
		needs string
		do    func(context.Context) (string, error)
	}{
		{"access", "", p.access},
		{"write", "access", p.write},
		{"clock", "write", p.clock},
		{"conditions", "write", p.conditions},
		{"ship", "write", p.ship},
		{"hydrate", "ship", p.hydrate},
		{"verify", "ship", p.verify},
		{"clean up", "access", p.cleanUp},
	} {
		if failed[c.needs] {
			failed[c.name] = true
			checks = append(checks, Check{Name: c.name, Skipped: true})
			continue
		}
		began := time.Now()
		text, err := c.do(ctx)
		check := Check{Name: c.name, Text: text, Took: time.Since(began)}
		if err != nil {
			failed[c.name] = true
			check.Err, check.Hint = err, p.hint(c.name, err)
		}
		checks = append(checks, check)
	}
	return checks, ctx.Err()
}

// access asks for a list, which needs the credentials, the bucket, and nothing in it.
func (p *patient) access(ctx context.Context) (string, error) {
	for _, err := range p.store.List(ctx, "", "") {
		if err != nil {
			return "", err
		}
	}
	return "the store answers, and lets itself be listed", nil
}

const paper = "object"

// write puts an object, reads it back, and a part of it.
func (p *patient) write(ctx context.Context) (string, error) {
	data := make([]byte, 100_000)
	_, _ = rand.Read(data) // documented never to fail
	began := time.Now()
	if err := p.store.Put(ctx, paper, bytes.NewReader(data), int64(len(data))); err != nil {
		return "", err
	}
	took := time.Since(began)
	for _, part := range [][2]int64{{0, -1}, {70_001, 12_345}} {
		off, n := part[0], part[1]
		body, size, err := p.store.Get(ctx, paper, off, n)
		if err != nil {
			return "", err
		}
		got, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			return "", err
		}
		want := data[off:]
		if n >= 0 {
			want = want[:n]
		}
		if size != int64(len(data)) || !bytes.Equal(got, want) {
			return "", errAltered
		}
	}
	return fmt.Sprintf("%s written in %s, read back whole and in part", ui.Bytes(int64(len(data))), ui.Duration(took)), nil
}

// errAltered is the only one that no kind of error of a store stands for.
var errAltered = errors.New("what was read is not what was written")

// clock compares this machine's clock with the time that the store gave the object.
func (p *patient) clock(ctx context.Context) (string, error) {
	before := p.opt.Now()
	if err := p.store.Put(ctx, paper, bytes.NewReader(nil), 0); err != nil {
		return "", err
	}
	after := p.opt.Now()
	for o, err := range p.store.List(ctx, paper, "") {
		switch {
		case err != nil:
			return "", err
		case o.Modified.IsZero():
			return "the store does not tell the time", nil
		}
		// Services cut the time off at whole seconds.
		skew := max(before.Truncate(time.Second).Sub(o.Modified), o.Modified.Sub(after), 0)
		if skew > MaxSkew {
			return "", fmt.Errorf("%w by %s", ErrSkew, ui.Duration(skew))
		}
		if skew < time.Second {
			return "as that of the store", nil
		}
		return "differs from that of the store by " + ui.Duration(skew), nil
	}
	return "", errAltered
}

// ErrSkew says that the clocks differ by more than MaxSkew.
var ErrSkew = errors.New("the clocks of this machine and of the store differ")

func (p *patient) conditions(ctx context.Context) (string, error) {
	if err := objstore.Probe(ctx, p.store); err != nil {
		return "", err
	}
	return "if-none-match and if-match are honoured: two writers cannot overwrite each other", nil
}

// cleanUp removes everything, also after an interrupt.
func (p *patient) cleanUp(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	var keys []string
	list := func() error {
		keys = keys[:0]
		for o, err := range p.store.List(ctx, "", "") {
			if err != nil {
				return err
			}
			keys = append(keys, o.Key)
		}
		return nil
	}
	if err := list(); err != nil {
		return "", err
	}
	removed := len(keys)
	var failed error
	for _, key := range keys {
		failed = errors.Join(failed, p.store.Delete(ctx, key))
	}
	if failed != nil {
		return "", failed
	}
	if err := list(); err != nil {
		return "", err
	}
	if len(keys) > 0 {
		return "", fmt.Errorf("%s that were deleted are still there", ui.Plural(len(keys), "object", "objects"))
	}
	if p.opt.Tidy != nil {
		if err := p.opt.Tidy(p.prefix); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s removed; %s in all", ui.Plural(removed, "object", "objects"), ui.Plural(p.meter.Requests(), "request", "requests")), nil
}
