package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	probePrefix = "probe-"
	// probeAge is how much older than one's own an object of a probe is that nobody will come back to.
	probeAge = 24 * time.Hour
)

// Probe finds out whether a store honours conditional writes, which the fence between two writers stands on: some
// accept the condition and ignore it. It writes an object under a name drawn at random, writes it again under
// conditions that do not hold, and deletes it. ErrLies when such a write succeeded; other errors are the store's. What
// others left there that were killed meanwhile goes as well, a day later.
func Probe(ctx context.Context, s Store) (err error) {
	var name [8]byte
	_, _ = rand.Read(name[:]) // documented never to fail
	key := probePrefix + hex.EncodeToString(name[:])
	one, two := []byte("pagetrail probe 1"), []byte("pagetrail probe 2")
	if err := s.Create(ctx, key, bytes.NewReader(one), int64(len(one))); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer func() {
		if e := s.Delete(context.WithoutCancel(ctx), key); e != nil {
			err = errors.Join(err, fmt.Errorf("probe: %w", e))
		}
	}()
	if err := sweep(ctx, s, key); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	lies := func(what string) error {
		return &Error{Op: OpCreate, Store: "store", Key: key, Err: fmt.Errorf("%s: the store %w, so two writers could overwrite each other; use another store or another mode of it", what, ErrLies)}
	}
	switch err := s.Create(ctx, key, bytes.NewReader(two), int64(len(two))); {
	case err == nil:
		return lies("an object was overwritten in spite of if-none-match")
	case !errors.Is(err, ErrExists):
		return fmt.Errorf("probe: %w", err)
	}
	head := s.Head(key)
	data, tag, err := head.Load(ctx)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if !bytes.Equal(data, one) {
		return lies("an object changed in spite of if-none-match")
	}
	if _, err := head.Swap(ctx, tag, two); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	for _, stale := range []Tag{tag, ""} {
		switch _, err := head.Swap(ctx, stale, one); {
		case err == nil:
			return lies("an object was overwritten in spite of if-match")
		case !errors.Is(err, ErrConflict):
			return fmt.Errorf("probe: %w", err)
		}
	}
	return nil
}

// sweep deletes what probes left, by the clock of the store.
func sweep(ctx context.Context, s Store, own string) error {
	var left []Object
	var now time.Time
	for o, err := range s.List(ctx, probePrefix, "") {
		if err != nil {
			return err
		}
		name, err := hex.DecodeString(strings.TrimPrefix(o.Key, probePrefix))
		if err == nil && len(name) == 8 && !o.Modified.IsZero() {
			left = append(left, o)
		}
		if o.Key == own {
			now = o.Modified
		}
	}
	for _, o := range left {
		if o.Modified.Add(probeAge).Before(now) {
			if err := s.Delete(ctx, o.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
