package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/config"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
)

// keyFlags are the keys of encrypted archives as they were given: names of files, and recipients, which are no secret.
// An identity on the command line could be read by everybody on the machine.
type keyFlags struct {
	encryptTo  []string
	identities []string
}

// The environment variables that stand for the flags.
const (
	encryptToEnv = "PAGETRAIL_ENCRYPT_TO"
	identityEnv  = "PAGETRAIL_IDENTITY"
)

func (k *keyFlags) addFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&k.encryptTo, "encrypt-to", nil, "encrypt archives to `RECIPIENT` (age1...), or a file of them")
	f.StringArrayVar(&k.identities, "identity", nil, "read encrypted archives with the identity in `FILE`")
}

// secretPrefix is how identities begin.
const secretPrefix = "AGE-SECRET-KEY-"

// keys are those that flags name, or where there are none the environment.
func (e *Env) keys() (keys encrypt.Keys, err error) {
	k := e.keyFlags
	if len(k.encryptTo) == 0 && e.Getenv != nil {
		k.encryptTo = strings.FieldsFunc(e.Getenv(encryptToEnv), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	}
	for _, id := range k.identities {
		if strings.HasPrefix(id, secretPrefix) {
			return keys, &hintError{usagef("--identity: that is a secret, which everybody on this machine can see there"), "put it into a file, or into " + identityEnv}
		}
	}
	if len(k.identities) == 0 && e.Getenv != nil {
		if id := e.Getenv(identityEnv); id != "" {
			k.identities = []string{id}
		}
	}
	return k.parse()
}

// keysOf are those of a configuration, or where it has none those of flags and environment.
func (e *Env) keysOf(c *config.Config) (encrypt.Keys, error) {
	if len(c.EncryptTo)+len(c.Identity) == 0 {
		return e.keys()
	}
	return (&keyFlags{c.EncryptTo, c.Identity}).parse()
}

// parse reads the keys.
func (k *keyFlags) parse() (keys encrypt.Keys, err error) {
	for _, arg := range k.encryptTo {
		text, from := arg, "recipient "+arg
		switch {
		case strings.HasPrefix(arg, secretPrefix):
			return keys, &hintError{usagef("--encrypt-to: that is an identity, which is secret; a recipient is its public part"), "age-keygen -y prints it"}
		case !strings.HasPrefix(arg, "age1"):
			if text, err = readKeys(arg); err != nil {
				return keys, fmt.Errorf("--encrypt-to: %w", err)
			}
			from = arg
		}
		found, err := encrypt.ParseRecipients(text)
		if err != nil {
			return keys, &usageError{fmt.Errorf("%s: %w", from, err)}
		}
		keys.Recipients = append(keys.Recipients, found...)
	}
	for _, arg := range k.identities {
		text, from := arg, identityEnv
		if !strings.HasPrefix(arg, secretPrefix) {
			if text, err = readKeys(arg); err != nil {
				return keys, fmt.Errorf("--identity: %w", err)
			}
			from = arg
		}
		found, err := encrypt.ParseIdentities(text)
		if err != nil {
			return keys, &usageError{fmt.Errorf("%s: %w", from, err)}
		}
		keys.Identities = append(keys.Identities, found...)
	}
	if err := keys.Check(); err != nil {
		return keys, &usageError{err}
	}
	return keys, nil
}

// maxKeys is more than a file of keys has, in bytes.
const maxKeys = 1 << 20

func readKeys(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(data) > maxKeys {
		err = usagef("%s: %d bytes are no keys", path, len(data))
	}
	return string(data), err
}

// openStore opens the store of a URL, in wrap if that is given, and encrypted if there are keys. It is the one way
// to a store.
func (e *Env) openStore(ctx context.Context, raw string, wrap func(objstore.Store) objstore.Store) (objstore.Store, error) {
	keys, err := e.keys()
	if err != nil {
		return nil, err
	}
	s, err := stores.Open(ctx, raw)
	if err != nil {
		return nil, err
	}
	if wrap != nil {
		s = wrap(s)
	}
	return sealWith(keys)(s, storeName(raw))
}

// sealWith encrypts stores, if there are keys.
func sealWith(keys encrypt.Keys) func(s objstore.Store, name string) (objstore.Store, error) {
	return func(s objstore.Store, name string) (objstore.Store, error) {
		if len(keys.Recipients)+len(keys.Identities) == 0 {
			return s, nil
		}
		return encrypt.New(s, keys, &encrypt.Options{Name: name})
	}
}
