package objstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The clear answers of a store, for errors.Is. Trying again does not change them.
var (
	// ErrNotFound: no object of that key.
	ErrNotFound = errors.New("not found")
	// ErrExists: Create found an object of that key.
	ErrExists = errors.New("exists already")
	// ErrConflict: Swap found another content than that of the tag.
	ErrConflict = errors.New("changed by another")
	// ErrDenied: the store knows who asks, or does not, and refuses.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket: the bucket or directory itself is not there.
	ErrNoBucket = errors.New("no such bucket")
	// ErrKey: a key that is no key, or a URL that is none.
	ErrKey = errors.New("invalid name")
	// ErrReadOnly: a store that was opened only for reading.
	ErrReadOnly = errors.New("opened for reading only")
	// ErrLies: the store accepts conditional writes and ignores them.
	ErrLies = errors.New("ignores conditions of writes")
	// ErrTooLarge: more than a head or a single object may have.
	ErrTooLarge = errors.New("too large")
	// ErrEncrypted: it is encrypted, and the key for it was not given.
	ErrEncrypted = errors.New("is encrypted")
	// ErrNotEncrypted: it is not encrypted, and was expected to be.
	ErrNotEncrypted = errors.New("is not encrypted")
	// ErrDamaged: what was decrypted is not what was written under that name.
	ErrDamaged = errors.New("damaged")
)

// final are the answers that Retry passes on at once.
var final = []error{
	ErrNotFound, ErrExists, ErrConflict, ErrDenied, ErrNoBucket, ErrKey, ErrReadOnly, ErrLies, ErrTooLarge,
	ErrEncrypted, ErrNotEncrypted, ErrDamaged, context.Canceled,
}

// Final says that an error is a clear answer, which the same call would get again.
func Final(err error) bool {
	for _, f := range final {
		if errors.Is(err, f) {
			return true
		}
	}
	return false
}

// Op names a call in errors, counts and faults.
type Op string

// The calls of a store.
const (
	OpGet    Op = "get"
	OpPut    Op = "put"
	OpCreate Op = "create"
	OpList   Op = "list"
	OpDelete Op = "delete"
	OpLoad   Op = "load"
	OpSwap   Op = "swap"
)

// Error says which call failed, and where.
type Error struct {
	Op    Op
	Store string // its URL, without secrets
	Key   string // empty when it is about the store
	Err   error
}

func (e *Error) Error() string {
	place := e.Store
	if e.Key != "" {
		place = strings.TrimSuffix(place, "/") + "/" + e.Key
	}
	return fmt.Sprintf("%s %s: %v", e.Op, place, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
