package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/config"
	"github.com/pagetrail/pagetrail/internal/metrics"
	"github.com/pagetrail/pagetrail/internal/sidecar"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

type runOptions struct {
	config string
	check  bool
}

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.config, "config", "c", "", "the configuration, a YAML `FILE`")
	f.BoolVar(&o.check, "check", false, "say whether the configuration is right, and end")
}

func newRun(env *Env) *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run --config FILE [FLAG]...",
		Short: "Ship, and capture, any number of databases as a service",
		Example: examples(
			"pagetrail run --config /etc/pagetrail.yaml           # until SIGTERM",
			"pagetrail run --config /etc/pagetrail.yaml --check",
			"curl -s 127.0.0.1:9180/status | jq                   # how it is doing",
		),
		Long: `Ship the trails of any number of databases to object storage, and capture databases
whose programs do not use the VFS. The configuration names them, one by one, by pattern
or by directory; those that come and go are found and let go while it runs. An example
with every setting is cmd/pagetrail/pagetrail.example.yaml in the source.

SIGHUP reads the configuration again; one with a mistake is refused, and the old one
stays. What it listens on, its log, keys, and the times and numbers that are not of one
database change with a restart only.

SIGTERM and SIGINT end it: it ships what there is, for at most the time grace:. It ends
with code 0 when everything was shipped, and with 12 when not; nothing is lost then,
what was not shipped is in the trails and goes out the next time. A second signal ends
it at once.

With listen: it serves /metrics for Prometheus, /status in JSON (?all with databases at
rest), /healthz and /readyz. To systemd it tells when it is ready, when it reloads and
when it ends (Type=notify).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Unshipped),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *runOptions) load(env *Env) (*config.Config, []sidecar.Source, error) {
	if o.config == "" {
		return nil, nil, &hintError{usagef("which configuration? --config FILE is missing"), "an example: cmd/pagetrail/pagetrail.example.yaml in the source"}
	}
	c, err := config.Load(o.config, func(name string) (string, bool) {
		s := env.Getenv(name)
		return s, s != ""
	})
	if err != nil {
		if _, ok := errors.AsType[*config.Error](err); ok {
			err = &usageError{err}
		}
		return nil, nil, err
	}
	for _, url := range append([]string{c.To}, owns(c)...) {
		if url != "" && !isURL(url) {
			return nil, nil, &hintError{usagef("%s: to: %s is not a URL", o.config, url), "for a directory write file://" + absolute(url)}
		}
	}
	return c, sources(c), nil
}

// owns are the URLs that single databases have.
func owns(c *config.Config) (urls []string) {
	for _, d := range c.Databases {
		urls = append(urls, d.To)
	}
	return urls
}

// sources are what the sidecar is to look after.
func sources(c *config.Config) []sidecar.Source {
	var out []sidecar.Source
	for _, d := range c.Databases {
		src := sidecar.Source{Path: d.Path, Glob: d.Glob, Dir: d.Dir, Trail: d.Trail, Capture: d.Capture, Keep: c.Keep, KeepBytes: cmp.Or(d.KeepBytes, c.KeepBytes), To: c.To, Key: d.Key}
		if d.Capture {
			src.Quota = cmp.Or(d.Quota, c.Quota)
		}
		if d.Keep != nil {
			src.Keep = *d.Keep
		}
		if d.To != "" {
			src.To, src.Key = d.To, func(string) (string, error) { return "", nil }
		}
		out = append(out, src)
	}
	return out
}

func (o *runOptions) run(ctx context.Context, env *Env) (err error) {
	c, src, err := o.load(env)
	if err != nil {
		return err
	}
	keys, err := env.keysOf(c)
	if err != nil {
		return err
	}
	log := logger(env, c)
	slog.SetDefault(log)
	s, err := sidecar.New(ctx, &sidecar.Options{
		Sources: src, Open: stores.Open, Seal: sealWith(keys), StoreName: storeName, Interval: c.Interval, Batch: c.Batch, Workers: c.Workers,
		Scan: c.Scan, Look: c.Look, Rest: c.Rest, Grace: c.Grace, Log: log,
		Limit: objstore.LimitOptions{BytesPerSecond: float64(c.Limit), RequestsPerSecond: float64(c.Requests)},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.check {
		env.notice("%s is right", o.config)
		return nil
	}
	if err := insideAny(ctx, c); err != nil {
		return err
	}
	if c.Listen != "" {
		stop, err := serveStatus(ctx, c.Listen, s, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	tell := func(state string) {
		if err := metrics.Notify(env.Getenv("NOTIFY_SOCKET"), state); err != nil {
			log.Warn("systemd was not told", "state", state, "err", err)
		}
	}
	defer onReloadSignal(ctx, func() { o.reload(ctx, env, s, log, tell) })()
	defer context.AfterFunc(ctx, func() { tell("STOPPING=1") })()
	tell("READY=1")
	return unshipped(s.Run(ctx))
}

// reload replaces the databases by those that the file has now.
func (o *runOptions) reload(ctx context.Context, env *Env, s *sidecar.Sidecar, log *slog.Logger, tell func(string)) {
	tell("RELOADING=1")
	defer tell("READY=1")
	_, src, err := o.load(env)
	if err == nil {
		err = s.Reload(ctx, src)
	}
	if err != nil {
		log.Error("the configuration was not read again; the old one stays", "file", o.config, "err", err)
		return
	}
	log.Info("the configuration was read again", "file", o.config)
}

// unshipped gives the end of a sidecar its exit code.
func unshipped(err error) error {
	if left, ok := errors.AsType[*sidecar.UnshippedError](err); ok {
		return &kindError{left.Error(), errUnshipped}
	}
	return err
}

// errUnshipped says that something is in a trail and not in its archive.
var errUnshipped = errors.New("not everything was shipped")

// logger writes what happens to stderr.
func logger(env *Env, c *config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // the configuration was checked
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(env.Err, o))
	}
	return slog.New(slog.NewTextHandler(env.Err, o))
}

// serveStatus answers questions about the sidecar until stop is called.
func serveStatus(ctx context.Context, address string, s *sidecar.Sidecar, log *slog.Logger) (stop func(), err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, withHint(fmt.Errorf("listen: %w", err), "another process may listen there: choose another address")
	}
	if !config.Loopback(address) {
		log.Warn("the status is served to other machines, without a password", "address", address)
	}
	server := &http.Server{Handler: metrics.Handler(s), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second}
	log.Info("listening", "address", l.Addr().String())
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the status is not served any more", "err", err)
		}
	}()
	return func() { _ = server.Close() }, nil // what is being answered is of no use to anybody any more
}
