package ui_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests name zones, and not every machine has the files

	"github.com/pagetrail/pagetrail/internal/ui"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestParseMoment(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	now := time.Date(2026, 11, 21, 0, 10, 30, 0, berlin)
	for _, c := range []struct{ in, want, note string }{
		{"now", "2026-11-21T00:10:30+01:00", ""},
		{"2026-11-20T14:05:00Z", "2026-11-20T14:05:00Z", ""},
		{"2026-11-20T14:05:00.123456+05:30", "2026-11-20T14:05:00.123456+05:30", ""},
		{"2026-11-20 14:05:00+05:30", "2026-11-20T14:05:00+05:30", ""},
		{"2026-11-20 14:05:00 -0300", "2026-11-20T14:05:00-03:00", ""},
		{"2026-11-20 14:05:00.5 CET", "2026-11-20T14:05:00.5+01:00", ""},
		{"2026-11-20 14:05:06.123456", "2026-11-20T14:05:06.123456+01:00", ""},
		{"2026-11-20 14:05:06", "2026-11-20T14:05:06+01:00", ""},
		{" 2026-11-20 14:05 ", "2026-11-20T14:05:00+01:00", ""},
		{"2026-07-20T14:05", "2026-07-20T14:05:00+02:00", ""},
		{"2026-11-20T14:05:06.25", "2026-11-20T14:05:06.25+01:00", ""},
		{"2026-11-20", "2026-11-20T00:00:00+01:00", "first moment"},
		{"00:10", "2026-11-21T00:10:00+01:00", ""},
		{"00:10:30", "2026-11-21T00:10:30+01:00", ""},
		{"00:10:30.000001", "2026-11-20T00:10:30.000001+01:00", "yesterday"},
		{"23:50", "2026-11-20T23:50:00+01:00", "yesterday"},
		{"-15m", "2026-11-20T23:55:30+01:00", ""},
		{"-2h30m", "2026-11-20T21:40:30+01:00", ""},
		{"-1w1d2h", "2026-11-12T22:10:30+01:00", ""},
		{"-0s", "2026-11-21T00:10:30+01:00", ""},
		// The night of 25 October: 02:30 came at +02:00 and again at +01:00.
		{"2026-10-25 02:30", "2026-10-25T02:30:00+01:00", "2026-10-25T02:30:00+02:00"},
		{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+02:00", ""},
		{"2026-10-25 01:59:59", "2026-10-25T01:59:59+02:00", ""},
		{"2026-10-25 03:00", "2026-10-25T03:00:00+01:00", ""},
	} {
		m, err := ui.ParseMoment(c.in, now, berlin)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := m.Time.Format(time.RFC3339Nano); got != c.want {
			t.Errorf("%q = %s, want %s", c.in, got, c.want)
		}
		if zoned := strings.HasPrefix(c.in, "-") || c.in == "now" || strings.HasSuffix(c.in, "Z") || strings.Contains(c.in, "+") || strings.HasSuffix(c.in, "-0300"); m.Zoned != zoned {
			t.Errorf("%q names a zone: %v", c.in, m.Zoned)
		}
		if (c.note == "") != (m.Note == "") || !strings.Contains(m.Note, c.note) {
			t.Errorf("%q is explained by %q, want %q in it", c.in, m.Note, c.note)
		}
	}
}

func TestParseMomentHalfHour(t *testing.T) {
	howe := zone(t, "Australia/Lord_Howe")
	m, err := ui.ParseMoment("2026-04-05 01:45", time.Date(2026, 11, 21, 0, 0, 0, 0, howe), howe)
	if err != nil || m.Time.Format(time.RFC3339) != "2026-04-05T01:45:00+10:30" || m.Note == "" {
		t.Errorf("01:45 on Lord Howe Island is %v, %q, %v", m.Time, m.Note, err)
	}
}

func TestParseMomentRefuses(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, berlin)
	for in, want := range map[string]string{
		"":                          "not a time",
		"tomorrow":                  "not a time",
		"41":                        "not a time",
		"25:00":                     "not a time",
		"2026-02-30":                "not a time",
		"2026-13-01 00:00":          "not a time",
		"21.11.2026":                "not a time",
		"1732183200":                "not a time",
		"2026-11-20 14:05:00 PST":   "not a time",
		"2026-07-20 14:05:00 CET":   "not a time",
		"-":                         "not an age",
		"-15":                       "not an age",
		"--5m":                      "not an age",
		"-+5m":                      "not an age",
		"-1e3d":                     "not an age",
		"-NaNd":                     "not an age",
		"-99999999d":                "not an age",
		"-1d1w":                     "not an age",
		"-5x":                       "not an age",
		"2026-03-29 02:30":          "does not exist",
		"2026-03-29T02:59:59.99999": "does not exist",
	} {
		m, err := ui.ParseMoment(in, now, berlin)
		if err == nil {
			t.Errorf("%q was taken for %v", in, m.Time)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", in, err, want)
		}
	}
}

// Whatever is typed, the answer is a time or an error, and an age never leads into the future.
func FuzzParseMoment(f *testing.F) {
	for _, s := range []string{"now", "-15m", "-1w2d3h", "14:05", "2026-10-25 02:30", "2026-11-20T14:05:00+05:30", "2026-11-20 14:05:00 CET"} {
		f.Add(s)
	}
	berlin := zone(f, "Europe/Berlin")
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, berlin)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ui.ParseMoment(s, now, berlin)
		if err != nil {
			return
		}
		if strings.HasPrefix(strings.TrimSpace(s), "-") && m.Time.After(now) {
			t.Errorf("the age %q leads to %v, after %v", s, m.Time, now)
		}
	})
}
