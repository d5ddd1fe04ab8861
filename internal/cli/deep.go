package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/apply/live"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// liveDatabase finds the database that a trail belongs to: the one that the flag names, else the one
// beside the trail.
func liveDatabase(arg, dir, flag string) (string, error) {
	path := flag
	if path == "" {
		if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
			path = arg
		} else if db, ok := strings.CutSuffix(filepath.Clean(dir), trailSuffix); ok {
			path = db
		} else {
			return "", &hintError{usagef("%s: which database is it the trail of?", dir), "name it: --database FILE"}
		}
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return "", &hintError{kindf(journal.ErrNotFound, "%s: the database is not there", path), "hydrate brings it back; if it lies elsewhere, name it: --database FILE"}
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", &hintError{usagef("%s is no file, so no database", path), "name the database: --database FILE"}
	}
	return path, nil
}

// deepCheck compares a trail with its database, and with the page table.
type deepCheck struct {
	path   string
	report live.Report
	table  tableCheck
	err    error // why it could not be done
}

// tableCheck is what was found of the page table.
type tableCheck struct {
	state string // missing, unreadable, stale, wrong, moving, agrees
	txid  journal.TXID
	wrong uint64 // entries
}

// pageTableStates say what the states mean.
var pageTableStates = map[string]string{
	"agrees":     "a hash of every page, all right",
	"missing":    "not there",
	"unreadable": "without a header that could be read, as a crash may leave it",
	"moving":     "not checked: it is being written to",
}

func (t *tableCheck) explain() string {
	switch t.state {
	case "stale":
		return fmt.Sprintf("of transaction %d", t.txid)
	case "wrong":
		return fmt.Sprintf("%s not those of its pages", ui.Plural(t.wrong, "hash is", "hashes are"))
	}
	return pageTableStates[t.state]
}

// fine says that there is nothing to do about the page table. Else the next program that writes makes
// it anew, at the cost of reading the database once.
func (t *tableCheck) fine() bool { return t.state == "agrees" || t.state == "moving" }

// check does it all. What goes wrong with the page table itself is no reason to end: it is a cache.
func (d *deepCheck) check(ctx context.Context, t *openedTrail, bar *progressBar) {
	if t.damage != nil {
		last, _ := t.Last()
		d.err = kindf(t.damage, "the trail can be read only up to transaction %d, which the database has left behind", last.TXID)
		return
	}
	table, err := openTable(t.Dir())
	if err != nil {
		d.err = err
		return
	}
	if table != nil {
		defer table.close()
	}
	d.report, d.err = live.Compare(ctx, t.Trail, d.path, &live.Options{
		Progress: bar.update,
		Page: func(no uint32, sum diff.Sum) {
			if table != nil {
				table.page(no, sum)
			}
		},
	})
	if d.err == nil {
		d.table, d.err = table.verdict(&d.report)
	}
	d.err = explainLive(d.path, d.err)
}

// explainLive puts what to do about it to an error of comparing.
func explainLive(path string, err error) error {
	switch {
	case errors.Is(err, live.ErrHotJournal):
		return withHint(err, "SQLite plays it back when a program opens the database, as: sqlite3 %s .schema", path)
	case errors.Is(err, live.ErrBusy):
		return withHint(err, "try again when the program that uses it is done, or closes it (locking_mode=EXCLUSIVE keeps it to itself)")
	case errors.Is(err, live.ErrNotDatabase):
		return withHint(err, "it is damaged, or encrypted; what the trail says it was: %s", commandLine("hydrate", path, "-o", "FILE"))
	}
	return err
}

// tableReader compares the page table with the hashes of pages as they are read.
type tableReader struct {
	t      *vfs.PageTable
	before vfs.TableState
	last   uint32
	wrong  uint64
	err    error
}

