package journal

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/pagetrail/pagetrail/diff"
)

// TXID numbers the transactions of a trail, dense from 1; 0 is the empty database before any.
// It is shown in decimal, as PRAGMA pagetrail_txid returns it; file names have 16 hex digits, so that they sort.
type TXID uint64

// MaxTXID is the last TXID that may be used: PRAGMA values and SQL integers are signed 64-bit.
const MaxTXID TXID = 1<<63 - 1

// String is the decimal form.
func (id TXID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Timeline is one unbroken history with one writer, from 1.
type Timeline uint32

// DatabaseID identifies a database for life: 128 random bits, shown as 32 hex digits.
type DatabaseID [16]byte

// NewDatabaseID draws a new ID.
func NewDatabaseID() DatabaseID {
	var id DatabaseID
	_, _ = rand.Read(id[:]) // documented never to fail: the program ends instead
	return id
}

// String is the form of 32 hex digits.
func (id DatabaseID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText makes IDs hex strings in JSON.
func (id DatabaseID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText accepts what MarshalText makes.
func (id *DatabaseID) UnmarshalText(text []byte) error {
	got, err := ParseDatabaseID(string(text))
	if err == nil {
		*id = got
	}
	return err
}

// ParseDatabaseID reads 32 lower-case hex digits.
func ParseDatabaseID(s string) (DatabaseID, error) {
	var id DatabaseID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return DatabaseID{}, fmt.Errorf("database ID %.40q: want 32 lower-case hex digits", s)
	}
	copy(id[:], b)
	return id, nil
}

// Time is a moment in microseconds since the Unix epoch, UTC.
type Time int64

// Time is the moment as package time has it, in the local zone.
func (t Time) Time() time.Time { return time.UnixMicro(int64(t)) }

// String is the moment in UTC as RFC 3339 with microseconds.
func (t Time) String() string { return t.Time().UTC().Format("2006-01-02T15:04:05.000000Z") }

// TimeOf is the moment t, cut to microseconds.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Position says exactly which state of which database.
type Position struct {
	Database DatabaseID `json:"database"`
	Timeline Timeline   `json:"timeline"`
	TXID     TXID       `json:"txid"`
	Sum      diff.Sum   `json:"sum"`
}

// Kind says where a transaction came from.
type Kind uint8

// The kinds. Their numbers are on disk and are never used again for something else.
const (
	Ordinary Kind = iota // a commit
	Physical             // bytes changed without a commit: the residue of a rollback
	CatchUp              // what writers without the VFS changed, found by comparing; several commits merged
	Base                 // the state is not made by patches: <TXID>.base holds it

	kinds = iota // how many there are
)

// String is a word for people.
func (k Kind) String() string {
	switch k {
	case Ordinary:
		return "ordinary"
	case Physical:
		return "physical"
	case CatchUp:
		return "catch-up"
	case Base:
		return "base"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Origin says where in SQLite's own files a transaction was found; recovery compares it. The zero Origin is unknown.
type Origin struct {
	WAL           bool // from a WAL: Salt, Frame and Checksum are set
	Salt          [2]uint32
	Frame         uint32    // the commit frame, from 1
	Checksum      [2]uint32 // the commit frame's cumulative checksum
	ChangeCounter uint32    // rollback modes: the file change counter after it
}

// Tx describes one transaction.
type Tx struct {
	TXID      TXID
	Time      Time
	Kind      Kind
	PageSize  int
	PageCount uint32   // size of the database after it, in pages
	Sum       diff.Sum // state checksum after it, if SumKnown
	SumKnown  bool     // records of a sealed segment carry only the cut, save the last of each block
	SumCut    uint32   // 4 bytes of the sum, always set
	Origin    Origin   // zero in sealed segments
	Note      string
	Super     string // name of the super-journal of a transaction over several files
	Pages     uint32 // pages patched
	Bytes     int64  // bytes of the three streams
	// Folded is how many transactions before this one it stands for too, as folding leaves them: their states cannot
	// be had any more, and what is said here is said of all of them together, the last one's time and note apart.
	Folded uint64
}

// First is the first transaction that the record stands for: its own, unless others were folded into it.
func (t *Tx) First() TXID { return t.TXID - TXID(t.Folded) }

// Point is a restore point: a named TXID.
type Point struct {
	Name string `json:"name"`
	TXID TXID   `json:"txid"`
	Time Time   `json:"time"` // when it was named
}
