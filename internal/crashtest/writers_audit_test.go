package crashtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// audit holds the database against what the processes were told, and the trail
// against the database.
func (p *party) audit(shell string) (report string, err error) {
	out, err := exec.Command(shell, p.path, "PRAGMA integrity_check").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		return "", fmt.Errorf("integrity check of the sqlite3 shell: %w: %s", err, out)
	}
	counts, err := rows(p.path, "")
	if err != nil {
		return "", err
	}
	maybe := 0
	for _, l := range p.lives {
		switch n := counts[l.number]; {
		case n == l.acked:
		case n == l.acked+1 && l.killed && n <= l.sent:
			maybe++
		default:
			return "", fmt.Errorf("%s (process %d, killed=%v) had %d transactions acknowledged, the database has %d", l.of.name, l.number, l.killed, l.acked, n)
		}
		delete(counts, l.number)
	}
	if len(counts) > 0 {
		return "", fmt.Errorf("transactions that nobody made: %v", counts)
	}
	// What outsiders did last is recorded with the next write.
	c, err := sqlite3.Open("file:" + p.path + "?vfs=" + vfs.Name)
	if err != nil {
		return "", err
	}
	if err := errors.Join(c.Exec("UPDATE filler SET b=zeroblob(700)"), c.Close()); err != nil {
		return "", err
	}
	if err := sameFile(p.path); err != nil {
		return "", err
	}
	kinds, err := p.auditTrail()
	return fmt.Sprintf("%d rows, %d of them of transactions that had been under way; records by kind: %v", p.total+maybe, maybe, kinds), err
}

// rows counts the transactions of each process in the database at path. They
// are numbered without gaps, and as many as the counter says.
func rows(path, params string) (counts map[int]int, err error) {
	c, err := sqlite3.Open("file:" + path + params)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	total, err := number(c, "SELECT n FROM total")
	if err != nil {
		return nil, err
	}
	s, _, err := c.Prepare("SELECT life, count(*), min(seq), max(seq) FROM done GROUP BY life")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	counts = map[int]int{}
	for s.Step() {
		life, n := s.ColumnInt(0), s.ColumnInt(1)
		if counts[life] = n; s.ColumnInt(2) != 1 || s.ColumnInt(3) != n {
			return nil, fmt.Errorf("process %d has %d transactions, numbered from %d to %d", life, n, s.ColumnInt(2), s.ColumnInt(3))
		}
		total -= n
	}
	if total != 0 {
		return nil, fmt.Errorf("the counter is %d beyond the rows", total)
	}
	return counts, s.Err()
}

// auditTrail verifies the whole trail, and goes through it with a replica: each
// transaction must give the state that its checksum says, and the states are
// opened, all when there are few, else some hundreds of them. In none has
// anything gone that was there before.
func (p *party) auditTrail() (kinds map[journal.Kind]int, err error) {
	trail, err := journal.Open(p.path+capture.Suffix, nil)
	if err != nil {
		return nil, err
	}
	defer trail.Close()
	ctx := context.Background()
	report, err := apply.Verify(ctx, trail, nil)
	if err != nil {
		return nil, err
	}
	if len(report.Problems) > 0 {
		return nil, fmt.Errorf("verify: %v", report.Problems)
	}
	last, err := trail.Last()
	if err != nil {
		return nil, err
	}
	replica, err := apply.OpenState(nil)
	if err != nil {
		return nil, err
	}
	defer replica.Close()
	kinds = map[journal.Kind]int{}
	var before map[int]int
	for rec, err := range trail.Records(ctx, 1) {
		if err == nil {
			err = replica.Apply(ctx, rec)
		}
		if err != nil {
			return nil, err
		}
		if kinds[rec.Kind]++; rec.TXID%(1+last.TXID/400) != 0 && rec.TXID != last.TXID {
			continue
		}
		if before, err = p.inspect(replica, before); err != nil {
			return nil, fmt.Errorf("TXID %d: %w", rec.TXID, err)
		}
	}
	if before == nil {
		return nil, errors.New("the trail has no transaction with the schema")
	}
	return kinds, nil
}

// inspect opens a state and compares it with an earlier one, nil when that did
// not have the schema.
func (p *party) inspect(replica *apply.State, before map[int]int) (counts map[int]int, err error) {
	var out bytes.Buffer
	if _, err := replica.WriteTo(&out); err != nil {
		return nil, err
	}
	path := p.path + "-replica"
	defer os.Remove(path)
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return nil, err
	}
	if counts, err = rows(path, "?immutable=1"); err != nil {
		if before == nil {
			return nil, nil
		}
		return nil, err
	}
	for life, n := range before {
		if counts[life] < n {
			return nil, fmt.Errorf("process %d has %d transactions, it had %d", life, counts[life], n)
		}
	}
	return counts, nil
}
