package encrypt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
)

// Keys are those of a store: recipients to write, identities to read. Either may be missing.
type Keys struct {
	Recipients []age.Recipient
	Identities []age.Identity
}

// ErrKeys says that keys are of no use: malformed, of a kind that is not known, or not fitting each other.
var ErrKeys = errors.New("unusable keys")

// ParseRecipients reads public keys (age1… and age1pq1…), one a line, as in age's files of recipients.
func ParseRecipients(text string) ([]age.Recipient, error) {
	r, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w; want lines that begin with age1, as age-keygen prints them", ErrKeys, err)
	}
	return r, nil
}

// ParseIdentities reads private keys (AGE-SECRET-KEY-…), one a line, as age-keygen writes them. Errors do not repeat
// the text.
func ParseIdentities(text string) ([]age.Identity, error) {
	ids, err := age.ParseIdentities(strings.NewReader(text))
	if err == nil {
		return ids, nil
	}
	if strings.HasPrefix(text, intro) || strings.HasPrefix(text, "-----BEGIN AGE") {
		return nil, fmt.Errorf("%w: the identity is itself encrypted; decrypt it first: age -d", ErrKeys)
	}
	return nil, fmt.Errorf("%w: %w; want lines that begin with AGE-SECRET-KEY-, as age-keygen writes them", ErrKeys, err)
}

// Check says whether the keys fit each other: when there are both, an identity must be able to read what is written
// to the recipients, since what a writer cannot read back it cannot go on with either.
func (k *Keys) Check() error {
	if len(k.Recipients) == 0 {
		return nil
	}
	var sealed bytes.Buffer
	if _, err := age.Encrypt(&sealed, k.Recipients...); err != nil {
		return fmt.Errorf("%w: %w", ErrKeys, err)
	}
	if len(k.Identities) == 0 {
		return nil
	}
	if _, err := age.DecryptHeader(sealed.Bytes(), k.Identities...); err != nil {
		return fmt.Errorf("%w: no identity belongs to a recipient, so that what is written could not be read back; "+
			"add the identity's own recipient (age-keygen -y), or leave the identity away", ErrKeys)
	}
	return nil
}
