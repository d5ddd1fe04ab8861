package archive

import (
	"context"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Below lists archives whose prefixes begin with that of s, in order and up to most: their keys in s. It is for people who
// named the place above them, and takes one request for each; among objects that are of no archive it gives up after as many.
func Below(ctx context.Context, s objstore.Bucket, most int) (list []string, err error) {
	after := ""
	for range most {
		key, err := firstKey(ctx, s, after)
		if err != nil || key == "" {
			return list, err
		}
		after = key
		if root := rootOf(key); root != "" {
			list = append(list, root)
			after = root + "0" // which comes after all that begins with root and a slash
		}
	}
	return list, nil
}

// firstKey is the first key after another; empty when there is none.
func firstKey(ctx context.Context, s objstore.Bucket, after string) (string, error) {
	for o, err := range s.List(ctx, "", after) {
		return o.Key, err
	}
	return "", nil
}

// rootOf is the prefix of the archive that a key is of, by its form; empty when it is of none.
func rootOf(key string) string {
	for i, c := range key {
		if c != '/' {
			continue
		}
		if _, ok := parseKey(key[i+1:]); ok || key[i+1:] == headKey {
			return key[:i]
		}
	}
	return ""
}
