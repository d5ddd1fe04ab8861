package sqlitefile

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// schemaName is what the table on page 1 is called.
const schemaName = "sqlite_schema"

// Bounds of what is read of one row of the schema. Type, name, table and root
// page come first in it, so that its SQL is hardly ever needed.
const (
	maxRow  = 16 << 10 // bytes of a row that are looked at
	maxName = 256      // bytes of a name that are kept: names are for showing
)

// root is a row of the schema that has a b-tree.
type root struct {
	name  string
	table string
	page  uint32
}

// parseRow reads a row of the schema, or the beginning of one. ok is false for
// rows without a b-tree (views, triggers, virtual tables) and for malformed
// ones.
// See https://www.sqlite.org/fileformat2.html#storage_of_the_sql_database_schema.
func parseRow(b []byte, encoding uint32) (r root, ok bool) {
	size, n := varint(b)
	if n == 0 || size > uint64(len(b)) || size < uint64(n) {
		return root{}, false
	}
	types, values := b[n:size], b[size:]
	var column [4][]byte
	var page uint64
	for i := range column {
		typ, n := varint(types)
		if n == 0 {
			return root{}, false
		}
		types = types[n:]
		length := valueBytes(typ)
		if length > uint64(len(values)) {
			return root{}, false
		}
		column[i], values = values[:length], values[length:]
		if i == 3 {
			page, ok = unsigned(typ, column[i])
		} else if typ < 13 || typ%2 == 0 {
			return root{}, false // not a text
		}
	}
	if !ok || page == 0 || page > MaxPages {
		return root{}, false
	}
	return root{name: text(column[1], encoding), table: text(column[2], encoding), page: uint32(page)}, true
}

// valueBytes is the length of a value of a serial type.
// See https://www.sqlite.org/fileformat2.html#record_format.
func valueBytes(typ uint64) uint64 {
	switch {
	case typ >= 12:
		return (typ - 12) / 2
	case typ == 5:
		return 6
	case typ == 6, typ == 7:
		return 8
	case typ <= 4:
		return typ
	default:
		return 0
	}
}

// unsigned is a value of an integer type that is not negative.
func unsigned(typ uint64, b []byte) (uint64, bool) {
	switch {
	case typ == 8 || typ == 9:
		return typ - 8, true
	case typ == 0 || typ > 6 || b[0] >= 0x80:
		return 0, false
	}
	var v [8]byte
	copy(v[8-len(b):], b)
	return binary.BigEndian.Uint64(v[:]), true
}

// text is a name in the database's encoding as UTF-8, cut to maxName bytes.
func text(b []byte, encoding uint32) string {
	if encoding != 2 && encoding != 3 {
		return strings.ToValidUTF8(string(b[:min(len(b), maxName)]), "\uFFFD")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if encoding == 3 {
		order = binary.BigEndian
	}
	units := make([]uint16, min(len(b), maxName)/2)
	for i := range units {
		units[i] = order.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
