package cli

import "time"

// showTime is a moment for people, to the microsecond that the trail keeps, so that it can be
// copied back into --at and mean the same transaction; the zone goes with it.
func showTime(t time.Time, zone *time.Location) string {
	t = t.In(zone)
	return t.Format("2006-01-02 15:04:05.000000 ") + showZone(t)
}

// showZone is the abbreviation and the offset: "CET +01:00"; just "UTC" there.
func showZone(t time.Time) string {
	name, offset := t.Zone()
	if name == "UTC" {
		return name
	}
	if offset == 0 || name == "" || name[0] == '+' || name[0] == '-' {
		return t.Format("-07:00")
	}
	return name + t.Format(" -07:00")
}

// jsonTime is RFC 3339 in UTC with all six places, so that times sort as text.
func jsonTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
