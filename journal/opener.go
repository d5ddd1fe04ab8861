package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// readOnly and readWrite are the flags that segments are opened with.
const (
	readOnly  = os.O_RDONLY
	readWrite = os.O_RDWR
)

// opener finds and opens the tail of a trail.
type opener struct {
	fs      durable.FS
	dir     string
	id      *Identity
	flag    int  // readOnly or readWrite
	damaged bool // take a damaged tail for what is whole of it
}

func (t *Trail) opener(id *Identity) *opener {
	return &opener{fs: t.fs, dir: t.dir, id: id, flag: readOnly, damaged: t.damaged}
}

func (w *Writer) opener() *opener {
	return &opener{fs: w.o.FS, dir: w.dir, id: &w.identity, flag: readWrite}
}

// tail opens a segment and reads it all; of a sealed one the footer and the last block.
func (o *opener) tail(first TXID) (*tail, error) {
	f, err := openHeader(o.fs, o.dir, segmentName(first), o.flag, segmentMagic, o.id, first)
	if err != nil {
		return nil, err
	}
	t := &tail{openedFile: f, damaged: o.damaged}
	t.rewind()
	if f.hdr.sealed() {
		err = t.loadSealed()
	} else {
		_, err = t.refresh()
	}
	if err != nil {
		_ = f.f.Close() // the damage is what to report
		return nil, err
	}
	return t, nil
}

// last opens the last segment, which is the tail, or, where damage is allowed, the last one that can be read.
func (o *opener) last(names *listing) (*tail, error) {
	if len(names.segments) == 0 {
		return nil, &Error{Path: o.dir, Offset: -1, Err: because(ErrGap, "the trail has an identity and no segment"), Hint: hintGap}
	}
	i := len(names.segments) - 1
	t, err := o.tail(names.segments[i])
	damage := err
	for ; err != nil && o.damaged && isContent(err) && i > 0; i-- {
		t, err = o.tail(names.segments[i-1])
	}
	if err != nil {
		return nil, err
	}
	if t, err = o.follow(t); err != nil {
		return nil, err
	}
	if t.damage == nil {
		t.damage = damage
	}
	if err := o.previous(t); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// follow goes from a tail that has ended to the file that goes on, if it is there yet. On error the tail is closed.
func (o *opener) follow(t *tail) (*tail, error) {
	for t.ended {
		next, err := o.tail(t.st.txid + 1)
		if errors.Is(err, fs.ErrNotExist) {
			return t, nil
		}
		if err == nil && next.hdr.before != t.st {
			err = located(because(ErrDiverged, "the segment does not continue %s", filepath.Base(t.path)), next.path, 0, next.hdr.first)
			err = errors.Join(err, next.close())
		}
		if err != nil && o.damaged && isContent(err) {
			t.damage = err
			return t, nil
		}
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		last := t.last
		if next.prev = &last; next.st.txid < next.hdr.first {
			next.last = last
		}
		if err := t.close(); err != nil {
			return nil, errors.Join(err, next.close())
		}
		t = next
	}
	return t, nil
}

// previous gives a tail without a record the last one of the segment before, since recovery compares its origin with
// SQLite's files. Where that segment is gone, what the header says must do.
func (o *opener) previous(t *tail) error {
	first := t.hdr.first
	if t.st.txid >= first || t.prev != nil || first == 1 {
		return nil
	}
	names, err := list(o.fs, o.dir)
	if err != nil {
		return err
	}
	i := names.segmentOf(first - 1)
	if i < 0 {
		return nil
	}
	before := *o
	before.flag = readOnly
	p, err := before.tail(names.segments[i])
	if errors.Is(err, fs.ErrNotExist) || err != nil && o.damaged && isContent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if p.st != t.hdr.before {
		if o.damaged {
			return p.close()
		}
		err := located(because(ErrDiverged, "the segment does not continue %s", filepath.Base(p.path)), t.path, 0, first)
		return errors.Join(err, p.close())
	}
	t.prev, t.last = &p.last, p.last
	return p.close()
}
