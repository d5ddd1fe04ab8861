package crashtest_test

import (
	"fmt"
	"strings"

	"github.com/pagetrail/pagetrail/internal/crashfs"
)

// jointFaultRun is faultRun for transactions over several files.
func (set setup) jointFaultRun(temp string, hook func(crashfs.Op) crashfs.Fault) (log string, err error) {
	f, err := newFamily(set, 1, temp, 0, nil)
	if err != nil {
		return "", err
	}
	defer func() {
		log = f.m.log.String()
		f.close()
	}()
	big := "INSERT INTO %[2]s.t(a,b) SELECT value, zeroblob(400) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12]'); "
	small := "UPDATE %[2]s.meta SET step=%[1]d; "
	f.m.OnOp(hook)
	for i, sql := range []string{small, big + small, "ROLLBACK " + big, "reopen", small} {
		f.at = i + 1
		if err := f.attempt(sql); err != nil {
			fmt.Fprintf(f.m.log, "step %d: %s: %v\n", f.at, sql, err)
		}
	}
	f.m.OnOp(nil)
	return "", f.settle()
}

// attempt does the same to all databases in one transaction, which is rolled
// back after an error.
func (f *family) attempt(sql string) error {
	if f.conn == nil || sql == "reopen" {
		if err := f.reopen(); err != nil || sql == "reopen" {
			return err
		}
	}
	each, undo := strings.CutPrefix(sql, "ROLLBACK ")
	all := "BEGIN; "
	for _, schema := range attachedSchemas {
		all += strings.NewReplacer("%[1]d", fmt.Sprint(f.at), "%[2]s", schema).Replace(each)
	}
	if !undo {
		all += "COMMIT"
	}
	err := f.conn.Exec(all)
	if err == nil && !undo {
		f.joint[0] = f.at
	}
	if !f.conn.GetAutocommit() {
		if err := f.conn.Exec("ROLLBACK"); err != nil {
			return fmt.Errorf("rollback: %w", err)
		}
	}
	return err
}

// settle writes to all databases, and compares each with its trail and with
// the others.
func (f *family) settle() error {
	if f.conn == nil {
		if err := f.reopen(); err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
	}
	got := make([]int, len(f.dbs))
	for d, schema := range attachedSchemas {
		var err error
		if got[d], err = number(f.conn, "SELECT step FROM "+schema+".meta"); err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
		if got[d] != got[0] || got[d] < f.joint[0] {
			return fmt.Errorf("the databases have transactions %v, %d was acknowledged", got, f.joint[0])
		}
	}
	f.at = own
	if err := f.attempt("UPDATE %[2]s.meta SET step=%[1]d; "); err != nil {
		return fmt.Errorf("afterwards: write: %w", err)
	}
	c := f.conn
	f.conn = nil
	if err := c.Close(); err != nil {
		return fmt.Errorf("afterwards: close: %w", err)
	}
	for d, w := range f.dbs {
		if err := w.m.same(); err != nil {
			return fmt.Errorf("%s: %w", attachedNames[d], err)
		}
	}
	return nil
}
