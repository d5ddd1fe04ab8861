package live

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// Report says what Compare found.
type Report struct {
	// Tx is the transaction that the database was compared with: the trail's last.
	Tx journal.Tx
	// Position after it.
	Position journal.Position
	// Agrees: the database is in the state that Tx left, but for Later.
	Agrees bool
	// Prepared: it is in the state of the transaction after Tx, of which the trail
	// has the record and not yet whether it was committed.
	Prepared bool
	// Later is committed in the WAL and not yet recorded.
	Later Later
	// Sum is the state checksum of the database, PageSize and PageCount its size.
	Sum       diff.Sum
	PageSize  int
	PageCount uint32
	// Frames of the WAL that were read over the database file.
	Frames uint32
	// Different are the pages that differ, ascending, and at most as many as
	// Options.Pages. Differing counts all of them.
	Different []Page
	Differing uint64
	// Unlisted is why pages that differ could not be listed; nil when they were.
	Unlisted error
}

// Same says that the trail can restore the database as it is, or will as soon
// as what is in the WAL is recorded.
func (r *Report) Same() bool { return r.Agrees || r.Prepared }

// Page is a page that differs from what the trail says.
type Page struct {
	sqlitefile.Page
	// Missing: the database does not have the page. Extra: the trail does not.
	Missing, Extra bool
}

// Compare refreshes the trail and compares the state that it ends in with the
// database. When they differ, the trail's state is restored in a scratch file,
// with no lock held, so as to say in which pages.
//
// The error says that they could not be compared: ErrBusy, ErrHotJournal,
// ErrNotDatabase, fs.ErrNotExist, or one of trail and files.
func Compare(ctx context.Context, trail *journal.Trail, path string, o *Options) (Report, error) {
	c := comparison{trail: trail, path: path, opt: o.withDefaults()}
	defer c.forget()
	end := time.Now().Add(c.opt.Wait)
	for {
		done, err := c.once(ctx)
		switch {
		case err == nil && done:
			return c.r, nil
		case err != nil && !errors.Is(err, errMoved):
			return c.r, err
		case err != nil && time.Now().After(end):
			return c.r, err
		}
	}
}

// comparison is the state of one Compare.
type comparison struct {
	trail *journal.Trail
	path  string
	opt   Options
	r     Report
	state *apply.State // the trail's state, once it was needed
	tries int          // how often the state was restored
}

func (c *comparison) forget() {
	if c.state != nil {
		_ = c.state.Close() // a scratch file
		c.state = nil
	}
}

// once compares under one taking of the locks. done is false when the trail's
// state has to be restored first.
func (c *comparison) once(ctx context.Context) (done bool, err error) {
	// The trail is read after the database is kept from changing, and the WAL
	// after that: so what is recorded is there, and not the other way round.
	s, err := lock(ctx, c.path, c.opt.Wait)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := c.trail.Refresh(); err != nil {
		return false, err
	}
	last, err := c.trail.Last()
	if err != nil {
		return false, err
	}
	if err := s.look(ctx, c.opt.Wait); err != nil {
		return false, err
	}
	id := c.trail.Identity()
	c.r = Report{Tx: last, Position: journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: last.TXID, Sum: last.Sum}}
	if err := c.sums(ctx, s, last); err != nil {
		return false, err
	}
	if !c.r.Same() {
		if c.state == nil || c.state.TXID() != last.TXID {
			return c.restore(ctx, s, last.TXID)
		}
		if err := c.pages(ctx, s); err != nil {
			return false, err
		}
	}
	return true, s.Check()
}

// sums compares checksums: of the state that Tx should have left, and of the newest.
func (c *comparison) sums(ctx context.Context, s *Snapshot, last journal.Tx) error {
	later, ok := s.At(last.Origin)
	if ok && later.Frames > 0 {
		same, err := c.same(ctx, s, last)
		if err != nil || same {
			c.r.Agrees, c.r.Later = same, later
			return err
		}
	}
	if err := s.Newest(); err != nil {
		return err
	}
	same, err := c.same(ctx, s, last)
	if err != nil || same {
		c.r.Agrees = same
		return err
	}
	c.r.Later = later
	if u := c.trail.Undecided(); u != nil {
		c.r.Prepared = u.Sum == c.r.Sum && u.PageCount == s.count && (u.PageSize == s.pageSize || s.count == 0)
	}
	return nil
}

