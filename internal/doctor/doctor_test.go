package doctor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/doctor"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// bad is a store with one fault of those that stores have.
type bad struct {
	objstore.Store
	lies, alters, keeps bool
	at                  func() time.Time // its clock
}

func (b *bad) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if b.lies {
		return b.Put(ctx, key, body, size)
	}
	return b.Store.Create(ctx, key, body, size)
}

func (b *bad) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	body, size, err := b.Store.Get(ctx, key, off, n)
	if err != nil || !b.alters {
		return body, size, err
	}
	data, err := io.ReadAll(body)
	if len(data) > 500 {
		data[500]++
	}
	return io.NopCloser(bytes.NewReader(data)), size, errors.Join(err, body.Close())
}

func (b *bad) Delete(ctx context.Context, key string) error {
	if b.keeps {
		return nil
	}
	return b.Store.Delete(ctx, key)
}

func (b *bad) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for o, err := range b.Store.List(ctx, prefix, after) {
			if b.at != nil {
				o.Modified = b.at()
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// failing makes calls of some kinds fail in a way that the store knows.
func failing(err error, ops ...objstore.Op) objstore.Store {
	return &denier{Store: new(mem.Store), err: err, ops: ops}
}

type denier struct {
	objstore.Store
	err error
	ops []objstore.Op
}

func (d *denier) deny(op objstore.Op) error {
	for _, o := range d.ops {
		if o == op {
			return &objstore.Error{Op: op, Store: "store", Err: d.err}
		}
	}
	return nil
}

func (d *denier) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return errors.Join(d.deny(objstore.OpPut), d.Store.Put(ctx, key, body, size))
}

func (d *denier) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	if err := d.deny(objstore.OpList); err != nil {
		return func(yield func(objstore.Object, error) bool) { yield(objstore.Object{}, err) }
	}
	return d.Store.List(ctx, prefix, after)
}

func (d *denier) Delete(ctx context.Context, key string) error {
	if err := d.deny(objstore.OpDelete); err != nil {
		return err
	}
	return d.Store.Delete(ctx, key)
}

// verdict is the checks in short: those that failed with what their error says, and those skipped.
func verdict(t *testing.T, checks []doctor.Check) (failed, skipped string) {
	t.Helper()
	for _, c := range checks {
		switch {
		case c.Skipped:
			skipped += " " + c.Name
		case c.Err != nil:
			failed += " " + c.Name
			if c.Hint == "" {
				t.Errorf("%s failed, and nobody says what to do: %v", c.Name, c.Err)
			}
		case c.Text == "":
			t.Errorf("%s is well, and says nothing", c.Name)
		}
	}
	return strings.TrimSpace(failed), strings.TrimSpace(skipped)
}

