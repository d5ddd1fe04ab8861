package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// hydrateJob makes the latest state, and says how many transactions that took.
func hydrateJob(j *job) (map[string]float64, error) {
	trail, err := journal.Open(j.DB+"-pagetrail", nil)
	if err != nil {
		return nil, err
	}
	defer trail.Close()
	start := time.Now()
	result, err := apply.Hydrate(context.Background(), trail, j.DB+".replica", apply.Latest(), nil)
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"transactions": float64(result.Transactions), "seconds": time.Since(start).Seconds(), "bytes": float64(result.Size),
	}, nil
}

// verifyJob reads and replays everything.
func verifyJob(j *job) (map[string]float64, error) {
	trail, err := journal.Open(j.DB+"-pagetrail", nil)
	if err != nil {
		return nil, err
	}
	defer trail.Close()
	report, err := apply.Verify(context.Background(), trail, nil)
	return map[string]float64{"transactions": float64(report.Files.Transactions)}, err
}

// openJob opens the database, reads a row and writes one, and says how long each took; the second
// time in the same process, as the first loads the program's pages from disk.
func openJob(j *job) (map[string]float64, error) {
	out := map[string]float64{}
	for range 2 {
		start := time.Now()
		conn, err := j.open()
		if err != nil {
			return nil, err
		}
		err = conn.Exec("SELECT * FROM t WHERE id=1")
		out["read"] = time.Since(start).Seconds()
		err = errors.Join(err, conn.Exec("UPDATE t SET name='opened' WHERE id=1"))
		out["write"] = time.Since(start).Seconds()
		if err := errors.Join(err, conn.Close()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// chainJob writes a trail of n small transactions without the detour through SQLite: a real
// database's rows are overwritten in place, page by page, so that every state is a sound database.
// It replaces the database by the last state.
func chainJob(j *job) (map[string]float64, error) {
	pages, err := chainPages(j)
	if err != nil {
		return nil, err
	}
	w, err := journal.OpenWriter(j.DB+"-pagetrail", &journal.WriterOptions{Create: true})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		return nil, err
	}
	c := chain{w: w, pages: pages}
	if err := c.write(j.N); err != nil {
		return nil, err
	}
	w.Unlock()
	if _, err := journal.Seal(context.Background(), j.DB+"-pagetrail", nil); err != nil {
		return nil, err
	}
	return nil, os.WriteFile(j.DB, bytes.Join(pages, nil), 0o644)
}

const chainPageSize = 4096

// chainPages makes the database and returns its pages.
func chainPages(j *job) ([][]byte, error) {
	conn, err := sqlite3.Open("file:" + j.DB)
	if err != nil {
		return nil, err
	}
	// Rows of a kilobyte, whose names are long enough to hold a mark that chain.change overwrites.
	err = conn.Exec(schema + `; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000)
		INSERT INTO t(k,name,body) SELECT i, '` + chainMark + `--------', hex(randomblob(400)) FROM n; PRAGMA journal_mode=wal`)
	if err := errors.Join(err, conn.Close()); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(j.DB)
	if err != nil {
		return nil, err
	}
	var pages [][]byte
	for len(data) >= chainPageSize {
		pages = append(pages, data[:chainPageSize:chainPageSize])
		data = data[chainPageSize:]
	}
	return pages, nil
}

const chainMark = "<mark>"

type chain struct {
	w     *journal.Writer
	pages [][]byte
	enc   diff.Encoder
	sum   diff.Sum
}

// write appends the database as the first transaction, then n-1 small ones, in blocks as a busy
// writer's catch-up makes them.
func (c *chain) write(n int) error {
	var first []diff.Page
	var marked []int // pages with a mark
	for i, page := range c.pages {
		no := uint32(i + 1)
		first = append(first, diff.Page{No: no, New: page})
		c.sum = c.sum.Add(diff.PageSum(no, page))
		if bytes.Contains(page, []byte(chainMark)) {
			marked = append(marked, i)
		}
	}
	if len(marked) == 0 {
		return errors.New("no page has a mark to overwrite")
	}
	if err := c.add(first); err != nil {
		return err
	}
	old := make([]byte, chainPageSize)
	for i := 1; i < n; i++ {
		at := marked[i*7%len(marked)]
		page, no := c.pages[at], uint32(at+1)
		copy(old, page)
		mark := bytes.Index(page, []byte(chainMark)) + len(chainMark)
		copy(page[mark:], fmt.Sprintf("%08x", binary.BigEndian.AppendUint32(nil, uint32(i)*2654435761)))
		c.sum = c.sum.Sub(diff.PageSum(no, old)).Add(diff.PageSum(no, page))
		if err := c.add([]diff.Page{{No: no, Old: old, New: page}}); err != nil {
			return err
		}
		if i%64 != 0 {
			continue
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return c.flush()
}

func (c *chain) add(pages []diff.Page) error {
	body, kept := c.enc.Encode(diff.Body{}, chainPageSize, pages)
	tx := journal.Tx{PageSize: chainPageSize, PageCount: uint32(len(c.pages)), Sum: c.sum, SumKnown: true}
	_, err := c.w.Add(tx, body, kept, false)
	return err
}

func (c *chain) flush() error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	if c.w.Full() {
		return c.w.Rotate()
	}
	return nil
}
