package cli

import (
	"fmt"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// beginTrail makes the trail of a restored database, which goes on where the one that it was restored from was left.
func (o *hydrateOptions) beginTrail(env *Env, r apply.Result) error {
	dir := o.output + trailSuffix
	id, err := journal.Continue(dir, r.Position, &r.Tx, nil)
	if err != nil {
		return fmt.Errorf("%s is restored and has no trail: %w", o.output, err)
	}
	env.notice("%s goes on with transaction %d on timeline %d", dir, r.Position.TXID+1, id.Timeline)
	return nil
}
