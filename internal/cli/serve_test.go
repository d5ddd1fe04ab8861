package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// lines is an output whose lines a test waits for.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	news chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.news)
	l.news = make(chan struct{})
	return len(p), nil
}

// after waits for what follows prefix on a line.
func (l *lines) after(t *testing.T, prefix string, ended <-chan cli.Code) string {
	t.Helper()
	for {
		l.mu.Lock()
		_, rest, ok := strings.Cut(l.text.String(), prefix)
		line, _, whole := strings.Cut(rest, "\n")
		news, all := l.news, l.text.String()
		l.mu.Unlock()
		if ok && whole {
			return line
		}
		select {
		case <-news:
		case code := <-ended:
			t.Fatalf("ended with %d: %s", code, all)
		}
	}
}

// background runs a command line until the test ends, or stop is called.
func background(t *testing.T, args ...string) (out, errs *lines, ended <-chan cli.Code, stop func()) {
	t.Helper()
	out, errs = &lines{news: make(chan struct{})}, &lines{news: make(chan struct{})}
	env := &cli.Env{
		Out: out, Err: errs, Width: func() int { return 80 }, Zone: time.UTC, Getenv: os.Getenv, Now: time.Now,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan cli.Code, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		done <- cli.Run(ctx, env, args)
	}()
	stop = func() {
		cancel()
		<-gone
	}
	t.Cleanup(stop)
	return out, errs, done, stop
}

func start() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) }

// hydrated is the newest database of a trail.
func hydrated(t *testing.T, trail string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "want.db")
	if code, _, errs := runHere(t, "hydrate", trail, "-o", path); code != cli.Done {
		t.Fatal(errs)
	}
	return fileOf(t, path)
}

func fileOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Two databases over plain HTTP on this machine: by their names, with a name that is given, and one that is not there.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.db-pagetrail"), filepath.Join(dir, "two.db-pagetrail")
	for _, trail := range []string{one, two} {
		if err := (trailPlan{start: start(), rotate: 4}).make(trail); err != nil {
			t.Fatal(err)
		}
	}
	_, errs, ended, _ := background(t, "serve", one, "second="+two, "--listen", "127.0.0.1:0")
	url := errs.after(t, "serving on ", ended)
	for name, trail := range map[string]string{"one.db": one, "second": two} {
		path := filepath.Join(dir, name+".replica")
		if code, _, errs := runHere(t, "follow", url+"/"+name, path, "--once"); code != cli.Done {
			t.Fatalf("follow ends with %d: %s", code, errs)
		}
		if !bytes.Equal(fileOf(t, path), hydrated(t, trail)) {
			t.Errorf("%s is not what it should be", name)
		}
	}
	if code, _, errs := runHere(t, "follow", url+"/two.db", filepath.Join(dir, "x"), "--once"); code != cli.Nothing || !strings.Contains(errs, "no database") {
		t.Errorf("a name that is not served: %d: %s", code, errs)
	}
	if code, _, errs := runHere(t, "follow", url+"/one.db", filepath.Join(dir, "second.replica"), "--once"); code != cli.Damaged {
		t.Errorf("a replica of another database: %d: %s", code, errs)
	}
	if code, _, errs := runHere(t, "follow", url, filepath.Join(dir, "x"), "--once"); code != cli.Nothing || !strings.Contains(errs, `"one.db"`) {
		t.Errorf("no name: %d: %s", code, errs)
	}
	_, told, _ := runHere(t, "watch", one, "--from", "0", "--once", "--json")
	resp, err := http.Get(url + "/one.db/changes?after=0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := bufio.NewScanner(resp.Body)
	for line := range strings.Lines(told) {
		data, ok := "", false
		for !ok && events.Scan() {
			data, ok = strings.CutPrefix(events.Text(), "data: ")
		}
		if data+"\n" != line {
			t.Fatalf("the server tells %s, and watch %s", data, line)
		}
	}
}

// A server goes and comes back: the follower says both.
func TestServeComesBack(t *testing.T) {
	dir := t.TempDir()
	trail := filepath.Join(dir, "app.db-pagetrail")
	if err := (trailPlan{start: start()}).make(trail); err != nil {
		t.Fatal(err)
	}
	_, errs, ended, stop := background(t, "serve", trail, "--listen", "127.0.0.1:0")
	url := errs.after(t, "serving on ", ended)
	out, _, ended, _ := background(t, "follow", url+"/app.db", filepath.Join(dir, "replica.db"), "--json")
	out.after(t, `"event":"attached"`, ended)
	stop()
	out.after(t, `"event":"unreachable"`, ended)
	background(t, "serve", trail, "--listen", strings.TrimPrefix(url, "http://"))
	out.after(t, `"event":"reached"`, ended)
}

