package doctor

import (
	"context"
	"errors"
	"io/fs"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// hint is the next thing to do about what a check found.
func (p *patient) hint(check string, err error) string {
	for _, h := range []struct {
		is   error
		hint string
	}{
		{context.Canceled, "run it again"},
		{ErrSkew, "set this machine's clock, best by NTP: times of transactions come from it, and S3 refuses requests that are 15 minutes off"},
		{objstore.ErrLies, "use another store, or another mode of it; where there is none, make sure by other means that one program only ships to each prefix"},
		{objstore.ErrNoBucket, "make the bucket, or the directory, or correct its name (and region=) in the URL"},
		{objstore.ErrReadOnly, "name a store that may be written"},
		{errAltered, "something between here and the store changes objects, a cache or a proxy: go around it, and run this again"},
		{journal.ErrCorrupt, "something between here and the store changes objects, a cache or a proxy: go around it, and run this again"},
	} {
		if errors.Is(err, h.is) {
			return h.hint
		}
	}
	if check == "clean up" {
		return "remove what is left below " + p.prefix + "/, and allow deletes (DeleteObject): retention needs them"
	}
	switch {
	case errors.Is(err, objstore.ErrDenied), errors.Is(err, fs.ErrPermission):
		return "give who asks here the right to list, get, put and delete (ListBucket, GetObject, PutObject, DeleteObject), or ask as another"
	}
	return "look at the URL, the endpoint and the network, and run this again"
}
