package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// headFormat is the version of the head that this release writes and reads. Version 1 came with the first release.
const headFormat = 1

// Head is what the head says.
type Head struct {
	Format   int                `json:"format"`
	Database journal.DatabaseID `json:"database"`
	Timeline journal.Timeline   `json:"timeline"`
	// Epoch counts the claims; with it no two heads have the same content.
	Epoch  uint64 `json:"epoch"`
	Writer Holder `json:"writer"`
	// Next is a hint: all batches that begin before it are there. The last is found from it.
	Next journal.TXID `json:"next"`
}

// Holder is who writes an archive.
type Holder struct {
	ID    string       `json:"id"`    // drawn at random by each Writer
	Name  string       `json:"name"`  // for people: machine, process, trail
	Since journal.Time `json:"since"` // by the holder's clock
}

func (h Holder) String() string {
	return fmt.Sprintf("%s since %s", h.Name, h.Since.Time().UTC().Format(time.RFC3339))
}

// ParseHead reads a head. A newer format is ErrVersion before anything else is looked at, an unknown field ErrFlag,
// the rest ErrCorrupt.
func ParseHead(data []byte) (Head, error) {
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
	if h.Database == (journal.DatabaseID{}) || h.Timeline == 0 || h.Next > journal.MaxTXID {
		return Head{}, fmt.Errorf("head: database %v timeline %d: %w", h.Database, h.Timeline, journal.ErrCorrupt)
	}
	return h, nil
}

// Encode is the content of the head: one line of JSON.
func (h Head) Encode() ([]byte, error) {
	data, err := json.Marshal(h)
	return append(data, '\n'), err
}

// identity is the trail's identity that the head stands for.
func (h Head) identity() journal.Identity {
	return journal.Identity{Format: 1, Database: h.Database, Timeline: h.Timeline}
}
