package gcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

var errLogin = errors.New("no credentials")

// refusal is an answer that is not 2xx.
type refusal struct {
	status  int
	reason  string // the service's word for it
	message string
}

func (e *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the service answers %d %s: %s", e.status, e.reason, e.message))
}

// maxRefusal is how much is read of why something was refused.
const maxRefusal = 64 << 10

// refused reads an answer and closes it.
func refused(r *http.Response) error {
	defer r.Body.Close()
	e := &refusal{status: r.StatusCode, reason: http.StatusText(r.StatusCode)}
	var body struct {
		Error struct {
			Message string `json:"message"`
			Errors  []struct {
				Reason string `json:"reason"`
			} `json:"errors"`
		} `json:"error"`
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxRefusal))
	if err == nil && json.Unmarshal(data, &body) == nil {
		e.message = body.Error.Message
		if len(body.Error.Errors) > 0 {
			e.reason = body.Error.Errors[0].Reason
		}
	} else {
		e.message, _, _ = strings.Cut(string(data), "\n")
	}
	return e
}

// status of an answer; 0 when err is none.
func status(err error) int {
	var r *refusal
	if errors.As(err, &r) {
		return r.status
	}
	return 0
}

// fail puts the place on an error, and makes the service's words for clear answers ours. nil stays nil.
func (s *Store) fail(op objstore.Op, key string, err error) error {
	if err == nil {
		return nil
	}
	var r *refusal
	var token *oauth2.RetrieveError
	switch {
	case errors.As(err, &r):
		err = s.answer(r)
	case errors.As(err, &token):
		if token.Response == nil || token.Response.StatusCode < 500 {
			err = fmt.Errorf("%w: the credentials are not accepted any more: log in again, or look at GOOGLE_APPLICATION_CREDENTIALS: %v", objstore.ErrDenied, err)
		}
	case errors.Is(err, errLogin):
		err = fmt.Errorf("%w: set GOOGLE_APPLICATION_CREDENTIALS, or log in with gcloud auth application-default login: %v", objstore.ErrDenied, err)
	}
	return &objstore.Error{Op: op, Store: "gs://" + s.bucket, Key: key, Err: err}
}

func (s *Store) answer(r *refusal) error {
	switch {
	case r.status == http.StatusNotFound && strings.Contains(r.message, "bucket does not exist"):
		return fmt.Errorf("%w %s: make it, or look at its name", objstore.ErrNoBucket, s.bucket)
	case r.status == http.StatusNotFound:
		return objstore.ErrNotFound
	case r.status == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s; log in, and set the clock of this machine", objstore.ErrDenied, r.message)
	case r.status == http.StatusForbidden && (r.reason == "rateLimitExceeded" || r.reason == "userRateLimitExceeded"):
		return r
	case r.status == http.StatusForbidden:
		return fmt.Errorf("%w: %s; give the account the role Storage Object User on the bucket", objstore.ErrDenied, r.message)
	}
	return r
}
