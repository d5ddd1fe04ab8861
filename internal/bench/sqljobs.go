package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/pagetrail/pagetrail/vfs" // "pagetrail"
)

// jobs are what a child can do. What they return is printed for the parent.
var jobs = map[string]func(*job) (map[string]float64, error){
	"nothing":  func(*job) (map[string]float64, error) { return nil, nil },
	"fill":     sqlJob(fill),
	"insert":   sqlJob(insert),
	"update":   sqlJob(update),
	"bulk":     sqlJob(bulk),
	"select":   sqlJob(selects),
	"large":    sqlJob(large),
	"bucket":   workloadJob(bucketStore),
	"document": workloadJob(documentStore),
	"open":     openJob,
	"chain":    chainJob,
	"hydrate":  hydrateJob,
	"verify":   verifyJob,
	"copy":     copyJob,
	"oltpfill": sqlJob(oltpFill),
	"oltp":     oltpJob,
	"adopt":    adoptJob,
	"ship":     shipJob,
	"restore":  restoreJob,
	"question": questionJob,
}

// sqlJob opens the database, does the work and closes it.
func sqlJob(work func(*sqlite3.Conn, int) error) func(*job) (map[string]float64, error) {
	return func(j *job) (_ map[string]float64, err error) {
		conn, err := j.open()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		return map[string]float64{}, work(conn, j.N)
	}
}

func (j *job) open() (*sqlite3.Conn, error) {
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(j.DB) + "?vfs=" + j.VFS)
	if err != nil {
		return nil, err
	}
	if err := conn.Exec(j.Setup); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

const schema = `CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, k INTEGER, name TEXT, body TEXT);
	CREATE INDEX IF NOT EXISTS t_k ON t(k)`

// statement runs sql n times, each time a transaction unless one is open.
func statement(conn *sqlite3.Conn, sql string, n int, bind func(*sqlite3.Stmt, int) error) (err error) {
	stmt, _, err := conn.Prepare(sql)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	for i := range n {
		if err := bind(stmt, i); err != nil {
			return err
		}
		if err := stmt.Exec(); err != nil {
			return err
		}
	}
	return nil
}

func bindRow(r *rand.Rand) func(*sqlite3.Stmt, int) error {
	return func(stmt *sqlite3.Stmt, i int) error {
		return errors.Join(stmt.BindInt(1, r.IntN(1<<30)), stmt.BindText(2, fmt.Sprintf("name %d", i)),
			stmt.BindText(3, fmt.Sprintf("body of row %d: %x %x %x", i, r.Uint64(), r.Uint64(), r.Uint64())))
	}
}

func random() *rand.Rand { return rand.New(rand.NewPCG(11, 13)) }

// insert adds rows with an index, each in a transaction of its own.
func insert(conn *sqlite3.Conn, n int) error {
	if err := conn.Exec(schema); err != nil {
		return err
	}
	return statement(conn, "INSERT INTO t(k,name,body) VALUES(?,?,?)", n, bindRow(random()))
}

// bulk adds rows in one transaction.
func bulk(conn *sqlite3.Conn, n int) error {
	if err := conn.Exec(schema + "; BEGIN"); err != nil {
		return err
	}
	return errors.Join(statement(conn, "INSERT INTO t(k,name,body) VALUES(?,?,?)", n, bindRow(random())), conn.Exec("COMMIT"))
}

// fill is bulk, for the database that another job starts from.
func fill(conn *sqlite3.Conn, n int) error { return bulk(conn, n) }

const filled = 20_000 // rows of the database that updates and selects start from

// update changes rows at random, each in a transaction of its own.
func update(conn *sqlite3.Conn, n int) error {
	r := random()
	return statement(conn, "UPDATE t SET body=? WHERE id=?", n, func(stmt *sqlite3.Stmt, i int) error {
		return errors.Join(stmt.BindText(1, fmt.Sprintf("update %d: %x %x", i, r.Uint64(), r.Uint64())), stmt.BindInt(2, 1+r.IntN(filled)))
	})
}

// selects reads single rows and short ranges, with a cache too small for them all.
func selects(conn *sqlite3.Conn, n int) (err error) {
	if err := conn.Exec("PRAGMA cache_size=100"); err != nil {
		return err
	}
	stmt, _, err := conn.Prepare("SELECT name, body FROM t WHERE id>=? ORDER BY id LIMIT ?")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	r := random()
	for i := range n {
		limit := 1
		if i%10 == 0 {
			limit = 100
		}
		if err := errors.Join(stmt.BindInt(1, 1+r.IntN(filled)), stmt.BindInt(2, limit)); err != nil {
			return err
		}
		for stmt.Step() {
			_ = stmt.ColumnRawText(1)
		}
		if err := errors.Join(stmt.Err(), stmt.Reset()); err != nil {
			return err
		}
	}
	return nil
}

// large makes a database of about n megabytes, of text that compresses like text.
func large(conn *sqlite3.Conn, n int) error {
	if err := conn.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, body TEXT)"); err != nil {
		return err
	}
	r := random()
	for range n {
		if err := conn.Exec("BEGIN"); err != nil {
			return err
		}
		err := statement(conn, "INSERT INTO t(body) VALUES(?)", 1000, func(stmt *sqlite3.Stmt, _ int) error {
			text := make([]byte, 0, 1100)
			for len(text) < 1000 {
				text = fmt.Appendf(text, "word%d ", r.IntN(5000))
			}
			return stmt.BindText(1, string(text))
		})
		if err := errors.Join(err, conn.Exec("COMMIT")); err != nil {
			return err
		}
	}
	return nil
}

// copyJob copies the file, as durably as hydrating makes one.
func copyJob(j *job) (map[string]float64, error) { return nil, copyFile(j.DB+".copy", j.DB) }

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}
