package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// headFormat is the version of the head that this release writes and reads. Version 1 came with the first release.
const headFormat = 1

// Head is what the head says.
type Head struct {
	Format   int                `json:"format"`
	Database journal.DatabaseID `json:"database"`
	// Timeline that is written now: the last of Lines.
	Timeline journal.Timeline `json:"timeline"`
	// Epoch counts the swaps; with it no two heads have the same content.
	Epoch  uint64 `json:"epoch"`
	Writer Holder `json:"writer"`
	// Next is a hint: all batches that begin before it are there. The last is found from it.
	Next journal.TXID `json:"next"`
	// Recent batches, and what their footers say: a help for readers, which may be missing or end earlier.
	Recent *Recent `json:"recent,omitempty"`
	// Lines are the timelines, in the order in which they began.
	Lines []Line `json:"timelines"`
	// Segments above level 0 that belong to the history, ascending. A batch within one of them is superseded.
	Segments []Segment `json:"segments,omitempty"`
	// Start is the first transaction of the history's first batch or segment, 0: unknown. Batches that begin before it, and
	// bases before Floor, are no part of the history any more.
	Start journal.TXID `json:"start,omitempty"`
	Floor journal.TXID `json:"floor,omitempty"`
	// Hold, if there is one.
	Hold *Hold `json:"hold,omitempty"`
	// Plan that is under way.
	Plan *Plan `json:"plan,omitempty"`
	// Tidied is when the last plan was done. What it left over may still be read by those who began before.
	Tidied journal.Time `json:"tidied,omitempty"`
	// Strays are objects of no timeline, as the last plan saw them: what a fork that was not finished left.
	Strays []string `json:"strays,omitempty"`
}

// Line is a timeline.
type Line struct {
	Timeline journal.Timeline `json:"timeline"`
	// Parent is where it left the one before; nil for a trail's first.
	Parent *journal.Position `json:"parent,omitempty"`
	// First transaction that its batches hold; 0 for the first timeline of an archive, which begins anywhere.
	First journal.TXID `json:"first,omitempty"`
	// From: batches of the timelines before that begin here or later are not part of its history. It is First, unless
	// it left the one before in the middle of a batch: then the transactions from From up to First were written anew.
	From journal.TXID `json:"from,omitempty"`
	// Ended is the last transaction that the timeline before had by then.
	Ended journal.TXID `json:"ended,omitempty"`
	// Fenced says that the writer of the timeline before cannot add to it any more.
	Fenced bool         `json:"fenced,omitempty"`
	Writer string       `json:"writer,omitempty"` // who began it
	Since  journal.Time `json:"since,omitempty"`  // when, by the writer's clock
}

// Segment is an object above level 0.
type Segment struct {
	Timeline  journal.Timeline `json:"timeline"` // whose key it has; its transactions may be of those before
	Level     int              `json:"level"`
	First     journal.TXID     `json:"first"`
	Last      journal.TXID     `json:"last"`
	FirstTime journal.Time     `json:"first_time"`
	LastTime  journal.Time     `json:"last_time"`
	Size      int64            `json:"size"`
	Raw       int64            `json:"raw"`              // bytes of patches, uncompressed
	Folded    uint64           `json:"folded,omitempty"` // transactions that were folded into others
	Points    int              `json:"points,omitempty"` // restore points in it
	Bases     []journal.TXID   `json:"bases,omitempty"`  // records of kind base
}

// Key of the object below the prefix.
func (s *Segment) Key() string {
	if s.Level == 0 {
		return batchKey(s.Timeline, s.First)
	}
	return segmentKey(s.Timeline, s.Level, s.First, s.Last)
}

// Holder is who writes an archive.
type Holder struct {
	ID    string       `json:"id"`    // drawn at random by each Writer
	Name  string       `json:"name"`  // for people: machine, process, trail
	Since journal.Time `json:"since"` // by the holder's clock
	// Replica says that it is a replica, which ships to an archive of its own.
	Replica bool `json:"replica,omitempty"`
}

