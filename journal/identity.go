package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// Identity is what the file "identity" of a trail says.
type Identity struct {
	Format   int        `json:"format"`
	Database DatabaseID `json:"database"`
	Timeline Timeline   `json:"timeline"`
	Parent   *Position  `json:"parent,omitempty"` // of a fork
}

// maxIdentity bounds the file: this version's is under 400 bytes, a newer one must be readable far
// enough to find its format number.
const maxIdentity = 64 << 10

// identityFile is the JSON. The sum is text, since numbers of 64 bits do not survive every JSON reader.
type identityFile struct {
	Format   int           `json:"format"`
	Database DatabaseID    `json:"database"`
	Timeline Timeline      `json:"timeline"`
	Parent   *positionFile `json:"parent,omitempty"`
}

type positionFile struct {
	Database DatabaseID `json:"database"`
	Timeline Timeline   `json:"timeline"`
	TXID     TXID       `json:"txid"`
	Sum      string     `json:"sum"`
}

// ParseIdentity reads the content of an identity file. A newer format is ErrVersion before anything
// else is looked at; an unknown field in this format is ErrFlag; the rest is ErrCorrupt.
func ParseIdentity(data []byte) (Identity, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Identity{}, because(ErrCorrupt, "identity: %v", err)
	}
	if version.Format > formatVersion {
		return Identity{}, because(ErrVersion, "identity of format %d, this program reads up to %d", version.Format, formatVersion)
	}
	var file identityFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		if json.Unmarshal(data, &file) == nil {
			return Identity{}, because(ErrFlag, "identity: %v", err)
		}
		return Identity{}, because(ErrCorrupt, "identity: %v", err)
	}
	id := Identity{Format: file.Format, Database: file.Database, Timeline: file.Timeline}
	if id.Format < 1 || id.Timeline < 1 || id.Database == (DatabaseID{}) {
		return Identity{}, because(ErrCorrupt, "identity without format, database or timeline")
	}
	if p := file.Parent; p != nil {
		sum, err := parseSumHex(p.Sum)
		if err != nil || p.TXID > MaxTXID {
			return Identity{}, because(ErrCorrupt, "identity: parent position")
		}
		id.Parent = &Position{Database: p.Database, Timeline: p.Timeline, TXID: p.TXID, Sum: sum}
	}
	return id, nil
}

// Encode is the content of the identity file: one line of JSON.
func (id Identity) Encode() ([]byte, error) {
	file := identityFile{Format: id.Format, Database: id.Database, Timeline: id.Timeline}
	if p := id.Parent; p != nil {
		file.Parent = &positionFile{Database: p.Database, Timeline: p.Timeline, TXID: p.TXID, Sum: sumHex(p.Sum)}
	}
	data, err := json.Marshal(file)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

func parseSumHex(s string) (diff.Sum, error) {
	var sum diff.Sum
	if len(s) != 32 {
		return sum, fmt.Errorf("sum %.40q: want 32 hex digits", s)
	}
	_, err := fmt.Sscanf(s, "%016x%016x", &sum.Hi, &sum.Lo)
	if err == nil && sumHex(sum) != s {
		err = fmt.Errorf("sum %q: want lower-case hex digits", s)
	}
	return sum, err
}

// readIdentity reads a trail's identity; ErrNotFound when there is none.
func readIdentity(fsys durable.FS, dir string) (Identity, error) {
	path := filepath.Join(dir, identityName)
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, noTrail(dir)
	}
	if err != nil {
		return Identity{}, err
	}
	data := make([]byte, maxIdentity+1)
	n, err := f.ReadAt(data, 0)
	if cerr := f.Close(); isEOF(err) {
		err = cerr
	}
	if err != nil {
		return Identity{}, err
	}
	if n > maxIdentity {
		return Identity{}, &Error{Path: path, Offset: -1, Err: because(ErrCorrupt, "more than %d bytes", maxIdentity), Hint: hintCorrupt}
	}
	id, err := ParseIdentity(data[:n])
	return id, located(err, path, -1, 0)
}
