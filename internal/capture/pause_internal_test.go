package capture

import (
	"testing"
	"time"
)

// TestPauseAfter: who commits now and then is recorded at once, who commits in close succession in batches.
func TestPauseAfter(t *testing.T) {
	for _, c := range []struct {
		name  string
		found uint64
		since time.Duration
		want  time.Duration
	}{
		{"nothing was there", 0, time.Nanosecond, 0},
		{"the first since long", 1, time.Hour, 0},
		{"one a millisecond", 1, time.Millisecond, 0},
		{"one a millisecond, after a pause", 2, linger, 0},
		{"one in the shortest time that is not brisk", 1, brisk, 0},
		{"one a little sooner", 1, brisk - 1, linger},
		{"the second of a burst", 1, 50 * time.Microsecond, linger},
		{"a burst, after a pause", 40, linger + 100*time.Microsecond, linger},
		{"more at once than a second has nanoseconds", 1 << 40, time.Second, linger},
	} {
		if got := pauseAfter(c.found, c.since); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
