// Package bytesize reads numbers of bytes as people write them.
package bytesize

import (
	"fmt"
	"strconv"
	"strings"
)

var units = []struct {
	name string
	n    int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// Parse reads a whole number of bytes, or of a unit of them, that is more than zero: 512KiB, 1MiB, 4MB, 100.
func Parse(s string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		if v, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64); err == nil && v > 0 && v < 1<<62/u.n {
			return v * u.n, nil
		}
		break
	}
	return 0, fmt.Errorf("%q is no number of bytes; write 512KiB, 1MiB or 4MB", s)
}
