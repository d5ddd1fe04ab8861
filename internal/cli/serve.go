package cli

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow/changes"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

type serveOptions struct {
	databases []string
	listen    string
	tokens    string
	cert, key string
	clientCA  string
	insecure  bool
	sync      bool
	streams   int
	heartbeat time.Duration
}

func (o *serveOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "127.0.0.1:7330", "the `ADDRESS` and port to listen on; port 0 takes a free one")
	f.StringVar(&o.tokens, "tokens", "", "a `FILE` of tokens, one a line: TOKEN [NAME]..., without names for all databases")
	f.StringVar(&o.cert, "cert", "", "a `FILE` with the server's certificate chain, PEM")
	f.StringVar(&o.key, "key", "", "a `FILE` with the certificate's key, PEM")
	f.StringVar(&o.clientCA, "client-ca", "", "a `FILE` of certificates, PEM: followers must have one that these signed")
	f.BoolVar(&o.insecure, "insecure", false, "serve to other machines without tokens or without TLS all the same")
	f.BoolVar(&o.sync, "sync", false, "make transactions durable on this machine before they are sent")
	f.IntVar(&o.streams, "streams", 1000, "how many followers there may be at a time: `N`")
	lengthVar(f, &o.heartbeat, "heartbeat", 5*time.Second, "how `LONG` followers hear nothing at most")
}

func newServe(env *Env) *cobra.Command {
	o := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve [NAME=]TRAIL|DB... [FLAG]...",
		Short: "Send trails to followers on other machines, as they grow",
		Example: examples(
			"pagetrail serve app.db                        # to followers on this machine",
			"pagetrail serve app.db --listen :7330 --tokens tokens --cert cert.pem --key key.pem",
			"pagetrail follow https://primary.example:7330/app.db replica.db --token-file token",
		),
		Long: `Serve the trails of databases over HTTP/1.1 and HTTP/2 to pagetrail follow, each under
NAME, which is the database's file name unless it is given. A replica's own trail can
be served like any other, so followers may follow followers. Programs that commit
never wait for a follower. What is new is read and encoded once for all, and sent to
each: where they are many, one that serves the others takes them off this machine. A
follower that takes nothing for a minute is cut off; it goes on where it was when it
comes back.

Which tables each transaction changes is told at URL/changes, as server-sent events with
the JSON of pagetrail watch: curl -N http://HOST/NAME/changes. Header Last-Event-ID, or
?after=TXID, goes on after what was told. While somebody listens, there is a copy of the
database in the directory for temporary files (TMPDIR).

On an address that other machines reach, tokens and TLS are needed: --tokens names a
file that only its owner may read, with a token a line, and behind it the names of the
databases that it opens. Instead of tokens, or with them, followers may be asked for a
certificate: --client-ca. --insecure does without, for a network that is safe itself.

A transaction may reach followers before it is durable here, as SQLite in WAL mode
itself calls it committed before that: then this machine, after losing power, has fewer
transactions than its followers, and they have to be told to go back (follow --rewind).
--sync syncs database and trail first, once for everything that came meanwhile. It
slows down commits that sync as well.

` + trailHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &hintError{usagef("which trail? %s", cmd.UseLine()), neighbours(".", "see: "+cmd.CommandPath()+" --help")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.databases = args
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// served is one database of serve.
type served struct {
	name  string
	trail *openedTrail
}

func (o *serveOptions) run(ctx context.Context, env *Env) error {
	tokens, err := o.readTokens()
	if err != nil {
		return err
	}
	config, err := o.tls()
	if err != nil {
		return err
	}
	if err := o.guard(len(tokens) > 0, config); err != nil {
		return err
	}
	all, far := map[string]*journal.Trail{}, false
	for _, arg := range o.databases {
		d, err := openServed(ctx, env, arg)
		if err != nil {
			return err
		}
		defer d.trail.Close()
		if all[d.name] != nil {
			return usagef("two databases with the same name %s: give one another, as in NAME=%s", d.name, arg)
		}
		all[d.name] = d.trail.Trail
		far = far || isURL(arg)
	}
	opt := &serve.Options{Databases: all, Tokens: tokens, Streams: o.streams, Heartbeat: o.heartbeat}
	told := &changes.Options{}
	if far { // each look into an archive is a request
		opt.PollMin, opt.PollMax = archivePollMin, archivePollMax
		told.PollMin, told.PollMax, told.Retry = archivePollMin, archivePollMax, mayPass
	}
	opt.Changes = changes.Served(told)
	if o.sync {
		opt.Sync = func(_ context.Context, name string) error { return syncPrimary(durable.OS, all[name].Dir()) }
	}
	return o.listenAndServe(ctx, env, serve.New(opt), config)
}

// openServed opens a database and finds its name.
func openServed(ctx context.Context, env *Env, arg string) (served, error) {
	name, path, named := strings.Cut(arg, "=")
	if !named || exists(arg) || strings.ContainsAny(name, "/:") {
		name, path = "", arg
	}
	t, err := openSound(ctx, env, path)
	if err != nil {
		return served{}, err
	}
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(t.Dir()), trailSuffix)
	}
	return served{name, t}, nil
}

