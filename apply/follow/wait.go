package follow

import (
	"context"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
)

// Wait waits until readers of the replica at path that begin now see a position
// of the primary, or a later one, and returns what they see. The follower may
// be another process. A position without a database asks for its TXID only.
//
// The error is the context's; a [journal.ErrNotFound] when the file is no
// replica; a [journal.ErrForeign] when it is one of another database or
// timeline; a [journal.ErrDiverged] when its transaction of that number is
// another.
func Wait(ctx context.Context, path string, pos journal.Position) (journal.Position, error) {
	return replica.Wait(ctx, path, pos)
}

// Where says what readers of the replica at path see who begin now.
func Where(path string) (journal.Position, error) {
	m, err := replica.Position(path)
	return m.Position, err
}
