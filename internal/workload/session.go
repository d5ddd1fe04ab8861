package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// Commit tells of one transaction that changed something and is committed.
type Commit struct {
	Number int    // transactions of this workload so far, from 1
	Phase  string // what the workload was doing: "copy", "live", "compact", ...
	Rows   int64  // rows the transaction changed, as sqlite3_total_changes counts
	State  State  // what the bucket store's oracle must find after it; zero for documents
}

// Hooks are what a caller adds to a workload. The functions are called from the goroutine that runs the workload, between transactions, with the
// writer's connection. Any of them may be nil; an error of a hook ends the workload.
type Hooks struct {
	// JournalMode is what the schema is made with, in place of its own WAL; "" leaves that.
	JournalMode string
	// Committed is called after each transaction that changed something.
	Committed func(conn *sqlite3.Conn, c Commit) error
	// RolledBack is called after a transaction that was given up on purpose.
	RolledBack func(conn *sqlite3.Conn, phase string) error
}

// session is a connection with its prepared statements, and counts what is committed.
type session struct {
	conn   *sqlite3.Conn
	hooks  Hooks
	cache  map[string]*sqlite3.Stmt
	phase  string
	number int
	state  func() State
}

func newSession(conn *sqlite3.Conn, hooks Hooks) *session {
	return &session{conn: conn, hooks: hooks, cache: map[string]*sqlite3.Stmt{}}
}

// close finalises the prepared statements; the connection stays its owner's.
func (s *session) close() error {
	var err error
	for _, stmt := range s.cache {
		err = errors.Join(err, stmt.Close())
	}
	clear(s.cache)
	return err
}

func (s *session) stmt(sql string) (*sqlite3.Stmt, error) {
	if stmt := s.cache[sql]; stmt != nil {
		return stmt, nil
	}
	stmt, _, err := s.conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, err
	}
	s.cache[sql] = stmt
	return stmt, nil
}

// exec runs one statement; rows that it returns are dropped.
func (s *session) exec(sql string, args ...any) error {
	return s.query(sql, nil, args...)
}

// query runs one statement and calls row for each row; row must copy what it keeps.
func (s *session) query(sql string, row func(*sqlite3.Stmt) error, args ...any) (err error) {
	stmt, err := s.stmt(sql)
	if err != nil {
		return fmt.Errorf("prepare %.60q: %w", sql, err)
	}
	// Reset reports the error of the last step again, so it is not joined.
	defer stmt.Reset()
	for i, arg := range args {
		if err := bind(stmt, i+1, arg); err != nil {
			return fmt.Errorf("bind %d of %.60q: %w", i+1, sql, err)
		}
	}
	for stmt.Step() {
		if row == nil {
			continue
		}
		if err := row(stmt); err != nil {
			return err
		}
	}
	if err := stmt.Err(); err != nil {
		return fmt.Errorf("%.60q: %w", sql, err)
	}
	return nil
}

func bind(stmt *sqlite3.Stmt, i int, arg any) error {
	switch v := arg.(type) {
	case nil:
		return stmt.BindNull(i)
	case string:
		return stmt.BindText(i, v)
	case []byte:
		return stmt.BindBlob(i, v)
	case int:
		return stmt.BindInt(i, v)
	case int64:
		return stmt.BindInt64(i, v)
	case uint32:
		return stmt.BindInt64(i, int64(v))
	case float64:
		return stmt.BindFloat(i, v)
	default:
		return fmt.Errorf("no binding for %T", arg)
	}
}

// text returns the first column of the first row, "" without a row.
func (s *session) text(sql string, args ...any) (string, error) {
	var text string
	err := s.query(sql, func(stmt *sqlite3.Stmt) error {
		text = stmt.ColumnText(0)
		return nil
	}, args...)
	return text, err
}

// integer returns the first column of the first row, 0 without a row.
func (s *session) integer(sql string, args ...any) (int64, error) {
	var n int64
	err := s.query(sql, func(stmt *sqlite3.Stmt) error {
		n = stmt.ColumnInt64(0)
		return nil
	}, args...)
	return n, err
}

// schema makes the tables, each statement a transaction.
func (s *session) schema(sql string) error {
	if mode := s.hooks.JournalMode; mode != "" {
		sql = strings.Replace(sql, "journal_mode=WAL", "journal_mode="+mode, 1)
	}
	return s.conn.Exec(sql)
}

// errGiveUp is returned by the body of a transaction that is meant to be rolled back.
var errGiveUp = errors.New("rolled back on purpose")

// transact runs body in one transaction, or as it is when begin is "" and body is a single
// autocommit statement. After the commit it calls applied, if given, so that the caller's model
// of the database follows only what was committed. An error rolls back; errGiveUp does so quietly.
func (s *session) transact(ctx context.Context, begin string, body func() error, applied func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before := s.conn.TotalChanges()
	if begin != "" {
		if err := s.exec(begin); err != nil {
			return err
		}
	}
	if err := body(); err != nil {
		return s.rollback(err)
	}
	if begin != "" {
		if err := s.exec("COMMIT"); err != nil {
			return s.rollback(err)
		}
	}
	if applied != nil {
		applied()
	}
	// A statement that found nothing to change writes no page and is no transaction.
	rows := s.conn.TotalChanges() - before
	if rows == 0 {
		return nil
	}
	return s.committed(rows)
}

// statement runs one autocommit statement that changes the file without changing rows, as VACUUM does.
func (s *session) statement(ctx context.Context, sql string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.exec(sql); err != nil {
		return err
	}
	return s.committed(0)
}

func (s *session) committed(rows int64) error {
	s.number++
	if s.hooks.Committed == nil {
		return nil
	}
	c := Commit{Number: s.number, Phase: s.phase, Rows: rows}
	if s.state != nil {
		c.State = s.state()
	}
	return s.hooks.Committed(s.conn, c)
}

func (s *session) rollback(cause error) error {
	// SQLite has rolled back by itself after some errors; then there is nothing left to do.
	if !s.conn.GetAutocommit() {
		if err := s.exec("ROLLBACK"); err != nil {
			return errors.Join(cause, err)
		}
	}
	if !errors.Is(cause, errGiveUp) {
		return cause
	}
	if s.hooks.RolledBack != nil {
		return s.hooks.RolledBack(s.conn, s.phase)
	}
	return nil
}
