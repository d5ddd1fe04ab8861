package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

type statusOptions struct{ trailOptions }

func newStatus(env *Env) *cobra.Command {
	o := &statusOptions{}
	return o.verb(env, trailVerb{
		name:  "status",
		short: "Say where a trail stands, and what it takes",
		examples: []string{
			"pagetrail status app.db",
			"pagetrail status app.db --json | jq .position.txid",
		},
		long: `Say where a trail stands: its last transaction and state checksum, the files it
is made of, how its tail ends, and how much it takes.

A torn tail is what a crash leaves at the end of the file that grows: the next
program that writes cuts it off, and nothing committed is lost by that. A prepared
transaction is in the middle of its commit, or was when its program died; whether
it counts is decided by the next program that opens the database.

A fork says that a timeline ended before its last transactions and the next began: the
database lost what was shipped already, as happens when a disk lies about what it has
written, or another took over from it before all was shipped. What the next goes on
without is kept in a branch, a directory of the trail that hydrate, log and the others
take as a trail.

A cut says that the database lost transactions which nobody else had: a power cut took
them, or somebody removed its -wal file or put an older file in its place. The trail goes
on without them. What it was until then is kept in a directory of it, which every verb
takes as a trail, too; rewind DB --from DIR takes the database to a state of it. It stays
until you remove it.

DETACHED says that commits go on without the trail, as full=detach has it while the
trail cannot be written.`,
		run: o.run,
	})
}

// statusJSON is what status --json answers.
type statusJSON struct {
	Trail        string              `json:"trail"`
	Database     string              `json:"database,omitempty"`
	DatabaseSize *int64              `json:"database_file_bytes"`
	Format       int                 `json:"format"`
	Position     statusPositionJSON  `json:"position"`
	Last         *txJSON             `json:"last"`
	Tail         *tailJSON           `json:"tail"`
	Ended        fileSetJSON         `json:"ended"`
	Sealed       fileSetJSON         `json:"sealed"`
	Bases        fileSetJSON         `json:"bases"`
	Points       int                 `json:"points"`
	TrailBytes   int64               `json:"trail_bytes"`
	PatchBytes   int64               `json:"patch_bytes"`
	Gaps         []gapJSON           `json:"gaps"`
	Detached     *detachedJSON       `json:"detached,omitempty"`
	Parent       *statusPositionJSON `json:"parent,omitempty"`
	Forks        []forkJSON          `json:"forks,omitempty"`
	Cuts         []cutJSON           `json:"cuts,omitempty"`

	branches []journal.Branch
	cuts     []journal.Cut

	lost error // what the gaps come to
}

// detachedJSON says that commits go on without the trail.
type detachedJSON struct {
	Since        string       `json:"since"`
	After        journal.TXID `json:"after"`
	Reason       string       `json:"reason"`
	Transactions uint64       `json:"transactions"`
	Merged       bool         `json:"merged"`
	First        string       `json:"first,omitempty"`
	Last         string       `json:"last,omitempty"`

	since time.Time
}

func newDetachedJSON(d *vfs.Detached) *detachedJSON {
	if d == nil {
		return nil
	}
	j := &detachedJSON{
		Since: journal.TimeOf(d.Since).String(), After: d.After, Reason: d.Reason,
		Transactions: d.Transactions, Merged: d.Merged, since: d.Since,
	}
	if d.Transactions > 0 {
		j.First, j.Last = journal.TimeOf(d.First).String(), journal.TimeOf(d.Last).String()
	}
	return j
}

type statusPositionJSON struct {
	Database string       `json:"database"`
	Timeline uint32       `json:"timeline"`
	TXID     journal.TXID `json:"txid"`
	Sum      string       `json:"sum,omitempty"`
}

type fileSetJSON struct {
	Files      int          `json:"files"`
	First      journal.TXID `json:"first,omitempty"`
	Last       journal.TXID `json:"last,omitempty"`
	Bytes      int64        `json:"bytes"`
	PatchBytes int64        `json:"patch_bytes,omitempty"`
}

type tailJSON struct {
	File         string       `json:"file"`
	First        journal.TXID `json:"first"`
	Transactions uint64       `json:"transactions"`
	Bytes        int64        `json:"bytes"`
	State        string       `json:"state"`
	TornBytes    int64        `json:"torn_bytes,omitempty"`
}

