package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type verifyOptions struct {
	trailOptions
	deep     bool
	database string
}

func (o *verifyOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.deep, "deep", false, "compare with the database too")
	f.StringVar(&o.database, "database", "", "the database, with --deep: `FILE`, when it is not beside its trail")
}

func newVerify(env *Env) *cobra.Command {
	o := &verifyOptions{}
	return o.verb(env, trailVerb{
		name:  "verify",
		short: "Check every byte and every state of a trail",
		examples: []string{
			"pagetrail verify app.db",
			"pagetrail verify app.db --quiet && echo sound",
			"pagetrail verify --deep app.db      # ... and is the database what the trail says?",
		},
		long: `Check a whole trail: every byte of its files, and by replaying them, the state
checksum of every transaction and every base. What verify calls sound can be
restored at every transaction, save those it says are stranded: what they build on is
in the archive that the trail goes on from. After damage it goes on at the next base and
reports all it finds. Nothing is repaired or written, save a scratch file of the
database's size in the directory for temporary files (TMPDIR).

--deep then compares the state at the last transaction with the database as SQLite
reads it now, its WAL included, and checks the page table, a cache. Other programs
may go on; one that writes in a rollback mode waits as for any reader, and locks of
others are waited for 5 seconds. What the WAL has and the trail does not yet is told,
and is no fault. Pages that differ are listed with what they are; then the exit code
is 4.

Progress is drawn on a terminal; elsewhere SIGUSR1 makes it say how far it is.`,
		flags: o.addFlags,
		codes: []Code{Damaged, Gap, Nothing, Locked},
		run:   o.run,
	})
}

// verifyJSON is what verify --json answers.
type verifyJSON struct {
	Trail        string        `json:"trail"`
	Sound        bool          `json:"sound"`
	Segments     int           `json:"segments"`
	Bases        int           `json:"bases"`
	Blocks       int           `json:"blocks"`
	Transactions uint64        `json:"transactions"`
	Bytes        int64         `json:"bytes"`
	TornBytes    int64         `json:"torn_bytes,omitempty"`
	Spans        []spanJSON    `json:"spans"`
	Stranded     *spanJSON     `json:"stranded,omitempty"`
	Problems     []problemJSON `json:"problems"`
	Database     *deepJSON     `json:"database,omitempty"`
	Seconds      float64       `json:"seconds"`
}

type problemJSON struct {
	TXID  journal.TXID `json:"txid,omitempty"`
	Error string       `json:"error"`
	Code  Code         `json:"code"`
}

func (o *verifyOptions) run(ctx context.Context, env *Env) error {
	if o.database != "" && !o.deep {
		return usagef("--database is for --deep")
	}
	if o.deep && isURL(o.trail) {
		return &hintError{usagef("an archive has no database beside it to compare with"), "verify the archive without --deep, and the primary's trail with it"}
	}
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	var deep *deepCheck
	if o.deep {
		deep = &deepCheck{}
		if deep.path, err = liveDatabase(o.trail, t.Dir(), o.database); err != nil {
			return err
		}
	}
	start := env.Now()
	progress := env.progress(ctx, "reading")
	// Reading and replaying run beside each other; replaying takes longer, but only reading knows
	// how many bytes there are, so that is what the bar shows.
	report, err := apply.Verify(ctx, t.Trail, &apply.VerifyOptions{Progress: func(p apply.Progress) {
		if p.Phase == apply.PhaseScan || p.BytesTotal > 0 && p.Phase == apply.PhaseReplay {
			progress.apply(p)
		}
	}})
	if last, e := t.Last(); e == nil && t.damage != nil && t.Damage() == nil && (err == nil || len(report.Problems) > 0) {
		// Of the end of an archive that is not there the trail knows nothing.
		report.Problems = append(report.Problems, apply.Problem{TXID: last.TXID + 1, Err: t.damage})
		err = worse(err, t.damage)
	}
	if span, lost := t.lostBeginning(); lost && (err == nil || len(report.Problems) > 0) {
		report.Problems = slices.Insert(report.Problems, 0, apply.Problem{TXID: span.First, Err: t.beginning})
		err = worse(err, t.beginning)
	}
	if deep != nil && ctx.Err() == nil && (err == nil || len(report.Problems) > 0) {
		progress.phase("comparing")
		deep.check(ctx, t, progress)
		if problem := deep.problem(o.trail); problem != nil {
			report.Problems = append(report.Problems, apply.Problem{TXID: deep.report.Tx.TXID, Err: problem})
			err = worse(err, problem)
		}
	}
	progress.finish()
	if err != nil && len(report.Problems) == 0 {
		return err
	}
	took := env.since(start)
	if o.json {
		if e := writeJSON(env.Out, o.answer(t, report, deep, took)); e != nil {
			return e
		}
	} else if e := o.show(env, t, report, deep, took); e != nil {
		return e
	}
	return o.outcome(env, report, deep, err)
}

// outcome is what the command ends with, once it has shown what it found.
func (o *verifyOptions) outcome(env *Env, r apply.Report, deep *deepCheck, err error) error {
	if deep != nil && deep.err != nil {
		if len(r.Problems) == 0 {
			return deep.err
		}
		env.notice("and it was not compared with the database: %s", reasonOf(deep.err))
	}
	if len(r.Problems) == 0 {
		return nil
	}
	return &quietCode{reportCode(r), err}
}

