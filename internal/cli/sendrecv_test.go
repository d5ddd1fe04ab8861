package cli_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// A live stream through a pipe: what is committed while it runs arrives, and when the sender is interrupted both end
// well, with equal databases.
func TestSendLive(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec("CREATE TABLE t(a)"); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	out, errs := &lines{news: make(chan struct{})}, &lines{news: make(chan struct{})}
	env := func() *cli.Env {
		return &cli.Env{Err: errs, Width: func() int { return 80 }, Zone: time.UTC, Getenv: os.Getenv, Now: time.Now}
	}
	ctx, cancel := context.WithCancel(t.Context())
	sent, received := make(chan cli.Code, 1), make(chan cli.Code, 1)
	go func() {
		e := env()
		e.Out = w
		sent <- cli.Run(ctx, e, []string{"send", db, "--live"})
		w.Close()
	}()
	path := filepath.Join(dir, "replica.db")
	go func() {
		e := env()
		e.In, e.Out = r, out
		received <- cli.Run(t.Context(), e, []string{"recv", path, "--json"})
	}()
	out.after(t, `"event":"attached"`, received)
	if err := conn.Exec("INSERT INTO t VALUES('while it runs')"); err != nil {
		t.Fatal(err)
	}
	out.after(t, `"event":"applied"`, received)
	cancel()
	if code := <-sent; code != cli.Done {
		t.Errorf("send ends with %d: %s", code, errs.text.String())
	}
	if code := <-received; code != cli.Done {
		t.Errorf("recv ends with %d: %s", code, errs.text.String())
	}
	if !bytes.Equal(fileOf(t, path), hydrated(t, db)) {
		t.Error("the replica is another database")
	}
}