func (o *statusOptions) run(ctx context.Context, env *Env) error {
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	s, err := gatherStatus(ctx, t)
	if err != nil {
		return err
	}
	if o.json {
		err = writeJSON(env.Out, s)
	} else {
		err = o.show(env, t.Trail, s)
		env.noticeCuts("log", o.trail, s.cuts)
	}
	if err == nil && s.lost != nil {
		env.notice("what can be restored all the same: %s", commandLine("window", o.trail))
		return &quietCode{codeOf(s.lost), s.lost}
	}
	return err
}

// gatherStatus collects what a trail says about itself; it reads no transaction.
func gatherStatus(ctx context.Context, t *openedTrail) (*statusJSON, error) {
	id := t.Identity()
	s := &statusJSON{Trail: t.Dir(), Format: id.Format, Gaps: []gapJSON{}}
	if db, ok := strings.CutSuffix(t.Dir(), trailSuffix); ok {
		s.Database = db
		if info, err := os.Stat(db); err == nil && info.Mode().IsRegular() {
			size := info.Size()
			s.DatabaseSize = &size
		}
	}
	last, err := t.Last()
	if err != nil {
		return nil, err
	}
	s.Position = statusPositionJSON{Database: id.Database.String(), Timeline: uint32(id.Timeline), TXID: last.TXID}
	if last.SumKnown || last.TXID == 0 {
		s.Position.Sum = last.Sum.String()
	}
	if last.TXID != 0 {
		// After a rotation the trail knows the last transaction from a header only; the whole is in the
		// segment before, if that is still there.
		if whole, err := t.Find(ctx, last.TXID); err == nil {
			whole.Sum, whole.SumKnown = last.Sum, last.SumKnown
			last = whole
		}
		s.Last = newTxJSON(last)
	}
	points, err := t.Points()
	if err != nil {
		return nil, err
	}
	s.Points = len(points)
	all, err := stretches(ctx, t)
	if err != nil {
		return nil, err
	}
	s.Gaps, s.lost = newWindowJSON("", all).Gaps, lost(all)
	detached, err := vfs.ReadDetached(t.Dir())
	if err != nil {
		return nil, err
	}
	s.Detached = newDetachedJSON(detached)
	if p := id.Parent; p != nil {
		s.Parent = &statusPositionJSON{Database: p.Database.String(), Timeline: uint32(p.Timeline), TXID: p.TXID, Sum: p.Sum.String()}
	}
	if s.branches, err = t.Branches(); err != nil {
		return nil, err
	}
	for _, b := range s.branches {
		s.Forks = append(s.Forks, newForkJSON(b))
	}
	if s.cuts, err = t.Cuts(); err != nil {
		return nil, err
	}
	s.Cuts = cutsJSON(s.cuts)
	return s, s.countFiles(t)
}

// countFiles adds up segments and bases.
func (s *statusJSON) countFiles(t *openedTrail) error {
	segments, err := t.Segments()
	if err != nil {
		return err
	}
	for i, g := range segments {
		s.TrailBytes += g.Size
		s.PatchBytes += g.RawBytes
		if i == len(segments)-1 && !g.Sealed {
			s.Tail = newTailJSON(t, g)
			continue
		}
		set := &s.Sealed
		if !g.Sealed {
			set = &s.Ended
		}
		set.add(g.First, g.Last, g.Size)
		set.PatchBytes += g.RawBytes
	}
	bases, err := t.Bases()
	if err != nil {
		return err
	}
	for _, b := range bases {
		s.TrailBytes += b.Size
		s.Bases.add(b.TXID, b.TXID, b.Size)
	}
	return nil
}

func (f *fileSetJSON) add(first, last journal.TXID, size int64) {
	if f.Files == 0 {
		f.First = first
	}
	f.Files++
	f.Last = last
	f.Bytes += size
}

func newTailJSON(t *openedTrail, g journal.SegmentInfo) *tailJSON {
	j := &tailJSON{File: g.Name, First: g.First, Transactions: uint64(g.Last - g.First + 1), Bytes: g.Size, State: "clean", TornBytes: t.torn()}
	switch {
	case t.damage != nil:
		j.State = "damaged"
	case j.TornBytes > 0:
		j.State = "torn"
	case t.Undecided() != nil:
		j.State = "prepared"
	}
	return j
}

func (o *statusOptions) show(env *Env, t *journal.Trail, s *statusJSON) error {
	paint := env.painter(env.OutTerm)
	if _, err := fmt.Fprintln(env.Out, paint.Paint(ui.Bold, ui.Clean(t.Dir()))); err != nil {
		return err
	}
	f := newFacts(env.Out, paint)
	s.showPosition(env, f)
	s.showFiles(f)
	for _, g := range s.Gaps {
		row := logRow{lostFrom: g.First, lostTo: g.Last}
		f.styled(ui.Bad, "LOST", "%s: %s", row.lostRange(), ui.Clean(g.Reason))
	}
	return f.flush()
}

