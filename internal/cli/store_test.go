package cli_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// runHere runs a command line in this process.
func runHere(t *testing.T, args ...string) (code cli.Code, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := &cli.Env{
		Out: &out, Err: &errs, Width: func() int { return 80 }, Zone: time.UTC, Getenv: os.Getenv,
		Now: func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) },
	}
	code = cli.Run(t.Context(), env, args)
	return code, out.String(), errs.String()
}

// The way to S3 and back, with a service in this process and credentials from the environment.
func TestShipToS3(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	query := "?region=us-east-1&path-style=true&endpoint=" + server.URL
	dir := t.TempDir()
	trail := filepath.Join(dir, "app.db-pagetrail")
	start := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	if err := (trailPlan{start: start, point: "deploy", rotate: 4}).make(trail); err != nil {
		t.Fatal(err)
	}

	if code, out, errs := runHere(t, "ship", trail, "--to", "s3://backups/some/app"+query, "--once"); code != cli.Done || !strings.Contains(errs, "shipped 12 transactions") {
		t.Fatalf("ship ends with %d: %s%s", code, out, errs)
	}
	for _, verb := range []string{"log", "window", "points", "verify"} {
		code, out, errs := runHere(t, verb, "s3://backups/some/app"+query)
		_, want, _ := runHere(t, verb, trail)
		if code != cli.Done || verb != "verify" && out != want {
			t.Errorf("%s of the archive ends with %d: %s%s, of the trail: %s", verb, code, out, errs, want)
		}
	}
	restored := make(map[string][]byte)
	for name, from := range map[string]string{"a.db": trail, "b.db": "s3://backups/some/app" + query} {
		path := filepath.Join(dir, name)
		if code, _, errs := runHere(t, "hydrate", from, "-o", path, "--txid", "7"); code != cli.Done {
			t.Fatalf("hydrate from %s ends with %d: %s", from, code, errs)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		restored[name] = data
	}
	if !bytes.Equal(restored["a.db"], restored["b.db"]) || len(restored["a.db"]) == 0 {
		t.Error("the archive and the trail give different databases")
	}
	for _, c := range []struct {
		url  string
		code cli.Code
		text string
	}{
		{"s3://backups/nothing" + query, cli.Nothing, "no archive"},
		{"s3://no-such-bucket/app" + query, cli.Nothing, "no such bucket"},
	} {
		if code, _, errs := runHere(t, "log", c.url); code != c.code || !strings.Contains(errs, c.text) {
			t.Errorf("log %s ends with %d: %s", c.url, code, errs)
		}
	}
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<Error><Code>ExpiredToken</Code></Error>"))
	}))
	t.Cleanup(denied.Close)
	url := "s3://backups/some/app?region=us-east-1&path-style=true&endpoint=" + denied.URL
	if code, _, errs := runHere(t, "ship", trail, "--to", url, "--once"); code != cli.Failed || !strings.Contains(errs, "session token has expired") {
		t.Errorf("ship with an expired token ends with %d: %s", code, errs)
	}
}
