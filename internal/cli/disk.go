package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/sidecar"
)

// diskOptions bound what a trail that is shipped takes on its disk.
type diskOptions struct {
	keep             time.Duration
	keepBytes, quota int64
}

func (o *diskOptions) addFlags(f *pflag.FlagSet) {
	lengthVar(f, &o.keep, "keep", 0, "how `LONG` what was shipped stays on the disk (0: for ever)")
	bytesVar(f, &o.keepBytes, "keep-bytes", "the oldest that was shipped goes before, while the trail is larger than `SIZE`")
	bytesVar(f, &o.quota, "quota", "with --capture: the trail takes no more than `SIZE`; near it half of what was shipped goes")
}

func (o *diskOptions) check(capture bool) error {
	if o.quota > 0 && !capture {
		return &hintError{usagef("--quota is for what is recorded here, with --capture"), "the program says &quota= where it opens its database with ?vfs=pagetrail"}
	}
	return nil
}

// isQuota says that a trail has reached its quota.
func isQuota(err error) bool {
	_, quota := errors.AsType[*durable.QuotaError](err)
	return quota
}

// of is a source with these settings.
func (o *diskOptions) of(s sidecar.Source) sidecar.Source {
	s.Keep, s.KeepBytes, s.Quota = o.keep, o.keepBytes, o.quota
	return s
}
