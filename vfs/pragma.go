package vfs

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"

	"github.com/pagetrail/pagetrail/journal"
)

// Pragma answers the PRAGMAs that the package comment lists and hands all
// others to the VFS beneath.
// See https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlpragma.
func (f *mainFile) Pragma(name, value string) (out string, err error) {
	defer recovered(&err)
	verb, ours := strings.CutPrefix(name, "pagetrail_")
	if !ours {
		return vfsutil.WrapPragma(f.File, name, value)
	}
	switch verb {
	case "txid":
		p, err := f.position()
		return strconv.FormatUint(uint64(p.TXID), 10), sqlError(err, sqlite3.ERROR)
	case "position":
		p, err := f.position()
		if err != nil {
			return "", sqlError(err, sqlite3.ERROR)
		}
		return marshal(p)
	case "status":
		s, err := f.status()
		if err != nil {
			return "", sqlError(err, sqlite3.ERROR)
		}
		return marshal(s)
	case "note":
		if len(value) > MaxNote {
			return "", errNote
		}
		f.conn.Note(value)
		if value == "" {
			// Without a text SQLite has no name for the column either, at which the driver panics.
			return "no note", nil
		}
		return value, nil
	case "point":
		if value == "" {
			return "", errPoint
		}
		p, err := f.conn.Point(value)
		return strconv.FormatUint(uint64(p.TXID), 10), sqlError(err, sqlite3.ERROR)
	}
	return "", errors.New("pagetrail: no such pragma: " + name +
		" (there are pagetrail_txid, _position, _status, _note and _point)")
}

// MaxNote is the most bytes that a note may have.
const MaxNote = 4096

var (
	errNote  = errors.New("pagetrail: a note may have at most 4096 bytes")
	errPoint = errors.New("pagetrail: a restore point needs a name: PRAGMA pagetrail_point='before the migration'")
)

func marshal(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func (f *mainFile) position() (journal.Position, error) {
	tx, id, err := f.conn.Position()
	return journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: tx.Sum}, err
}