func (h Holder) String() string {
	return fmt.Sprintf("%s since %s", h.Name, h.Since.Time().UTC().Format(time.RFC3339))
}

// ageIntro is how files of age begin: what objstore/encrypt writes, seen without it.
const ageIntro = "age-encryption.org/"

// ParseHead reads a head. One that is encrypted is objstore.ErrEncrypted. A newer format is ErrVersion before anything else is looked at, an unknown field ErrFlag,
// the rest ErrCorrupt.
func ParseHead(data []byte) (Head, error) {
	if bytes.HasPrefix(data, []byte(ageIntro)) {
		return Head{}, fmt.Errorf("the archive %w", objstore.ErrEncrypted)
	}
	var version struct {
		Format *int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil || version.Format == nil || *version.Format < 1 {
		return Head{}, fmt.Errorf("it is no head of an archive: %w", journal.ErrCorrupt)
	}
	if *version.Format > headFormat {
		return Head{}, fmt.Errorf("head of format %d, this program knows %d: %w", *version.Format, headFormat, journal.ErrVersion)
	}
	var h Head
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Head{}, fmt.Errorf("head: %w: %w", journal.ErrCorrupt, err)
		}
		return Head{}, fmt.Errorf("head: %w: %w", journal.ErrFlag, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Head{}, fmt.Errorf("head: something after it: %w", journal.ErrCorrupt)
	}
	if err := h.check(); err != nil {
		return Head{}, fmt.Errorf("head: %w: %w", err, journal.ErrCorrupt)
	}
	return h, nil
}

// check looks for what no writer writes.
func (h *Head) check() error {
	if h.Database == (journal.DatabaseID{}) || h.Timeline == 0 || h.Next > journal.MaxTXID {
		return fmt.Errorf("database %v timeline %d", h.Database, h.Timeline)
	}
	last := journal.Timeline(0)
	for i, l := range h.Lines {
		if l.Timeline <= last || l.From > l.First || l.First > journal.MaxTXID || i > 0 && (l.Parent == nil || l.From == 0) {
			return fmt.Errorf("timeline %d after %d", l.Timeline, last)
		}
		last = l.Timeline
	}
	if last != h.Timeline {
		return fmt.Errorf("it is at timeline %d and the last is %d", h.Timeline, last)
	}
	end := journal.TXID(0)
	for _, s := range h.Segments {
		if s.First <= end || s.Last < s.First || s.Last > journal.MaxTXID || s.Level < 1 || s.Level > maxLevel || s.Size <= 0 ||
			h.line(s.Timeline) == nil {
			return fmt.Errorf("segment of transactions %d to %d", s.First, s.Last)
		}
		end = s.Last
	}
	if err := h.Recent.check(h); err != nil {
		return err
	}
	return h.checkPlan()
}

// Encode is the content of the head: one line of JSON.
func (h *Head) Encode() ([]byte, error) {
	data, err := json.Marshal(h)
	if err == nil && len(data)+1 > objstore.MaxHead {
		err = fmt.Errorf("the head would have %d bytes, at most %d are read: fold more into one object", len(data)+1, objstore.MaxHead)
	}
	return append(data, '\n'), err
}

// line is a timeline of the archive; nil when there is none of that number.
func (h *Head) line(t journal.Timeline) *Line {
	for i := range h.Lines {
		if h.Lines[i].Timeline == t {
			return &h.Lines[i]
		}
	}
	return nil
}

// current is the timeline that is written.
func (h *Head) current() *Line { return &h.Lines[len(h.Lines)-1] }

// identity is the trail's identity that the head stands for.
func (h *Head) identity() journal.Identity {
	return journal.Identity{Format: 1, Database: h.Database, Timeline: h.Timeline, Parent: h.current().Parent}
}
