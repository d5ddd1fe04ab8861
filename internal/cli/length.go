package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// lengthFlag is a flag for a length of time, written like everywhere else here: 90s, 15m, 7d, and 0 for none.
type lengthFlag time.Duration

func lengthVar(f *pflag.FlagSet, to *time.Duration, name string, otherwise time.Duration, usage string) {
	*to = otherwise
	f.Var((*lengthFlag)(to), name, usage)
}

func (l *lengthFlag) Set(s string) error {
	d, err := parseLength(s)
	if err == nil {
		*l = lengthFlag(d)
	}
	return err
}

// String is read by pflag too, for which "0" is no default worth telling.
func (l *lengthFlag) String() string {
	const day = 24 * time.Hour
	switch d := time.Duration(*l); {
	case d == 0:
		return "0"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	default:
		return d.String()
	}
}

func (l *lengthFlag) Type() string { return "LONG" }

// parseLength reads a length of time as ages are written; 0 is one.
func parseLength(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	return ui.ParseAge(s)
}
