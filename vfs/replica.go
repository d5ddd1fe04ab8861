package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
)

// replicaFile is the database file of a connection that reads a replica. SQLite was told that it is read-only.
type replicaFile struct {
	wrapped
	path string
}

// waitDefault bounds PRAGMA pagetrail_wait unless it says something else.
const waitDefault = 10 * time.Second

var errReplica = errors.New("pagetrail: this is a replica: name transactions and restore points where they are written")

// Pragma answers those of the package comment's section on replicas.
func (f *replicaFile) Pragma(name, value string) (out string, err error) {
	defer recovered(&err)
	verb, ours := strings.CutPrefix(name, "pagetrail_")
	if !ours {
		return vfsutil.WrapPragma(f.File, name, value)
	}
	switch verb {
	case "txid", "position":
		m, err := replica.Position(f.path)
		if err != nil {
			return "", sqlError(err, sqlite3.ERROR)
		}
		if verb == "txid" {
			return strconv.FormatUint(uint64(m.TXID), 10), nil
		}
		return marshal(m.Position)
	case "wait":
		return f.wait(value)
	case "note", "point":
		return "", errReplica
	}
	return "", errors.New("pagetrail: no such pragma of a replica: " + name + " (there are pagetrail_txid, _position and _wait)")
}

// wait returns the transaction that readers see, once that is the one wanted or a later one.
func (f *replicaFile) wait(value string) (string, error) {
	text, limit := strings.TrimSpace(value), waitDefault
	if i := strings.LastIndexByte(text, ' '); i > 0 && !strings.HasSuffix(text, "}") {
		d, err := time.ParseDuration(text[i+1:])
		if err != nil || d < 0 {
			return "", fmt.Errorf("pagetrail: how long to wait: %q is no duration", text[i+1:])
		}
		text, limit = strings.TrimSpace(text[:i]), d
	}
	want, err := parsePosition(text)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	at, err := replica.Wait(ctx, f.path, want)
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("pagetrail: the replica is at transaction %d, and after %v not yet at %d", at.TXID, limit, want.TXID)
	}
	return strconv.FormatUint(uint64(at.TXID), 10), sqlError(err, sqlite3.ERROR)
}

// parsePosition reads a TXID, a position in JSON or a token.
func parsePosition(text string) (journal.Position, error) {
	if id, err := strconv.ParseUint(text, 10, 63); err == nil {
		return journal.Position{TXID: journal.TXID(id)}, nil
	}
	if strings.HasPrefix(text, "{") {
		var p journal.Position
		err := json.Unmarshal([]byte(text), &p)
		return p, err
	}
	return journal.ParseToken(text)
}
