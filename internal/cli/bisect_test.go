package cli_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// sent counts the bytes of an answer.
type sent struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (s sent) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p)
	s.bytes.Add(int64(n))
	return n, err
}

// Bisect restores some ten states of a database that is larger than what is kept in memory of an archive, and fetches
// the archive once.
func TestBisectFetchesOnce(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	service := gofakes3.New(backend).Server()
	var fetched atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service.ServeHTTP(sent{w, &fetched}, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	url := "s3://backups/app?region=us-east-1&path-style=true&endpoint=" + server.URL

	const size = 40 << 20
	db := filepath.Join(t.TempDir(), "app.db")
	statements := []string{
		"PRAGMA page_size=65536", "CREATE TABLE t(a, b)",
		"INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) SELECT i, randomblob(1<<20) FROM n",
	}
	for range 20 {
		statements = append(statements, "INSERT INTO t VALUES(0, 'small')")
	}
	statements[10] = "DELETE FROM t WHERE a=7"
	written(t, db, statements...)
	wanted(t, cli.Done, "shipped", "ship", db, "--to", url, "--once")
	fetched.Store(0)
	out := wanted(t, cli.Done, "", "bisect", url, "SELECT count(*) FROM t WHERE a=7")
	if !strings.Contains(out, "changed by transaction 10\n") || !strings.Contains(out, " states") {
		t.Errorf("bisect says %s", out)
	}
	if n := fetched.Load(); n < size || n > size*5/4 {
		t.Errorf("%d bytes were fetched of some %d", n, size)
	}
}
