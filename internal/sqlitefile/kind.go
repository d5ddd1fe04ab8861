package sqlitefile

// Kind says what a page is for.
// See https://www.sqlite.org/fileformat2.html#pages_and_page_types.
type Kind uint8

const (
	Unknown       Kind = iota // nothing refers to it, or what does is malformed
	TableInterior             // b-tree of a table: keys and children
	TableLeaf                 // b-tree of a table: rows
	IndexInterior             // b-tree of an index or of a WITHOUT ROWID table: entries and children
	IndexLeaf                 // b-tree of an index or of a WITHOUT ROWID table: entries
	Overflow                  // the rest of a row or entry that did not fit its page
	FreeTrunk                 // a page of the free list that lists others
	FreeLeaf                  // a page of the free list; its content is left over and means nothing
	PointerMap                // parents of the pages that follow it, in auto_vacuum databases
	LockBytes                 // the page at 1 GiB, which has no content
)

var kindNames = [...]string{
	Unknown:       "unknown",
	TableInterior: "table interior",
	TableLeaf:     "table leaf",
	IndexInterior: "index interior",
	IndexLeaf:     "index leaf",
	Overflow:      "overflow",
	FreeTrunk:     "free-list trunk",
	FreeLeaf:      "free-list leaf",
	PointerMap:    "pointer map",
	LockBytes:     "lock bytes",
}

// String is the kind in the words of SQLite's documentation.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Unknown]
}
