package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
)

// Code is what a command ends with. The numbers are a promise to scripts: none is ever reused.
type Code int

// The codes. They are few, because a script can only do so many different things.
const (
	Done        Code = 0
	Failed      Code = 1   // the machine's fault or an output in the way: disk, permissions
	Usage       Code = 2   // the command was written wrongly
	Damaged     Code = 3   // bytes of the trail are not what was written
	Gap         Code = 4   // transactions are missing, or histories that should agree do not
	Nothing     Code = 10  // no trail, transaction, moment or point there
	Locked      Code = 11  // another process holds the lock
	Unshipped   Code = 12  // a service ended, and not everything was shipped
	Interrupted Code = 130 // SIGINT, SIGTERM or SIGHUP; nothing was left behind
)

// codeMeans explains the codes in the helps of verbs.
var codeMeans = map[Code]string{
	Done:        "done",
	Failed:      "failed: disk, permissions, an output that exists, a newer format",
	Usage:       "the command was written wrongly",
	Damaged:     "data of the trail is damaged",
	Gap:         "transactions are missing from the trail, or it diverged",
	Nothing:     "nothing there: no such trail, transaction, moment or point",
	Locked:      "locked by another process",
	Unshipped:   "ended before everything was shipped; the rest is in the trails",
	Interrupted: "interrupted; nothing was left behind",
}

// usageError is a command written wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// kindError is an error of a known kind whose text says it better than the kind's would.
type kindError struct {
	text string
	kind error
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

func kindf(kind error, format string, args ...any) error {
	return &kindError{fmt.Sprintf(format, args...), kind}
}

// hintError carries what to do next.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// withHint adds the next command to an error that does not know a better one yet.
func withHint(err error, format string, args ...any) error {
	if err == nil || hintOf(err) != "" {
		return err
	}
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// hintOf is the next command that an error was given on its way through this package.
func hintOf(err error) string {
	var own *hintError
	if errors.As(err, &own) {
		return own.hint
	}
	return ""
}

// quietCode ends a command with a code after it has said all there is to say.
type quietCode struct {
	code Code
	err  error
}

func (e *quietCode) Error() string { return e.err.Error() }
func (e *quietCode) Unwrap() error { return e.err }

// codeOf decides with which code an error ends the program. The order matters: an interrupted job
// may wrap whatever it was doing in an error, and damage is more than the gap that it leaves.
func codeOf(err error) Code {
	var quiet *quietCode
	var usage *usageError
	switch {
	case err == nil:
		return Done
	case errors.As(err, &quiet):
		return quiet.code
	case errors.As(err, &usage), errors.Is(err, objstore.ErrKey), errors.Is(err, archive.ErrRetention), errors.Is(err, encrypt.ErrKeys):
		return Usage
	case errors.Is(err, errUnshipped):
		return Unshipped
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, journal.ErrLocked):
		return Locked
	case errors.Is(err, journal.ErrVersion), errors.Is(err, journal.ErrFlag), errors.Is(err, journal.ErrExists):
		return Failed
	case errors.Is(err, journal.ErrCorrupt), errors.Is(err, journal.ErrForeign), errors.Is(err, journal.ErrTorn), errors.Is(err, objstore.ErrDamaged):
		return Damaged
	case errors.Is(err, journal.ErrGap), errors.Is(err, journal.ErrDiverged):
		return Gap
	case errors.Is(err, journal.ErrRange), errors.Is(err, journal.ErrNotFound), errors.Is(err, objstore.ErrNoBucket):
		return Nothing
	}
	return Failed
}

// worse joins the outcomes of going on after an error: damage before gaps before the rest.
func worse(a, b error) error {
	if a == nil || b != nil && codeOf(b) == Damaged && codeOf(a) != Damaged {
		return b
	}
	return a
}

// printError writes the error and its hint to stderr.
func printError(env *Env, err error) {
	var quiet *quietCode
	if errors.As(err, &quiet) {
		return
	}
	paint := env.painter(env.ErrTerm)
	// An error that could not clean up after itself says so; then it is shown like any other.
	if errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "left behind") {
		fmt.Fprintln(env.Err, "pagetrail: interrupted; nothing was left behind")
		return
	}
	const name = "pagetrail:"
	text := env.wrap(name + " " + reasonOf(err))
	fmt.Fprintf(env.Err, "%s%s\n", paint.Paint(ui.Bad, name), strings.TrimPrefix(text, name))
	if hint := hintFor(err); hint != "" {
		fmt.Fprintln(env.Err, env.wrap("  "+hint))
	}
}

// reasonOf is an error's text without the advice that journal's errors end with: that belongs on a
// line of its own, or is said already.
func reasonOf(err error) string {
	text := strings.TrimRight(err.Error(), "\n")
	var place *journal.Error
	if errors.As(err, &place) && place.Hint != "" {
		text = strings.Replace(text, "; "+place.Hint, "", 1)
	}
	return text
}

// lossOf is one word for why transactions cannot be had.
func lossOf(err error) string {
	switch codeOf(err) {
	case Damaged:
		return "damaged"
	case Gap:
		return "missing"
	}
	return "unreadable"
}

// wrap makes a message of ours fit the terminal on stderr, if there is one. It keeps the message's own
// line breaks and lets nothing else through that moves a cursor.
func (e *Env) wrap(s string) string {
	width := 0
	if e.ErrTerm {
		width = e.Width()
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = ui.Wrap(ui.Clean(lines[i]), width, "    ")
	}
	return strings.Join(lines, "\n")
}

// hintFor is what to do about an error: what was said where it arose, else what its kind calls for.
func hintFor(err error) string {
	if hint := hintOf(err); hint != "" {
		return hint
	}
	var output *apply.OutputError
	var place *journal.Error
	switch {
	case errors.As(err, &output):
		return ""
	case errors.Is(err, objstore.ErrEncrypted):
		return "--identity FILE reads an encrypted archive; to write to one takes --encrypt-to as well"
	case errors.Is(err, objstore.ErrNotEncrypted):
		return "leave --identity and --encrypt-to away, and " + encryptToEnv + " and " + identityEnv
	case errors.As(err, &place) && place.Hint != "":
		return place.Hint
	case errors.Is(err, objstore.ErrNoBucket):
		return "make the bucket, or the directory, or correct its name (and region=) in the URL"
	case errors.Is(err, objstore.ErrDenied):
		return "look at the credentials and what they are allowed; pagetrail doctor URL says which right is missing"
	case isQuota(err):
		return "raise the quota, which has to have room for a first base and for the largest transaction; shipping makes room"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return "make room there, or use another place: -o or --to says where to write, TMPDIR where scratch files are"
	case errors.Is(err, fs.ErrNotExist) && !exists(os.TempDir()):
		return "TMPDIR names a directory that is not there"
	case errors.Is(err, syscall.EISDIR):
		return "a directory has the name of a file there: move it away"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "run it as a user who may, or name another place"
	case errors.Is(err, journal.ErrVersion), errors.Is(err, journal.ErrFlag):
		return "a newer pagetrail wrote this; upgrade this one, or read it on the machine that wrote it"
	case isHeld(err):
		return "two programs ship to one place: stop one of them, or give it a prefix of its own"
	case errors.Is(err, journal.ErrLocked):
		return "another process is writing; try again when it is done"
	}
	return ""
}

// notice says something about the result on stderr, unless --quiet.
func (e *Env) notice(format string, args ...any) {
	if !e.quiet {
		fmt.Fprintln(e.Err, e.wrap(fmt.Sprintf(format, args...)))
	}
}

// exists says whether a path is there, whatever it is.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