func (o *serveOptions) listenAndServe(ctx context.Context, env *Env, h *serve.Handler, config *tls.Config) error {
	l, err := net.Listen("tcp", o.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return withHint(err, "another program listens there; --listen names another address, and port 0 takes a free one")
	}
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Handler: h, TLSConfig: config, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, 0), // of connections that were no followers
	}
	scheme := "http"
	done := make(chan error, 1)
	if config != nil {
		scheme = "https"
		go func() { done <- s.ServeTLS(l, "", "") }()
	} else {
		go func() { done <- s.Serve(l) }()
	}
	env.notice("serving on %s://%s", scheme, l.Addr())
	select {
	case err = <-done:
	case <-ctx.Done():
	}
	err = errors.Join(err, h.Close())
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if e := s.Shutdown(end); e != nil {
		return errors.Join(err, s.Close())
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// guard refuses to serve to other machines what anybody could read.
func (o *serveOptions) guard(tokens bool, config *tls.Config) error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return usagef("--listen %s: %v", o.listen, err)
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() || o.insecure {
		return nil
	}
	switch {
	case config == nil:
		return &hintError{usagef("--listen %s: other machines could read the databases on their way", o.listen), "give --cert and --key, or --insecure on a network that is safe itself"}
	case !tokens && config.ClientCAs == nil:
		return &hintError{usagef("--listen %s: every machine could read the databases", o.listen), "give --tokens or --client-ca, or --insecure if that is meant"}
	}
	return nil
}

func (o *serveOptions) tls() (*tls.Config, error) {
	if o.cert == "" && o.key == "" {
		if o.clientCA != "" {
			return nil, usagef("--client-ca needs --cert and --key: without TLS nobody shows a certificate")
		}
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(o.cert, cmp.Or(o.key, o.cert))
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if o.clientCA != "" {
		if c.ClientCAs, err = readCertificates(o.clientCA); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func readCertificates(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", name)
	}
	return pool, nil
}

// minToken is what a token has at least: 16 random characters are more than anybody can try.
const minToken = 16

// readTokens reads the file of tokens: nil without one.
func (o *serveOptions) readTokens() ([]serve.Token, error) {
	if o.tokens == "" {
		return nil, nil
	}
	f, err := os.Open(o.tokens)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := secret(f); err != nil {
		return nil, err
	}
	var tokens []serve.Token
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words[0]) < minToken {
			return nil, fmt.Errorf("%s line %d: a token of %s can be guessed: want %d or more", o.tokens, n, ui.Plural(len(words[0]), "character", "characters"), minToken)
		}
		t := serve.Token{Secret: words[0]}
		if len(words) > 1 {
			t.Databases = words[1:]
		}
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("%s has no token", o.tokens)
	}
	return tokens, nil
}

// secret wants a file that others may not read, where files have modes.
func secret(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); os.PathSeparator == '/' && info.Mode().IsRegular() && mode&0o077 != 0 {
		return &hintError{fmt.Errorf("%s may be read by others (mode %04o)", f.Name(), mode), "chmod 600 " + f.Name()}
	}
	return nil
}
