package encrypt

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"filippo.io/age"
)

const (
	intro      = "age-encryption.org/v1\n" // how every file of age begins
	stanzaType = "pagetrail-object"        // of the header's line that names the object
	nonceBytes = 16                        // between the header and the first block
	// headerUnit: headers have a multiple of so many bytes, which leaves room for another recipient or two.
	headerUnit = 512
	// maxHeader is some hundred recipients, or ten of those with post-quantum keys. It bounds what a reader allocates.
	maxHeader = 16 << 10
)

// nameOf is what the header says of the object's name: a hash, so that it has one length.
func nameOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// named is the first recipient with one line more: the object's name, and what fills the header up. Programs that do
// not know lines of that type pass over them, and the header's MAC covers them.
type named struct {
	age.Recipient
	key     string
	pad     int
	fileKey []byte // as it was drawn
}

// WrapWithLabels implements age.RecipientWithLabels.
func (n *named) WrapWithLabels(fileKey []byte) (s []*age.Stanza, labels []string, err error) {
	n.fileKey = bytes.Clone(fileKey)
	if r, ok := n.Recipient.(age.RecipientWithLabels); ok {
		s, labels, err = r.WrapWithLabels(fileKey)
	} else {
		s, err = n.Recipient.Wrap(fileKey)
	}
	return append(s, &age.Stanza{Type: stanzaType, Args: []string{nameOf(n.key), strings.Repeat("-", n.pad)}}), labels, err
}

// newHeader makes an object's header, with the nonce behind it, and the key of the object. Its length is want; when
// that is 0, the first multiple of headerUnit that it fits into.
// pad is what filled the last one up: that spares an attempt.
func newHeader(recipients []age.Recipient, key string, want int, pad *atomic.Int64) (header, fileKey []byte, err error) {
	first := &named{Recipient: recipients[0], key: key, pad: int(max(pad.Load(), 1))}
	all := append([]age.Recipient{first}, recipients[1:]...)
	for range 3 { // the second has the length, unless a recipient's part changes its own
		var b bytes.Buffer
		if _, err := age.Encrypt(&b, all...); err != nil { // without Close, no block is written
			return nil, nil, fmt.Errorf("%w: %w", ErrKeys, err)
		}
		if want == 0 {
			want = (b.Len() + headerUnit - 1) / headerUnit * headerUnit
		}
		if want > maxHeader || b.Len()-first.pad+1 > want {
			return nil, nil, fmt.Errorf("%w: those of %d recipients take %d bytes, and headers of this store have %d; "+
				"give fewer recipients, or begin a new store", ErrKeys, len(recipients), b.Len(), min(want, maxHeader))
		}
		if b.Len() == want {
			pad.Store(int64(first.pad))
			return b.Bytes(), first.fileKey, nil
		}
		first.pad += want - b.Len()
	}
	return nil, nil, fmt.Errorf("%w: a recipient's part of the header has no fixed length", ErrKeys)
}

var (
	errName    = errors.New("it is encrypted as an object of another name, so it was renamed or exchanged")
	errForeign = errors.New("it is an encrypted file that pagetrail did not write")
	errChanged = errors.New("it was changed or cut short since it was encrypted")
	errNoMatch = errors.New("none of the identities is of a recipient of it, or its header is damaged")
)

// named identities look at the object's name before the keys.
type namedIdentity struct {
	key string
	ids []age.Identity
}

// Unwrap implements age.Identity.
func (n *namedIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	i := slices.IndexFunc(stanzas, func(s *age.Stanza) bool { return s.Type == stanzaType })
	if i < 0 || len(stanzas[i].Args) != 2 {
		return nil, errForeign
	}
	if stanzas[i].Args[0] != nameOf(n.key) {
		return nil, errName
	}
	for _, id := range n.ids {
		fileKey, err := id.Unwrap(stanzas)
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return fileKey, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// openHeader finds the key of an object in its header, which is followed by the nonce. written are keys that this
// process wrote an object of that name with.
func openHeader(header []byte, key string, written [][]byte, ids []age.Identity) (fileKey []byte, err error) {
	for _, w := range written {
		id := &namedIdentity{key, []age.Identity{age.NewInjectedFileKeyIdentity(w)}}
		if fileKey, err := age.DecryptHeader(header, id); err == nil {
			return fileKey, nil
		}
	}
	fileKey, err = age.DecryptHeader(header, &namedIdentity{key, ids})
	var noMatch *age.NoIdentityMatchError
	switch {
	case err == nil:
		return fileKey, nil
	case errors.As(err, &noMatch):
		return nil, errNoMatch
	case errors.Is(err, errName), errors.Is(err, errForeign):
		return nil, err
	}
	return nil, fmt.Errorf("%w (%w)", errChanged, err)
}

// headerLen is the length of a header with its nonce, of what begins with one; 0 when it does not.
func headerLen(data []byte) int {
	h, err := age.ExtractHeader(bytes.NewReader(data))
	if err != nil {
		return 0
	}
	return len(h) + nonceBytes
}
