package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// remoteOptions say how a server is spoken to.
type remoteOptions struct {
	tokenFile string
	ca        string
	cert, key string
}

func (o *remoteOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.tokenFile, "token-file", "", "for http: a `FILE` with the token (default: PAGETRAIL_TOKEN in the environment)")
	f.StringVar(&o.ca, "ca", "", "for https: a `FILE` of certificates, PEM, one of which signed the server's (default: the system's)")
	f.StringVar(&o.cert, "cert", "", "for https: a `FILE` with a certificate to show to the server, PEM")
	f.StringVar(&o.key, "key", "", "for https: a `FILE` with its key, PEM")
}

// isServer says that an argument names a database that is served.
func isServer(arg string) bool {
	return strings.HasPrefix(arg, "http://") || strings.HasPrefix(arg, "https://")
}

// open asks the server for the database at url.
func (o *remoteOptions) open(ctx context.Context, env *Env, url string) (*remote.Source, error) {
	opt := &remote.Options{Token: env.Getenv("PAGETRAIL_TOKEN")}
	if o.tokenFile != "" {
		var err error
		if opt.Token, err = readToken(o.tokenFile); err != nil {
			return nil, err
		}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		pool, err := readCertificates(o.ca)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if o.cert != "" {
		key := o.key
		if key == "" {
			key = o.cert
		}
		pair, err := tls.LoadX509KeyPair(o.cert, key)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	opt.Client = &http.Client{Transport: t}
	src, err := remote.Open(ctx, url, opt)
	if errors.Is(err, serve.ErrDenied) {
		return nil, withHint(err, "the token comes from --token-file or PAGETRAIL_TOKEN")
	}
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "to an HTTPS server"):
		err = withHint(err, "it speaks TLS: %s", "https://"+strings.TrimPrefix(url, "http://"))
	case isUnknownAuthority(err):
		err = withHint(err, "name who signed its certificate, or that itself: --ca FILE")
	case strings.HasPrefix(url, "https:") && o.cert == "" && !errors.Is(err, syscall.ECONNREFUSED):
		// What TLS says of a certificate that is missing may come too late to be heard.
		err = withHint(err, "see that pagetrail serve runs there, and that this machine reaches it; if it asks for a certificate: --cert FILE")
	case errors.Is(err, follow.ErrUnreachable):
		err = withHint(err, "see that pagetrail serve runs there, and that this machine reaches it")
	}
	return src, err
}

// isUnknownAuthority says that a server has a certificate that nobody signed who is trusted.
func isUnknownAuthority(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	return unknown
}

func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := secret(f); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(bytes.TrimSpace(b)), err
}
