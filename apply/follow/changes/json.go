package changes

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// MarshalJSON writes times with all their places, so that they sort as text, and [] for no tables.
func (c Change) MarshalJSON() ([]byte, error) {
	type plain Change
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if c.Tables == nil {
		c.Tables = []string{}
	}
	err := e.Encode(struct {
		Position journal.Position `json:"position"`
		Time     string           `json:"time"`
		plain
	}{c.Position, journal.TimeOf(c.Time).String(), plain(c)})
	return bytes.TrimSpace(b.Bytes()), err
}

// Served tells the changes of a trail to those who listen to a server: it is what serve.Options.Changes is to be. After,
// FromStart and Once of o do not count. While somebody listens, there is a copy of the database in o.TempDir.
func Served(o *Options) func(context.Context, *journal.Trail, journal.TXID) iter.Seq2[serve.Event, error] {
	var opt Options
	if o != nil {
		opt = *o
	}
	return func(ctx context.Context, trail *journal.Trail, after journal.TXID) iter.Seq2[serve.Event, error] {
		o := opt
		o.After, o.FromStart, o.Once = after, after == 0, false
		return func(yield func(serve.Event, error) bool) {
			for c, err := range Feed(ctx, follow.TrailSource(trail, o.TempDir), &o) {
				e := serve.Event{Position: c.Position}
				if err == nil {
					e.Data, err = c.MarshalJSON()
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}
