package changes_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow/changes"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/serve"
	"github.com/pagetrail/pagetrail/journal/ship"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// listen asks a server of a trail for its changes, and returns what reads the next.
func listen(t *testing.T, url, last string) func() changes.Change {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", last)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	return func() (c changes.Change) {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if err := json.Unmarshal([]byte(data), &c); err != nil {
					t.Fatalf("%s: %v", data, err)
				}
				return c
			}
		}
	}
}

func serverOf(t *testing.T, trail *journal.Trail) (url string) {
	t.Helper()
	h := serve.New(&serve.Options{Databases: map[string]*journal.Trail{"app": trail}, Changes: changes.Served(&changes.Options{TempDir: t.TempDir()})})
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		s.Close()
	})
	return s.URL + "/app/changes"
}

// TestServed: a server tells what Feed does, as it comes, and goes on after the position that a listener names.
func TestServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exec := func(sqls ...string) {
		t.Helper()
		for _, sql := range sqls {
			if err := c.Exec(sql + "; PRAGMA pagetrail_txid"); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec("PRAGMA synchronous=OFF", "CREATE TABLE a(x)", `CREATE TABLE "<b>"(x)`)
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	url := serverOf(t, trail)
	next := listen(t, url, "")
	exec("INSERT INTO a VALUES(1)", `INSERT INTO "<b>" VALUES(1)`)
	first, second := next(), next()
	if !slices.Equal(first.Tables, []string{"a"}) || !slices.Equal(second.Tables, []string{"<b>"}) || second.Position.TXID != first.Position.TXID+1 {
		t.Errorf("told %+v and %+v", first, second)
	}
	again := listen(t, url, first.Position.Token())()
	if again.Position != second.Position || !again.Time.Equal(second.Time) || !slices.Equal(again.Tables, second.Tables) {
		t.Errorf("told on with %+v, want %+v", again, second)
	}
	if all := listen(t, url+"?after=0", "")(); all.Position.TXID != 1 {
		t.Errorf("from the start: %+v", all)
	}
}

// TestServedFolded: the position that a listener names was folded into a later transaction meanwhile, or is no longer
// held. It is told of all that came after, at the price of being told of something twice.
func TestServedFolded(t *testing.T) {
	for _, how := range []string{"folded", "forgotten"} {
		path, store := filepath.Join(t.TempDir(), "app.db"), new(mem.Store)
		c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, sql := range append([]string{"PRAGMA synchronous=OFF; CREATE TABLE a(x); CREATE TABLE b(x)"}, slices.Repeat([]string{"INSERT INTO a VALUES(1)", "INSERT INTO b VALUES(1)"}, 20)...) {
			if err := c.Exec(sql + "; PRAGMA pagetrail_txid"); err != nil {
				t.Fatal(err)
			}
			if _, err := ship.Run(t.Context(), path+"-pagetrail", &ship.Options{Store: store, Once: true}); err != nil {
				t.Fatal(err)
			}
		}
		keep := archive.Retention{All: time.Minute, Minutes: time.Hour, Hours: 1000 * time.Hour}
		if how == "forgotten" {
			keep = archive.Retention{All: time.Minute}
		}
		o := &archive.MaintainOptions{Retention: keep, Grace: -1, Now: time.Now().Add(24 * time.Hour), TempDir: t.TempDir()}
		if done, err := upkeep.Run(t.Context(), store, o); err != nil || len(done.Plans) == 0 {
			t.Fatalf("maintained %+v, %v", done, err)
		}
		a, err := archive.Open(t.Context(), store, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		last, err := a.Last()
		if err != nil {
			t.Fatal(err)
		}
		got := listen(t, serverOf(t, a.Trail), "20")()
		if how == "forgotten" {
			if !got.All || got.Position.TXID != last.TXID {
				t.Errorf("%s: told %+v, want any table up to %d", how, got, last.TXID)
			}
			continue
		}
		if got.Folded == 0 || got.Position.TXID-journal.TXID(got.Folded) > 20 || !slices.Contains(got.Tables, "a") || !slices.Contains(got.Tables, "b") {
			t.Errorf("%s: told %+v", how, got)
		}
	}
}