// Tokens, TLS and certificates of followers.
func TestServeSecrets(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	trail := filepath.Join(dir, "app.db-pagetrail")
	if err := (trailPlan{start: start()}).make(trail); err != nil {
		t.Fatal(err)
	}
	tokens := file("tokens", "# who is who\nall-databases-0123456\nonly-app-01234567890 app.db\nother-0123456789012 other.db\n")
	cert := file("cert.pem", certificate(t))
	_, errs, ended, _ := background(t, "serve", trail, "--listen", "127.0.0.1:0", "--tokens", tokens,
		"--cert", cert, "--key", cert, "--client-ca", cert)
	url := errs.after(t, "serving on ", ended) + "/app.db"
	if !strings.HasPrefix(url, "https://") {
		t.Fatal(url)
	}
	for _, c := range []struct {
		name, token string
		flags       []string
		code        cli.Code
		text        string
	}{
		{"all", "all-databases-0123456", []string{"--ca", cert, "--cert", cert}, cli.Done, ""},
		{"its own", "only-app-01234567890\n", []string{"--ca", cert, "--cert", cert}, cli.Done, ""},
		{"another's", "other-0123456789012", []string{"--ca", cert, "--cert", cert}, cli.Failed, "not for database"},
		{"wrong", "only-app-01234567891", []string{"--ca", cert, "--cert", cert}, cli.Failed, "does not know this token"},
		{"none", "", []string{"--ca", cert, "--cert", cert}, cli.Failed, "a token is needed"},
		{"no certificate", "all-databases-0123456", []string{"--ca", cert}, cli.Failed, "--cert FILE"},
		{"unknown server", "all-databases-0123456", []string{"--cert", cert}, cli.Failed, "--ca FILE"},
	} {
		args := append([]string{"follow", url, filepath.Join(dir, c.name), "--once", "--token-file", file("token", c.token)}, c.flags...)
		code, _, errs := runHere(t, args...)
		if code != c.code || !strings.Contains(strings.Join(strings.Fields(errs), " "), c.text) {
			t.Errorf("%s: %d: %s", c.name, code, errs)
		}
		if strings.Contains(errs, "0123456") {
			t.Errorf("%s: a token is shown: %s", c.name, errs)
		}
	}
	code, _, said := runHere(t, "watch", "http"+strings.TrimPrefix(url, "https"), "--once")
	if code != cli.Failed || !strings.Contains(said, "it speaks TLS: "+url) {
		t.Errorf("without TLS: %d: %s", code, said)
	}
}

// certificate is one for 127.0.0.1 that signed itself, and its key.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// What would let strangers read, and what cannot be meant, is refused before anything is served.
func TestServeRefused(t *testing.T) {
	dir := t.TempDir()
	trail := filepath.Join(dir, "app.db-pagetrail")
	if err := (trailPlan{start: start()}).make(trail); err != nil {
		t.Fatal(err)
	}
	tokens, short := filepath.Join(dir, "tokens"), filepath.Join(dir, "short")
	for name, text := range map[string]string{tokens: "0123456789abcdef\n", short: "secret\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := filepath.Join(dir, "open")
	if err := os.WriteFile(open, []byte("0123456789abcdef\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code cli.Code
		text string
		args []string
	}{
		{cli.Usage, "on their way", []string{trail, "--listen", "0.0.0.0:0", "--tokens", tokens}},
		{cli.Usage, "on their way", []string{trail, "--listen", ":0"}},
		{cli.Usage, "TLS", []string{trail, "--client-ca", tokens}},
		{cli.Usage, "same name", []string{"a=" + trail, "a=" + trail}},
		{cli.Usage, "which trail", nil},
		{cli.Nothing, "neither a trail", []string{filepath.Join(dir, "nothing.db")}},
		{cli.Failed, "can be guessed", []string{trail, "--tokens", short}},
		{cli.Failed, "read by others", []string{trail, "--tokens", open}},
	} {
		code, _, errs := runHere(t, append([]string{"serve"}, c.args...)...)
		if code != c.code || !strings.Contains(strings.Join(strings.Fields(errs), " "), c.text) {
			t.Errorf("%q: %d, want %d: %s", c.args, code, c.code, errs)
		}
	}
}
