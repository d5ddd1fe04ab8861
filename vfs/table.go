package vfs

import (
	"io/fs"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// PageTable reads the file "pages" of a trail: a hash of every page of the
// state that the trail ends in. It is a cache of the VFS, which is believed only
// as far as it can be checked, and is for programs that check trails. It takes
// no lock: what was read counts if State says the same before and after.
type PageTable struct{ r *capture.TableReader }

// TableState says which state a page table claims to describe; Whole is false
// when not even that can be read.
type TableState = capture.TableState

// OpenPageTable opens the page table of a trail's directory: [fs.ErrNotExist]
// when there is none.
func OpenPageTable(dir string) (*PageTable, error) {
	r, err := capture.ReadTable(durable.OS, dir)
	if err != nil {
		return nil, err
	}
	return &PageTable{r}, nil
}

// State reads which state it describes, again each time.
func (t *PageTable) State() (TableState, error) { return t.r.State() }

// Page is the hash of page no, zero beyond the end.
func (t *PageTable) Page(no uint32) (diff.Sum, error) { return t.r.Page(no) }

// Total adds up all hashes, which makes the state checksum if none is wrong.
func (t *PageTable) Total() (diff.Sum, error) { return t.r.Total() }

// Close closes the file.
func (t *PageTable) Close() error { return t.r.Close() }

// WritePageTable makes the page table of a trail anew, for the state after tx,
// whose pages hash is asked for, ascending. The trail's lock must be held, as
// by [journal.Writer.Lock].
func WritePageTable(dir string, mode fs.FileMode, tx journal.Tx, hash func(no uint32) (diff.Sum, error)) error {
	return capture.WriteTable(durable.OS, dir, mode, tx, hash)
}
