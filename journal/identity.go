package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Identity is what the file "identity" of a trail says.
type Identity struct {
	Format   int        `json:"format"`
	Database DatabaseID `json:"database"`
	Timeline Timeline   `json:"timeline"`
	Parent   *Position  `json:"parent,omitempty"` // of a fork
	Common   *Position  `json:"common,omitempty"` // of a branch: the last state that it shares with the next timeline
}

// maxIdentity bounds the file: this version's is under 400 bytes, a newer one must be readable far
// enough to find its format number.
const maxIdentity = 64 << 10

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
	var id Identity
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&id); err != nil {
		if json.Unmarshal(data, new(Identity)) == nil {
			return Identity{}, because(ErrFlag, "identity: %v", err)
		}
		return Identity{}, because(ErrCorrupt, "identity: %v", err)
	}
	if id.Format < 1 || id.Timeline < 1 || id.Database == (DatabaseID{}) {
		return Identity{}, because(ErrCorrupt, "identity without format, database or timeline")
	}
	for _, p := range []*Position{id.Parent, id.Common} {
		if p != nil && (p.TXID > MaxTXID || p.Timeline < 1 || p.Database == (DatabaseID{})) {
			return Identity{}, because(ErrCorrupt, "identity: parent or common position")
		}
	}
	return id, nil
}

// Encode is the content of the identity file: one line of JSON.
func (id Identity) Encode() ([]byte, error) {
	data, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
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
