package ui

import (
	"fmt"
	"strconv"
	"time"
)

// Bytes shows a number of bytes in decimal units with two or three digits: "412 B", "3.2 kB",
// "57 kB", "4.9 MB". A negative number keeps its sign.
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-n)
	}
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	units := [...]string{"kB", "MB", "GB", "TB", "PB", "EB"}
	i := -1
	// The limit is 999.5 and not 1000, so that rounding never shows "1000 kB".
	for v >= 999.5 && i < len(units)-1 {
		v /= 1000
		i++
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, units[max(i, 0)])
	}
	return fmt.Sprintf("%.0f %s", v, units[max(i, 0)])
}

// BytesColumn is Bytes padded so that in a column aligned to the right the digits stand below
// each other: the unit always takes two places.
func BytesColumn(n int64) string {
	s := Bytes(n)
	if len(s) > 2 && s[len(s)-2] == ' ' {
		return s + " "
	}
	return s
}

// Count shows a whole number with a comma between thousands.
func Count[T ~int | ~int64 | ~uint32 | ~uint64](n T) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Plural is a counted noun: "1 page", "2 pages".
func Plural[T ~int | ~int64 | ~uint32 | ~uint64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Duration shows how long something took or is away, in at most two units: "812 µs", "1.2 s",
// "4 min 12 s", "3 d 4 h".
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d.%d s", d/time.Second, d%time.Second/(100*time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return twoUnits(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return twoUnits(d, time.Hour, "h", time.Minute, "min")
	default:
		return twoUnits(d, 24*time.Hour, "d", time.Hour, "h")
	}
}

func twoUnits(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%s %s", Count(int64(d/large)), largeName)
	if rest := d % large / small; rest > 0 {
		s += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return s
}

// Percent shows part of whole: "5.6 %", "57 %", "< 0.1 %"; "–" when there is no whole.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case part > 0 && p < 0.1:
		return "< 0.1 %"
	case p < 9.95:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}
