package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
)

// Token is a secret that opens databases.
type Token struct {
	Secret    string
	Databases []string // names; nil: all
}

// opens says whether a token is for a database; the empty name is the list of databases.
func (t *Token) opens(name string) bool {
	return name == "" || t.Databases == nil || slices.Contains(t.Databases, name)
}

// authorize finds the token of a request: nil without error where none is needed. All are compared, and by their
// hashes, so that the time it takes says nothing about any.
func (h *Handler) authorize(r *http.Request, name string) (*Token, error) {
	if len(h.o.Tokens) == 0 {
		return nil, nil
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	var found *Token
	for i := range h.o.Tokens {
		want := sha256.Sum256([]byte(h.o.Tokens[i].Secret))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			found = &h.o.Tokens[i]
		}
	}
	switch {
	case secret == "" || !strings.EqualFold(scheme, "Bearer"):
		return nil, problemf(ErrDenied, "a token is needed: Authorization: Bearer TOKEN")
	case found == nil:
		return nil, problemf(ErrDenied, "the server does not know this token")
	case !found.opens(name):
		return nil, problemf(ErrDenied, "the token is not for database %.100q", name)
	}
	return found, nil
}
