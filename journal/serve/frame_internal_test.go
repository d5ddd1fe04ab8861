package serve

import (
	"errors"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// TestFormat holds the layout to journal/FORMAT.md, and every byte of it to be checked.
func TestFormat(t *testing.T) {
	h := Head{Database: journal.DatabaseID{1, 2, 3}, Timeline: 7, Heartbeat: 5 * time.Second}
	b := h.Append(nil)
	if len(b) != headSize || le.Uint16(b[8:]) != 1 || b[16] != 1 || le.Uint32(b[12:]) != 7 || le.Uint32(b[32:]) != 5000 {
		t.Errorf("head % x", b)
	}
	var h2 Head
	if err := h2.parse(b); err != nil || h2 != h {
		t.Errorf("%+v, %v", h2, err)
	}
	f := Frame{Kind: Batch, Size: 1 << 40, Last: 9, Time: 11, Clock: -3, Behind: 12}
	c := f.Append(nil)
	if len(c) != frameSize || c[0] != 'S' || le.Uint64(c[8:]) != 1<<40 || le.Uint64(c[16:]) != 9 || le.Uint64(c[24:]) != 11 || le.Uint64(c[40:]) != 12 {
		t.Errorf("frame % x", c)
	}
	var f2 Frame
	if err := f2.parse(c); err != nil || f2 != f {
		t.Errorf("%+v, %v", f2, err)
	}
	for i := range b {
		b[i] ^= 0x10
		if err := h2.parse(b); err == nil {
			t.Errorf("head with byte %d changed is taken", i)
		}
		b[i] ^= 0x10
	}
	for i := range c {
		c[i] ^= 0x10
		if err := f2.parse(c); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("frame with byte %d changed: %v", i, err)
		}
		c[i] ^= 0x10
	}
	for _, bad := range []Frame{
		{Kind: 'Q'},
		{Kind: Heartbeat, Size: 1},
		{Kind: Batch},
		{Kind: Base, Size: -1},
		{Kind: Failed, Size: maxText + 1},
		{Kind: Ended, Last: 1 << 63},
		{Kind: Ended, Behind: -1},
	} {
		if err := f2.parse(bad.Append(nil)); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	b[8] = 2
	if err := h2.parse(b); !errors.Is(err, journal.ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
}