// openTable opens the page table; nil when there is none.
func openTable(dir string) (*tableReader, error) {
	t, err := vfs.OpenPageTable(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &tableReader{t: t}
	if r.before, err = t.State(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return r, nil
}

func (r *tableReader) close() { _ = r.t.Close() } // it was only read

// page compares an entry. Pages come ascending; a lower one begins another state.
func (r *tableReader) page(no uint32, sum diff.Sum) {
	if no <= r.last {
		r.wrong = 0
	}
	r.last = no
	got, err := r.t.Page(no)
	if err != nil && r.err == nil {
		r.err = err
	}
	if got != sum {
		r.wrong++
	}
}

// verdict says what the page table is worth.
func (r *tableReader) verdict(report *live.Report) (tableCheck, error) {
	if r == nil {
		return tableCheck{state: "missing"}, nil
	}
	wrong := r.wrong
	if !report.Agrees && r.before.Whole { // the pages read are of another state: only the whole tells
		total, err := r.t.Total()
		if err != nil {
			return tableCheck{}, err
		}
		if wrong = 0; total != r.before.Sum {
			wrong = 1
		}
	}
	after, err := r.t.State()
	if err = errors.Join(r.err, err); err != nil {
		return tableCheck{}, err
	}
	c := tableCheck{state: "agrees", txid: after.TXID, wrong: wrong}
	switch {
	case after != r.before:
		c.state = "moving"
	case !after.Whole:
		c.state = "unreadable"
	case !after.Describes(report.Tx):
		c.state = "stale"
	case wrong > 0:
		c.state = "wrong"
	}
	return c, nil
}

// problem is what the comparison with a trail comes to: nil when that and the database agree.
func (d *deepCheck) problem(trail string) error {
	r := &d.report
	if d.err != nil || r.Same() {
		return nil
	}
	what := "they differ"
	switch {
	case r.Unlisted != nil && r.Tx.TXID == 0:
		what = "the trail has no transactions"
	case r.Unlisted != nil:
		what = "which pages differ cannot be said (" + reasonOf(r.Unlisted) + ")"
	default:
		what = fmt.Sprintf("%d of %s differ", r.Differing, ui.Plural(max(r.PageCount, r.Tx.PageCount), "page", "pages"))
	}
	return &hintError{
		kindf(journal.ErrDiverged, "%s is not in the state of transaction %d: %s", d.path, r.Tx.TXID, what),
		"a program without pagetrail changed it, or damage did, or its -wal was deleted, or the trail is another database's: the next write with ?vfs=pagetrail " +
			"takes the trail to what it is now\n  before that, keep what the trail says it was: " + commandLine("hydrate", trail, "-o", "FILE", "--txid", r.Tx.TXID.String()),
	}
}

// show adds the facts.
func (d *deepCheck) show(f *facts) {
	if d.err != nil {
		return
	}
	r := &d.report
	read := ui.Plural(r.PageCount, "page", "pages")
	if r.Frames > 0 {
		read += fmt.Sprintf(", with %s of its WAL", ui.Plural(r.Frames, "frame", "frames"))
	}
	switch {
	case r.Agrees:
		f.add("database", "in the state of transaction %d: %s", r.Tx.TXID, read)
	case r.Prepared:
		f.styled(ui.Warn, "database", "in the state of the prepared transaction %d: %s", r.Tx.TXID+1, read)
	default:
		f.styled(ui.Bad, "database", "%s compared with transaction %d", read, r.Tx.TXID)
	}
	if l := r.Later; l.Frames > 0 {
		f.styled(ui.Warn, "later", "%s (%s) in its WAL, not yet recorded", ui.Plural(l.Transactions, "transaction", "transactions"), ui.Plural(l.Frames, "frame", "frames"))
	}
	for i, p := range r.Different {
		if i == showPages {
			f.add("", "and %d more", r.Differing-showPages)
			break
		}
		f.styled(ui.Bad, "differs", "page %d, %s", p.No, ui.Clean(pageRole(p)))
	}
	style := ui.Plain
	text := d.table.explain()
	if !d.table.fine() {
		style, text = ui.Warn, text+"; the next writer makes it anew"
	}
	f.styled(style, "page table", "%s", text)
}

// pageRole says what a page is, and which side lacks it.
func pageRole(p live.Page) string {
	role := p.Kind.String()
	if p.Name != "" {
		role += " of " + p.Name
	}
	switch {
	case p.Missing:
		role += ", which the database does not have"
	case p.Extra:
		role += ", which the trail does not have"
	}
	return role
}

// deepJSON is what verify --deep --json adds.
type deepJSON struct {
	Path         string         `json:"path"`
	TXID         journal.TXID   `json:"txid"`
	Agrees       bool           `json:"agrees"`
	Prepared     bool           `json:"prepared,omitempty"`
	Sum          string         `json:"sum"`
	PageSize     int            `json:"page_size"`
	PageCount    uint32         `json:"page_count"`
	WALFrames    uint32         `json:"wal_frames"`
	Later        int            `json:"later_transactions"`
	LaterFrames  uint32         `json:"later_frames"`
	Differing    uint64         `json:"pages_differing"`
	Different    []deepPageJSON `json:"differing"`
	PageTable    string         `json:"page_table"`
	PageTableOf  journal.TXID   `json:"page_table_txid,omitempty"`
	WrongEntries uint64         `json:"page_table_wrong,omitempty"`
}

type deepPageJSON struct {
	Page    uint32 `json:"page"`
	Kind    string `json:"kind"`
	Name    string `json:"name,omitempty"`
	Missing bool   `json:"missing,omitempty"`
	Extra   bool   `json:"extra,omitempty"`
}

func (d *deepCheck) json() *deepJSON {
	if d == nil || d.err != nil {
		return nil
	}
	r := &d.report
	j := &deepJSON{
		Path: d.path, TXID: r.Tx.TXID, Agrees: r.Agrees, Prepared: r.Prepared, Sum: r.Sum.String(), PageSize: r.PageSize, PageCount: r.PageCount,
		WALFrames: r.Frames, Later: r.Later.Transactions, LaterFrames: r.Later.Frames, Differing: r.Differing, Different: []deepPageJSON{},
		PageTable: d.table.state, PageTableOf: d.table.txid, WrongEntries: d.table.wrong,
	}
	for _, p := range r.Different {
		j.Different = append(j.Different, deepPageJSON{p.No, p.Kind.String(), p.Name, p.Missing, p.Extra})
	}
	return j
}
