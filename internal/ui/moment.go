package ui

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Moment is a point in time as a person named it.
type Moment struct {
	Time time.Time
	// Zoned says that the words named a zone, or an age: nobody can take it in another one.
	Zoned bool
	// Note says what was decided where the words left a choice: which day a time of day was taken
	// for, which of the two 02:30 of the night when clocks go back. Empty when there was none.
	Note string
}

// momentForms is the grammar of times, for help and errors.
const momentForms = "RFC 3339 (2026-11-21T14:05:00+01:00), local time ('2026-11-21 14:05', 14:05:30), a date, an age (-15m, -2h30m, -3d), or now"

// layouts of local times. Go takes a fraction after the seconds without being told.
var (
	dateTimeLayouts = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"}
	clockLayouts    = []string{"15:04:05", "15:04"}
	zonedLayouts    = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST"}
)

// ParseMoment understands what a person types for a time. Times without a zone are local to zone;
// a time of day is the last one that has passed; an age counts back from now.
func ParseMoment(s string, now time.Time, zone *time.Location) (Moment, error) {
	s = strings.TrimSpace(s)
	now = now.In(zone)
	if s == "now" {
		return Moment{Time: now, Zoned: true}, nil
	}
	if strings.HasPrefix(s, "-") {
		age, err := ParseAge(s[1:])
		if err != nil {
			return Moment{}, fmt.Errorf("the age %q: %w", s, err)
		}
		return Moment{Time: now.Add(-age), Zoned: true}, nil
	}
	for _, l := range zonedLayouts {
		t, err := time.Parse(l, s)
		if err != nil {
			continue
		}
		if strings.HasSuffix(l, "MST") && !knownAbbreviation(t, s, zone) {
			continue
		}
		if strings.HasSuffix(l, "MST") {
			return localMoment(t, zone, "")
		}
		return Moment{Time: t, Zoned: true}, nil
	}
	for _, l := range dateTimeLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return localMoment(t, zone, "")
		}
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return localMoment(t, zone, "the day's first moment, 00:00")
	}
	for _, l := range clockLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return clockMoment(t, now, zone)
		}
	}
	return Moment{}, fmt.Errorf("%q is not a time; write %s", s, momentForms)
}

// knownAbbreviation says whether the zone abbreviation that ends s is UTC or the one that the local
// zone has then. Go would take any other for a zone of its own at offset zero: hours wrong, silently.
func knownAbbreviation(t time.Time, s string, zone *time.Location) bool {
	name := s[strings.LastIndexByte(s, ' ')+1:]
	local, _ := wall(t, zone).Zone()
	return name == local
}

// wall is the moment at which a clock in zone shows what t shows.
func wall(t time.Time, zone *time.Location) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}

// localMoment finds the moment of a wall clock, and says so when the clock shows it twice or never.
func localMoment(t time.Time, zone *time.Location, note string) (Moment, error) {
	m := wall(t, zone)
	if m.Hour() != t.Hour() || m.Minute() != t.Minute() {
		return Moment{}, fmt.Errorf("%s does not exist in %s: clocks were put forward over it; write the zone, as in %s",
			t.Format("2006-01-02 15:04"), zoneName(m, zone), m.Format(time.RFC3339))
	}
	// Clocks go back by an hour nearly everywhere and by half an hour on Lord Howe Island.
	for _, back := range []time.Duration{time.Hour, 30 * time.Minute} {
		for _, other := range []time.Time{m.Add(-back), m.Add(back)} {
			if other.Hour() != m.Hour() || other.Minute() != m.Minute() {
				continue
			}
			first, second := m, other
			if other.Before(m) {
				first, second = other, m
			}
			return Moment{Time: second, Note: fmt.Sprintf("clocks were put back then and showed this twice; taken is the second, %s, the first was %s",
				second.Format(time.RFC3339), first.Format(time.RFC3339))}, nil
		}
	}
	return Moment{Time: m, Note: note}, nil
}

// clockMoment is the last time that a clock showed t: a person who types 23:50 shortly after
// midnight means yesterday, and nobody asks for a state of the future.
func clockMoment(t, now time.Time, zone *time.Location) (Moment, error) {
	at := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	m, err := localMoment(at, zone, "")
	if err == nil && !m.Time.After(now) {
		return m, nil
	}
	m, err = localMoment(at.AddDate(0, 0, -1), zone, "")
	if err == nil && m.Note == "" {
		m.Note = "yesterday's: today's is yet to come"
	}
	return m, err
}

// zoneName is how a zone is called at a moment: "CET", or the offset for zones without letters.
func zoneName(t time.Time, zone *time.Location) string {
	name, _ := t.In(zone).Zone()
	return name
}

// ParseAge understands "15m", "2h30m", "1.5h", "3d", "1w2d": Go's durations, and days and weeks of
// 24 hours. It must be positive.
func ParseAge(s string) (time.Duration, error) {
	const forms = "write it like 90s, 15m, 2h30m, 3d or 1w"
	var total time.Duration
	rest := s
	for _, unit := range []struct {
		letter byte
		length time.Duration
	}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}} {
		i := strings.IndexByte(rest, unit.letter)
		if i < 0 {
			continue
		}
		// ParseFloat takes NaN, infinities and exponents too, none of which is an age.
		if strings.Trim(rest[:i], "0123456789.") != "" {
			return 0, fmt.Errorf("not an age; %s", forms)
		}
		n, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil || n > 36_500 {
			return 0, fmt.Errorf("not an age; %s", forms)
		}
		total += time.Duration(n * float64(unit.length))
		rest = rest[i+1:]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.HasPrefix(rest, "+") {
			return 0, fmt.Errorf("not an age; %s", forms)
		}
		total += d
	}
	if total < 0 || s == "" {
		return 0, fmt.Errorf("not an age; %s", forms)
	}
	return total, nil
}
