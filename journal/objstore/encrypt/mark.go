package encrypt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// markKey is the object that says that a store is encrypted, and how long its headers are. It holds no secret.
const markKey = "encryption"

// mark is its content.
type mark struct {
	Format int `json:"format"`
	Header int `json:"header"` // bytes before the first block of each object
}

// markFormat is the version that this release writes and reads.
const markFormat = 1

// maxMark is more than a mark has.
const maxMark = 4 << 10

func parseMark(data []byte) (int, error) {
	var m mark
	if err := json.Unmarshal(data, &m); err != nil || m.Format < 1 {
		return 0, damaged(errors.New("it does not say how the store is encrypted; remove it, and it is written anew"))
	}
	if m.Format > markFormat {
		return 0, fmt.Errorf("format %d, this program knows %d; use a newer pagetrail: the store %w", m.Format, markFormat, objstore.ErrEncrypted)
	}
	if m.Header <= nonceBytes || m.Header > maxHeader {
		return 0, damaged(fmt.Errorf("headers of %d bytes; remove it, and it is written anew", m.Header))
	}
	return m.Header, nil
}

// settle finds out how long the headers of a store are: by the mark, and where that is missing by an object. 0: there
// is neither.
func (s *store) settle(ctx context.Context) (int, error) {
	s.mu.Lock()
	n := s.header
	s.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	n, err := s.readMark(ctx)
	marked := err == nil
	if errors.Is(err, objstore.ErrNotFound) {
		n, marked, err = s.settleByObject(ctx)
	}
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == 0 { // another goroutine may have found a mark since
		return s.header, nil
	}
	s.header, s.marked = n, s.marked || marked
	return n, nil
}

func (s *store) readMark(ctx context.Context) (int, error) {
	body, _, err := s.inner.Get(ctx, markKey, 0, maxMark)
	if err != nil {
		return 0, err
	}
	n := 0
	data, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err == nil {
		n, err = parseMark(data)
	}
	return n, s.fail(objstore.OpGet, markKey, err)
}

// settleByObject reads the header of the first object, or the mark, which another may have written in this moment.
func (s *store) settleByObject(ctx context.Context) (n int, marked bool, err error) {
	for o, err := range s.inner.List(ctx, "", "") {
		if err != nil {
			return 0, false, err
		}
		if o.Key == markKey {
			n, err := s.readMark(ctx)
			return n, err == nil, err
		}
		if strings.HasPrefix(o.Key, "probe-") { // what an interrupted objstore.Probe of the store itself left
			continue
		}
		body, _, err := s.inner.Get(ctx, o.Key, 0, maxHeader)
		if errors.Is(err, objstore.ErrNotFound) { // deleted in this moment
			continue
		}
		if err != nil {
			return 0, false, err
		}
		data, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			return 0, false, s.fail(objstore.OpGet, o.Key, err)
		}
		if n := headerLen(data); n > 0 {
			return n, false, nil
		}
		return 0, false, s.fail(objstore.OpGet, o.Key, notSealed(data))
	}
	return 0, false, nil
}

// mark is settle for those who write: they mark a store that is not.
func (s *store) mark(ctx context.Context) (int, error) {
	n, err := s.settle(ctx)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	marked, known := s.marked, s.header
	s.mu.Unlock()
	if marked && known > 0 { // another goroutine may have found it since
		return known, nil
	}
	if n == 0 {
		header, _, err := newHeader(s.keys.Recipients, markKey, 0, &s.pad)
		if err != nil {
			return 0, s.fail(objstore.OpCreate, markKey, err)
		}
		n = len(header)
	}
	data, err := json.Marshal(mark{markFormat, n})
	if err != nil {
		return 0, err
	}
	data = append(data, '\n')
	err = s.inner.Create(ctx, markKey, bytes.NewReader(data), int64(len(data)))
	if errors.Is(err, objstore.ErrExists) { // another's, in this moment
		s.mu.Lock()
		s.header = 0
		s.mu.Unlock()
		return s.settle(ctx)
	}
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.header, s.marked = n, true
	s.mu.Unlock()
	return n, nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", objstore.ErrDamaged, err) }

// notSealed says what data that has no header is.
func notSealed(data []byte) error {
	if bytes.HasPrefix(data, []byte(intro)) {
		return damaged(errChanged)
	}
	if len(data) < len(intro) && bytes.HasPrefix([]byte(intro), data) {
		return damaged(errChanged)
	}
	return fmt.Errorf("the object %w; open the store without keys, or begin a new one: the two are never mixed", objstore.ErrNotEncrypted)
}
