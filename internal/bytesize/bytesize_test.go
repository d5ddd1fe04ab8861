package bytesize_test

import (
	"testing"

	"github.com/pagetrail/pagetrail/internal/bytesize"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "100B": 100, "2 kB": 2000, "512KiB": 512 << 10, "4MB": 4_000_000, "1MiB": 1 << 20, "3GB": 3_000_000_000, "2GiB": 2 << 30,
		"": 0, "0": 0, "-1": 0, "1.5MB": 0, "1 Mb": 0, "MB": 0, "9999999999GB": 0, "99999999999999999999": 0,
	} {
		if got, err := bytesize.Parse(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
}