// same computes the checksum of the snapshot and compares it.
func (c *comparison) same(ctx context.Context, s *Snapshot, last journal.Tx) (bool, error) {
	var sum diff.Sum
	err := s.Scan(ctx, c.opt.Progress, func(no uint32, page []byte) error {
		h := diff.PageSum(no, page)
		sum = sum.Add(h)
		if c.opt.Page != nil {
			c.opt.Page(no, h)
		}
		return nil
	})
	c.r.Sum, c.r.PageSize, c.r.PageCount, c.r.Frames = sum, s.pageSize, s.count, s.limit
	return sum == last.Sum && s.count == last.PageCount && (s.count == 0 || s.pageSize == last.PageSize), err
}

// restore makes the trail's state, with no lock held. A trail that grows
// meanwhile is followed a few times; then it is said that pages cannot be listed.
func (c *comparison) restore(ctx context.Context, s *Snapshot, id journal.TXID) (done bool, err error) {
	c.forget()
	if err := s.Check(); err != nil {
		return false, err
	}
	if c.tries++; c.tries > 3 {
		c.r.Unlisted = errMoved
		return true, nil
	}
	if err := s.Close(); err != nil {
		return false, err
	}
	state, _, err := apply.Restore(ctx, c.trail, apply.AtTXID(id), &apply.Options{TempDir: c.opt.TempDir})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		c.r.Unlisted = err
		return true, nil
	}
	c.state = state
	return false, nil
}

// pages lists the pages that differ, then asks what they are.
func (c *comparison) pages(ctx context.Context, s *Snapshot) error {
	st := c.state
	if st.PageSize() != s.pageSize {
		c.r.Unlisted = errPageSize
		return nil
	}
	old := make([]byte, s.pageSize)
	err := s.Scan(ctx, c.opt.Progress, func(no uint32, page []byte) error {
		if no > st.PageCount() {
			c.differs(no, Page{Extra: true})
			return nil
		}
		if err := st.ReadPage(no, old); err != nil {
			return err
		}
		if !bytes.Equal(old, page) {
			c.differs(no, Page{})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for no := uint64(s.count) + 1; no <= uint64(st.PageCount()); no++ {
		if uint32(no) != diff.LockPage(s.pageSize) {
			c.differs(uint32(no), Page{Missing: true})
		}
	}
	return c.classify(ctx, s)
}

var errPageSize = errors.New("they have pages of another size")

func (c *comparison) differs(no uint32, p Page) {
	if c.r.Differing++; len(c.r.Different) < c.opt.Pages {
		p.No = no
		c.r.Different = append(c.r.Different, p)
	}
}

// classify says of each page listed what it is in the database; of those that
// it does not have, what they were.
func (c *comparison) classify(ctx context.Context, s *Snapshot) error {
	here, there := map[uint32]*Page{}, map[uint32]*Page{}
	for i := range c.r.Different {
		p := &c.r.Different[i]
		if p.Missing {
			there[p.No] = p
		} else {
			here[p.No] = p
		}
	}
	if err := walk(ctx, here, s.count, s.pageSize, s.ReadPage); err != nil {
		return err
	}
	return walk(ctx, there, c.state.PageCount(), s.pageSize, c.state.ReadPage)
}

// walk fills in what the pages wanted are.
func walk(ctx context.Context, want map[uint32]*Page, count uint32, size int, read sqlitefile.PageReader) error {
	if len(want) == 0 || count == 0 {
		return nil
	}
	page := make([]byte, size)
	if err := read(1, page); err != nil {
		return err
	}
	h, err := sqlitefile.ParseHeader(page)
	if err != nil || h.PageSize != size {
		return nil // not a database that SQLite could read: its pages stay unknown
	}
	for found, err := range sqlitefile.Walk(h, count, func(no uint32, buf []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return read(no, buf)
	}) {
		if err != nil {
			return err
		}
		if p := want[found.No]; p != nil {
			p.Page = found
		}
	}
	return nil
}
