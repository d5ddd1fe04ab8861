package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/pagetrail/pagetrail/journal"
)

// Problem is how a server says what is wrong: as the body of an HTTP response, and in the last frame of a stream. It is
// the error of package journal that its Code names, for errors.Is.
type Problem struct {
	Code string `json:"code"`
	Text string `json:"error"`
	// First and Last are what the trail holds, with Code "range".
	First journal.TXID `json:"first,omitempty"`
	Last  journal.TXID `json:"last,omitempty"`
}

var (
	// ErrDenied: the token is missing, wrong, or not for this database.
	ErrDenied = errors.New("access denied")
	// ErrBusy: the server has as many streams as it is to have, or ends.
	ErrBusy = errors.New("server busy")
	// ErrNoBase: the trail begins in the middle of a history, and has no base to begin a stream with, or not yet: it
	// is written right after the trail has begun.
	ErrNoBase = errors.New("the trail has no base yet")
	// errUsage: a request that no client of ours makes.
	errUsage = errors.New("bad request")
)

// kinds are the codes, the errors they stand for, and their HTTP statuses. The first that fits is taken.
var kinds = []struct {
	code   string
	err    error
	status int
}{
	{"range", journal.ErrRange, http.StatusConflict},
	{"version", journal.ErrVersion, http.StatusInternalServerError},
	{"flag", journal.ErrFlag, http.StatusInternalServerError},
	{"corrupt", journal.ErrCorrupt, http.StatusInternalServerError},
	{"diverged", journal.ErrDiverged, http.StatusConflict},
	{"gap", journal.ErrGap, http.StatusInternalServerError},
	{"foreign", journal.ErrForeign, http.StatusConflict},
	{"not-found", journal.ErrNotFound, http.StatusNotFound},
	{"denied", ErrDenied, http.StatusForbidden},
	{"busy", ErrBusy, http.StatusServiceUnavailable},
	{"no-base", ErrNoBase, http.StatusServiceUnavailable},
	{"usage", errUsage, http.StatusBadRequest},
}

// problemOf is what is said to the other side about an error: what a trail or the request has to do with it, and of
// other errors not more than that there was one, since they name files of this machine.
func problemOf(err error) (*Problem, int) {
	if p, ok := errors.AsType[*Problem](err); ok {
		for _, k := range kinds {
			if k.code == p.Code {
				return p, k.status
			}
		}
	}
	for _, k := range kinds {
		if !errors.Is(err, k.err) {
			continue
		}
		p := &Problem{Code: k.code, Text: k.err.Error()}
		if r, ok := errors.AsType[*journal.RangeError](err); ok {
			p.Text, p.First, p.Last = r.Error(), r.First, r.Last
		} else if e, ok := errors.AsType[*journal.Error](err); ok {
			p.Text = fmt.Sprintf("the sender's trail, transaction %d: %v", e.TXID, e.Err)
		}
		return p, k.status
	}
	if errors.Is(err, context.Canceled) {
		return &Problem{Code: "busy", Text: "the server ends"}, http.StatusServiceUnavailable
	}
	return &Problem{Code: "failed", Text: "the sender cannot read its trail"}, http.StatusInternalServerError
}

func problemf(kind error, format string, args ...any) *Problem {
	p, _ := problemOf(kind)
	p.Text = fmt.Sprintf(format, args...)
	return p
}

// ParseProblem reads what a server said. What is not a Problem, from a proxy for instance, becomes one without a code.
func ParseProblem(data []byte) *Problem {
	p := new(Problem)
	if err := json.Unmarshal(data, p); err != nil || p.Text == "" {
		return &Problem{Text: fmt.Sprintf("%.200q", data)}
	}
	return p
}

func (p *Problem) Error() string { return p.Text }

// Is says what the code stands for.
func (p *Problem) Is(target error) bool {
	for _, k := range kinds {
		if k.code == p.Code {
			return k.err == target
		}
	}
	return false
}

func (p *Problem) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil || len(b) > maxText {
		b = fmt.Appendf(nil, `{"code":%q,"error":"too long to say"}`, p.Code)
	}
	return b
}
