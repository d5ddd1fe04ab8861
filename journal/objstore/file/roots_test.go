package file_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
)

// Who opens a directory of a store as a store of its own, as pagetrail compact file:///DIR/NAME does beside a pagetrail run
// that has many archives below file:///DIR, excludes the others and is excluded by them: no swap is lost, and of those who
// create an object one does.
func TestTwoRoots(t *testing.T) {
	const workers, each = 4, 50
	dir := t.TempDir()
	var all sync.WaitGroup
	var mu sync.Mutex
	created := map[string]int{}
	for w := range 2 * workers {
		store := objstore.Sub(file.Open(dir, nil), "app")
		if w%2 == 1 {
			store = file.Open(dir+"/app", nil)
		}
		all.Go(func() {
			for i := 0; i < each; {
				head := store.Head("head")
				data, tag, err := head.Load(t.Context())
				if err != nil && !errors.Is(err, objstore.ErrNotFound) {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(data))
				_, err = head.Swap(t.Context(), tag, []byte(strconv.Itoa(n+1)))
				switch {
				case err == nil:
					i++
				case !errors.Is(err, objstore.ErrConflict):
					t.Error(err)
					return
				}
			}
			for i := range each {
				key := fmt.Sprintf("1/0/%d", i)
				err := store.Create(t.Context(), key, strings.NewReader(strconv.Itoa(w)), 1)
				if err != nil && !errors.Is(err, objstore.ErrExists) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					created[key]++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if data, _, err := file.Open(dir, nil).Head("app/head").Load(t.Context()); err != nil || string(data) != strconv.Itoa(2*workers*each) {
		t.Errorf("after %d swaps the head counts %s, %v", 2*workers*each, data, err)
	}
	for key, n := range created {
		if n != 1 {
			t.Errorf("%s was created %d times", key, n)
		}
	}
}

// What is left of deleted objects can be removed, and no object is.
func TestVacate(t *testing.T) {
	dir := t.TempDir()
	s := file.Open(dir, nil)
	for _, key := range []string{"canary/1/0/a", "canary/1/b"} {
		if err := s.Create(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Head("canary/head").Swap(t.Context(), "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := file.Vacate(dir + "/canary"); err == nil {
		t.Error("a directory with objects was removed")
	}
	objects := 0
	for _, err := range s.List(t.Context(), "", "") {
		if objects++; err != nil {
			t.Fatal(err)
		}
	}
	if objects != 3 {
		t.Errorf("of 3 objects %d are left", objects)
	}
	for _, key := range []string{"canary/1/0/a", "canary/1/b", "canary/head"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(file.Vacate(dir+"/canary"), file.Vacate(dir+"/canary")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Errorf("left are %v, %v", entries, err)
	}
}
