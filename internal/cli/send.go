package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

type sendOptions struct {
	trail string
	from  string
	live  bool
}

func (o *sendOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.from, "from", "", "what the receiver has: a TXID, or a `POSITION` as PRAGMA pagetrail_position gives it")
	f.BoolVar(&o.live, "live", false, "go on with what comes, until interrupted")
}

func newSend(env *Env) *cobra.Command {
	o := &sendOptions{}
	cmd := &cobra.Command{
		Use:   "send TRAIL|DB [FLAG]... >STREAM",
		Short: "Write a trail, or what is new in it, to stdout",
		Example: examples(
			"pagetrail send app.db | ssh standby pagetrail recv replica.db           # all of it",
			"pagetrail send app.db --from 41203 >/media/stick/stream   # what came after 41203",
			"pagetrail send app.db --from 41203 --live | ssh standby pagetrail recv replica.db",
		),
		Long: `Write a stream to stdout that pagetrail recv makes a replica of, or brings one up to date
with, on any machine and by any way: a pipe through ssh, a file on a stick. It has the
bytes that pagetrail serve sends. Without --from it begins with the newest base of the
trail, or with its first transaction; with it, after the transaction that the receiver
has: pagetrail recv says at its end which that is.

` + trailHelp,
		Args: oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail = args[0]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *sendOptions) run(ctx context.Context, env *Env) error {
	if env.OutTerm {
		return &hintError{usagef("a stream is nothing to read on a terminal"), "redirect it: " + commandLine("send", o.trail) + " >FILE"}
	}
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	opt := &serve.SendOptions{Base: o.from == "", Live: o.live}
	if !opt.Base {
		if opt.After, err = o.after(ctx, t.Trail); err != nil {
			return err
		}
	}
	out := bufio.NewWriterSize(env.Out, 64<<10)
	var w io.Writer = out
	if o.live {
		w = env.Out
	}
	last, err := serve.Send(ctx, w, t.Trail, opt)
	if err = errors.Join(err, out.Flush()); errors.Is(err, syscall.EPIPE) {
		return withHint(err, "the receiver ended before the stream did")
	}
	if err != nil {
		return o.explain(err)
	}
	env.notice("sent %s up to transaction %d", ui.Clean(o.trail), last)
	return o.explain(t.ending())
}

// explain adds what to do about damage. Nil stays nil.
func (o *sendOptions) explain(err error) error {
	if codeOf(err) == Damaged {
		return withHint(err, "how bad it is: %s", commandLine("verify", o.trail))
	}
	return err
}

// after is the transaction that the receiver has. A whole position is compared with the trail's history.
func (o *sendOptions) after(ctx context.Context, t *journal.Trail) (journal.TXID, error) {
	if !strings.HasPrefix(o.from, "{") {
		if o.from == "0" {
			return 0, nil
		}
		id, err := parseTXID(o.from)
		if err != nil {
			return 0, &usageError{err}
		}
		return id, nil
	}
	var pos journal.Position
	if err := json.Unmarshal([]byte(o.from), &pos); err != nil {
		return 0, usagef("--from %.80s: %v", o.from, err)
	}
	if id := t.Identity(); pos.Database != id.Database {
		return 0, kindf(journal.ErrForeign, "the receiver has database %v, and the trail is of %v", pos.Database, id.Database)
	}
	tx, err := t.Find(ctx, pos.TXID)
	if errors.Is(err, journal.ErrRange) {
		return pos.TXID, nil // Send says what the trail holds
	}
	if err == nil && (tx.SumCut != pos.Sum.Cut() || tx.SumKnown && tx.Sum != pos.Sum) {
		err = kindf(journal.ErrDiverged, "transaction %d of the receiver is not that of the trail", pos.TXID)
	}
	return pos.TXID, err
}