// reportCode is the code of the worst problem: damage, then gaps and divergence.
func reportCode(r apply.Report) Code {
	var worst error
	for _, p := range r.Problems {
		worst = worse(worst, p.Err)
	}
	return problemCode(worst)
}

// problemCode is the code of a problem. What a trail needs and does not have, as the base that it begins with, is
// missing from it, and not a trail that is not there.
func problemCode(err error) Code {
	if code := codeOf(err); code != Nothing {
		return code
	}
	return Gap
}

func (o *verifyOptions) answer(t *openedTrail, r apply.Report, deep *deepCheck, took time.Duration) verifyJSON {
	j := verifyJSON{
		Trail: t.Dir(), Sound: len(r.Problems) == 0, Segments: r.Files.Segments, Bases: r.Bases, Blocks: r.Files.Blocks,
		Transactions: r.Files.Transactions, Bytes: r.Files.Bytes, TornBytes: t.torn(), Spans: []spanJSON{}, Problems: []problemJSON{}, Seconds: took.Seconds(), Database: deep.json(),
	}
	for _, s := range r.Spans {
		j.Spans = append(j.Spans, newSpanJSON(s.Span))
	}
	if s, some := t.stranded(r); some {
		span := newSpanJSON(s)
		j.Stranded = &span
	}
	for _, p := range r.Problems {
		j.Problems = append(j.Problems, problemJSON{p.TXID, reasonOf(p.Err), problemCode(p.Err)})
	}
	return j
}

func (o *verifyOptions) show(env *Env, t *openedTrail, r apply.Report, deep *deepCheck, took time.Duration) error {
	paint := env.painter(env.OutTerm)
	head := paint.Paint(ui.Good, ui.Clean(t.Dir())+" is sound")
	if n := len(r.Problems); n > 0 {
		head = paint.Paint(ui.Bad, fmt.Sprintf("%s has %s", ui.Clean(t.Dir()), ui.Plural(n, "problem", "problems")))
	}
	if _, err := fmt.Fprintln(env.Out, head); err != nil {
		return err
	}
	f := newFacts(env.Out, paint)
	for _, p := range r.Problems {
		label := "problem"
		if p.TXID != 0 {
			label = fmt.Sprintf("at %d", p.TXID)
		}
		f.styled(ui.Bad, label, "%s", ui.Clean(reasonOf(p.Err)))
	}
	for _, s := range r.Spans {
		from := "the empty database"
		if s.Base != 0 {
			from = "a base"
		}
		f.add("replayed", "%s, %d to %d, from %s", ui.Plural(s.Transactions, "transaction", "transactions"), s.First, s.Last, from)
	}
	if s, some := t.stranded(r); some {
		f.styled(ui.Warn, "stranded", "%d to %d: there, and not restorable without what comes before", s.First, s.Last)
	}
	f.add("read", "%s: %s, %s, %s", ui.Bytes(r.Files.Bytes), ui.Plural(r.Files.Segments, "segment", "segments"),
		ui.Plural(r.Files.Blocks, "block", "blocks"), ui.Plural(r.Files.Bases, "base", "bases"))
	if text := t.tornText(); text != "" {
		f.styled(ui.Warn, "tail", "%s", text)
	}
	if deep != nil {
		deep.show(f)
	}
	f.add("took", "%s", ui.Duration(took))
	if err := f.flush(); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		o.advise(env, t, r)
	}
	if cuts, err := t.Cuts(); err == nil {
		env.noticeCuts("verify", o.trail, cuts)
	}
	return nil
}

// stranded are the transactions that the trail begins with and that nothing it has leads to; false when there are none.
func (t *openedTrail) stranded(r apply.Report) (journal.Span, bool) {
	segments, err := t.Segments()
	last, lerr := t.Last()
	if err != nil || lerr != nil || len(segments) == 0 {
		return journal.Span{}, false
	}
	s := journal.Span{First: segments[0].First, Last: last.TXID}
	if len(r.Spans) > 0 {
		s.Last = r.Spans[0].First - min(r.Spans[0].First, 1)
	}
	damaged := slices.ContainsFunc(r.Problems, func(p apply.Problem) bool { return s.First <= p.TXID && p.TXID <= s.Last })
	return s, s.First <= s.Last && !damaged
}

// advise names the next commands after problems.
func (o *verifyOptions) advise(env *Env, t *openedTrail, r apply.Report) {
	trail := false // something of the trail itself is wrong
	for _, p := range r.Problems {
		if hint := hintOf(p.Err); hint != "" {
			env.notice("%s", hint)
		} else {
			trail = true
		}
	}
	if trail {
		env.notice("what can still be restored: %s", commandLine("window", o.trail))
		if !isURL(o.trail) && (reportCode(r) == Damaged || !latestIn(t, r)) {
			env.notice("what can be healed: %s", commandLine("repair", o.trail, "--dry-run"))
		}
	}
}

// latestIn says that the last transaction was replayed: then a gap before it is past, and stays.
func latestIn(t *openedTrail, r apply.Report) bool {
	last, err := t.Last()
	return err == nil && len(r.Spans) > 0 && r.Spans[len(r.Spans)-1].Last >= last.TXID
}