func (s *statusJSON) showPosition(env *Env, f *facts) {
	switch {
	case s.Database == "":
	case s.DatabaseSize == nil:
		f.styled(ui.Warn, "database", "%s is not there; hydrate brings it back", ui.Clean(filepath.Base(s.Database)))
	default:
		f.add("database", "%s, %s", ui.Clean(filepath.Base(s.Database)), ui.Bytes(*s.DatabaseSize))
	}
	f.add("identity", "%s, timeline %d, format %d", s.Position.Database, s.Position.Timeline, s.Format)
	if s.Parent != nil {
		f.add("parent", "timeline %d after transaction %d", s.Parent.Timeline, s.Parent.TXID)
	}
	for _, b := range s.branches {
		f.styled(ui.Warn, "fork", "%s", forkText(b))
	}
	for _, c := range s.cuts {
		f.styled(ui.Warn, "cut", "%s", ui.Clean(cutText(env, c)))
	}
	if s.Last == nil {
		f.add("position", "no transactions yet")
		s.showDetached(env, f)
		return
	}
	at := journalTime(s.Last.Time)
	f.styled(ui.Bold, "position", "transaction %d of %s, %s", s.Position.TXID, env.showTime(at), env.ago(at))
	s.showDetached(env, f)
	f.add("state", "%s in %s of %d bytes", ui.Bytes(s.Last.SizeBytes), ui.Plural(s.Last.PageCount, "page", "pages"), s.Last.PageSize)
	if s.Position.Sum != "" {
		f.add("checksum", "%s", s.Position.Sum)
	}
}

func (s *statusJSON) showDetached(env *Env, f *facts) {
	d := s.Detached
	if d == nil {
		return
	}
	f.styled(ui.Bad, "DETACHED", "since %s: the trail cannot be written (%s)", env.showTime(d.since), ui.Clean(d.Reason))
	what := "the WAL still has them"
	if d.Merged {
		what = "they will be one catch-up"
	}
	f.styled(ui.Bad, "", "%s committed without it; with the next write after there is room it takes them in, and %s",
		ui.Plural(d.Transactions, "transaction", "transactions"), what)
}

func (s *statusJSON) showFiles(f *facts) {
	if t := s.Tail; t != nil {
		style := ui.Plain
		if t.State != "clean" {
			style = ui.Warn
		}
		f.styled(style, "tail", "%s in %s, %s", ui.Plural(t.Transactions, "transaction", "transactions"), ui.Bytes(t.Bytes), t.explain())
	}
	if s.Ended.Files > 0 {
		f.add("ended", "%s in %s, to be sealed by the next program that writes", ui.Plural(s.Ended.Files, "segment", "segments"), ui.Bytes(s.Ended.Bytes))
	}
	if s.Sealed.Files > 0 {
		f.add("sealed", "%s in %s, transactions %d to %d", ui.Plural(s.Sealed.Files, "segment", "segments"), ui.Bytes(s.Sealed.Bytes), s.Sealed.First, s.Sealed.Last)
	}
	if s.Bases.Files > 0 {
		f.add("bases", "%s in %s, the last of transaction %d", ui.Plural(s.Bases.Files, "base", "bases"), ui.Bytes(s.Bases.Bytes), s.Bases.Last)
	}
	if s.Points > 0 {
		f.add("points", "%s", ui.Plural(s.Points, "restore point", "restore points"))
	}
	total := ui.Bytes(s.TrailBytes)
	if s.Sealed.PatchBytes > 0 {
		total += fmt.Sprintf("; sealed, %s of patches take %s (%s)", ui.Bytes(s.Sealed.PatchBytes), ui.Bytes(s.Sealed.Bytes), ui.Percent(s.Sealed.Bytes, s.Sealed.PatchBytes))
	}
	f.add("takes", "%s", total)
}

// explain says what the state of a tail means.
func (t *tailJSON) explain() string {
	switch t.State {
	case "torn":
		return fmt.Sprintf("then %s torn off by a crash, which the next writer cuts away", ui.Bytes(t.TornBytes))
	case "damaged":
		return "then damaged"
	case "prepared":
		return "then one prepared: in the middle of its commit, or its program died there"
	}
	return "ends clean"
}
