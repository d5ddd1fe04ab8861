package journal

import (
	"context"
	"slices"
)

// read serves Records through a Trail that shares what the writer knows.
func (w *Writer) read(yield func(*Record, error) bool, from TXID) {
	names, err := list(w.o.FS, w.dir)
	if err != nil {
		yield(nil, err)
		return
	}
	t := &Trail{fs: w.o.FS, dir: w.dir}
	t.id.Store(&w.identity)
	v := &view{names: names, first: w.tail.hdr.first, last: w.tail.last, marks: slices.Clone(w.tail.marks)}
	for r, err := range t.records(context.Background(), v, from, v.last.TXID) {
		if !yield(r, err) {
			return
		}
	}
}

// Points are the restore points named in the tail; Trail.Points has all.
func (w *Writer) Points() []Point { return slices.Clone(w.tail.points) }
