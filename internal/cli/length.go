package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/bytesize"
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

// bytesFlag is a flag for a number of bytes.
type bytesFlag int64

func bytesVar(f *pflag.FlagSet, to *int64, name, usage string) {
	f.Var((*bytesFlag)(to), name, usage)
}

func (b *bytesFlag) Set(s string) error {
	n, err := bytesize.Parse(s)
	if err == nil {
		*b = bytesFlag(n)
	}
	return err
}

func (b *bytesFlag) String() string {
	if *b == 0 {
		return "" // which pflag takes for no default
	}
	return ui.Bytes(int64(*b))
}

// Type is of no use: usages name their values.
func (*bytesFlag) Type() string { return "bytes" }
