package takeover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
)

// planFormat is the version of the plan that this release writes and reads.
const planFormat = 1

// plan is the content of R-takeover.
type plan struct {
	Format  int    `json:"format"`
	ID      string `json:"id"`      // of the archive's next writer
	Archive string `json:"archive"` // its name; empty: none is claimed
	// Ends is the timeline that is taken over from, by the archive's head.
	Ends journal.Timeline `json:"ends,omitempty"`
	// Start is where the next timeline begins; nil before that is known.
	Start *start `json:"start,omitempty"`
}

// start is the state after which a timeline begins.
type start struct {
	Position  journal.Position `json:"position"` // parent of the timeline
	Time      journal.Time     `json:"time"`
	PageSize  int              `json:"page_size"`
	PageCount uint32           `json:"page_count"`
	Merged    journal.TXID     `json:"merged,omitempty"` // the replica's last transaction, when it is beyond the position
}

// next is the identity of the timeline that begins there.
func (s *start) next() journal.Identity {
	return journal.Identity{Format: 1, Database: s.Position.Database, Timeline: s.Position.Timeline + 1, Parent: &s.Position}
}

func (s *start) tx() journal.Tx {
	return journal.Tx{
		TXID: s.Position.TXID, Time: s.Time, PageSize: s.PageSize, PageCount: s.PageCount,
		Sum: s.Position.Sum, SumKnown: true, SumCut: s.Position.Sum.Cut(),
	}
}

// readPlan reads the plan of a replica; nil when there is none.
func readPlan(path string) (*plan, error) {
	data, err := os.ReadFile(path + replica.TakeoverSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fail := func(err error) error { return fmt.Errorf("%s: %w", path+replica.TakeoverSuffix, err) }
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil || version.Format < 1 {
		return nil, fail(fmt.Errorf("it is no plan of a takeover; without it the replica is one again: %w", journal.ErrCorrupt))
	}
	if version.Format > planFormat {
		return nil, fail(fmt.Errorf("plan of format %d, this program knows %d: %w", version.Format, planFormat, journal.ErrVersion))
	}
	p := new(plan)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fail(fmt.Errorf("%w: %w", journal.ErrFlag, err))
	}
	return p, nil
}

func (p *plan) write(path string, perm fs.FileMode) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS, path+replica.TakeoverSuffix, append(data, '\n'), perm)
}

// remove takes a file away, durably; that it is gone already is as good.
func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.OS.SyncDir(filepath.Dir(name))
}

// begun is the plan that is there, or a new one.
func (t *takeover) begun(ctx context.Context) error {
	p, err := readPlan(t.path)
	if err != nil {
		return err
	}
	claims := t.o.Archive
	if t.o.Store == nil {
		claims = ""
	}
	if p == nil {
		t.plan = &plan{Format: planFormat, ID: archive.NewWriterID(), Archive: claims}
		if t.o.Store != nil {
			if err := t.withArchive(ctx, func(r *archive.Reader) error { t.plan.Ends = r.Head().Timeline; return nil }); err != nil {
				return err
			}
		}
		return t.step("write the plan", func() error { return t.plan.write(t.path, t.perm) })
	}
	if p.Archive != claims {
		return fmt.Errorf("%s: its takeover was begun with %s, and is to go on with %s: %w",
			t.path, named(p.Archive), named(claims), fs.ErrInvalid)
	}
	t.plan = p
	return nil
}

func named(archive string) string {
	if archive == "" {
		return "no archive"
	}
	return "the archive " + archive
}
