//go:build !unix

package vfs

import (
	"io/fs"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
)

// errorCodes are the result codes of errors that an application may want to
// tell apart.
var errorCodes = map[error]sqlite3.ErrorCode{
	fs.ErrPermission:  sqlite3.READONLY,
	journal.ErrLocked: sqlite3.BUSY,
}
