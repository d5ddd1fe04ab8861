package replica

import (
	"bytes"
	"os"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// TakeoverSuffix follows the name of a replica in that of the file that says that its promotion has begun: no follower
// follows into it any more.
const TakeoverSuffix = "-takeover"

// Begin makes the database file at path a replica that is where m says, durably and in one step: it writes the file of
// its slots.
func Begin(path string, m Mark, perm os.FileMode) error {
	m.Seq = 1
	b := bytes.Repeat([]byte{0}, SlotSize+MarkSize)
	m.Put(b[SlotSize:])
	return durable.WriteFile(durable.OS, path+Suffix, b, perm)
}