func left(t *testing.T, s objstore.Store) (keys []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// Each fault is found by the check that it is for, with what to do about it, and nothing is left behind.
func TestExamine(t *testing.T) {
	hour := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	for name, c := range map[string]struct {
		store           objstore.Store
		failed, skipped string
		hint            string
		leaves          bool
	}{
		"sound":        {store: new(mem.Store)},
		"sound file":   {store: file.Open(t.TempDir(), nil)},
		"lies":         {store: &bad{Store: new(mem.Store), lies: true}, failed: "conditions", hint: "use another store"},
		"alters":       {store: &bad{Store: new(mem.Store), alters: true}, failed: "write", skipped: "clock conditions ship hydrate verify", hint: "cache or a proxy"},
		"keeps":        {store: &bad{Store: new(mem.Store), keeps: true}, failed: "clean up", hint: "remove what is left below doctor-", leaves: true},
		"fast clock":   {store: &bad{Store: new(mem.Store), at: hour(time.Hour)}, failed: "clock", hint: "NTP"},
		"slow clock":   {store: &bad{Store: new(mem.Store), at: hour(-time.Hour)}, failed: "clock", hint: "NTP"},
		"seconds":      {store: &bad{Store: new(mem.Store), at: func() time.Time { return time.Now().Truncate(time.Second) }}},
		"read only":    {store: objstore.ReadOnly(new(mem.Store)), failed: "write", skipped: "clock conditions ship hydrate verify", hint: "may be written"},
		"denied":       {store: failing(objstore.ErrDenied, objstore.OpList), failed: "access", skipped: "write clock conditions ship hydrate verify clean up", hint: "ListBucket"},
		"no bucket":    {store: failing(objstore.ErrNoBucket, objstore.OpList), failed: "access", skipped: "write clock conditions ship hydrate verify clean up", hint: "make the bucket"},
		"no network":   {store: failing(io.ErrUnexpectedEOF, objstore.OpList), failed: "access", skipped: "write clock conditions ship hydrate verify clean up", hint: "the network"},
		"may not put":  {store: failing(objstore.ErrDenied, objstore.OpPut), failed: "write", skipped: "clock conditions ship hydrate verify", hint: "PutObject"},
		"may not drop": {store: failing(objstore.ErrDenied, objstore.OpDelete), failed: "conditions clean up", hint: "DeleteObject", leaves: true},
	} {
		t.Run(name, func(t *testing.T) {
			checks, err := doctor.Examine(t.Context(), c.store, &doctor.Options{TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			failed, skipped := verdict(t, checks)
			if failed != c.failed || skipped != c.skipped {
				t.Errorf("failed %q and skipped %q, want %q and %q: %+v", failed, skipped, c.failed, c.skipped, checks)
			}
			for _, check := range checks {
				if check.Err != nil && !strings.Contains(check.Hint, c.hint) && len(strings.Fields(c.failed)) == 1 {
					t.Errorf("%s: the hint is %q", check.Name, check.Hint)
				}
			}
			if d, ok := c.store.(*denier); ok {
				d.ops = nil
			}
			if keys := left(t, c.store); len(keys) > 0 != c.leaves {
				t.Errorf("left behind: %v", keys)
			}
		})
	}
}

// Whatever call fails, in either way, the examination ends, and says so unless the call was tried again; what it leaves
// it says.
func TestExamineEveryCall(t *testing.T) {
	// Calls on the canary are tried again, and tested where they are made. How many there are differs from run to run,
	// for its rows are random and so is their size: the others are counted without them.
	counted := func(do func(i int, c objstore.Call) objstore.Outcome) (*objstore.Faults, *int) {
		calls := new(int)
		return &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome {
			if strings.Contains(c.Key, "/canary/") {
				return objstore.Pass
			}
			*calls++
			return do(*calls, c)
		}}, calls
	}
	none, worth := counted(func(int, objstore.Call) objstore.Outcome { return objstore.Pass })
	if _, err := doctor.Examine(t.Context(), objstore.Faulty(new(mem.Store), none), &doctor.Options{TempDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= *worth; i++ {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			s := new(mem.Store)
			f, _ := counted(func(n int, c objstore.Call) objstore.Outcome {
				if n != i {
					return objstore.Pass
				}
				if c.Op == objstore.OpList { // one that has given all that is wanted did not fail
					return objstore.Refuse
				}
				return out
			})
			checks, err := doctor.Examine(t.Context(), objstore.Faulty(s, f), &doctor.Options{TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			failed, _ := verdict(t, checks)
			if f.Fired() == 0 || failed == "" {
				t.Errorf("call %d failed, and all is well", i)
			}
			if keys := left(t, s); len(keys) > 0 && !strings.Contains(failed, "clean up") {
				t.Errorf("call %d: left behind without a word: %v", i, keys)
			}
		}
	}
}

// An interrupt ends it, and it cleans up.
func TestExamineInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := new(mem.Store)
	f := &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome {
		if strings.Contains(c.Key, "/canary/") && strings.HasSuffix(c.Key, ".seg") {
			cancel()
		}
		return objstore.Pass
	}}
	if _, err := doctor.Examine(ctx, objstore.Faulty(s, f), &doctor.Options{TempDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if keys := left(t, s); len(keys) > 0 {
		t.Errorf("left behind: %v", keys)
	}
}
