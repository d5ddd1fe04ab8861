package journal

import "context"

// Boundary is the last place at or before transaction id at which a batch can begin: one where the whole state
// checksum is known, which in a sealed segment it is only between blocks. It is described as the batch that ends
// there, for WriteBatch to go on from; a receiver passes over what it has already. *RangeError when the trail does
// not hold transaction id+1, and does not end with id either.
func (t *Trail) Boundary(ctx context.Context, id TXID) (Batch, error) {
	v, err := t.view()
	if err != nil {
		return Batch{}, err
	}
	e := v.held(id + 1)
	if id > e.Last || id+1 < e.First {
		return Batch{}, e
	}
	if i := v.names.segmentOf(id + 1); i >= 0 && v.names.segments[i] == id+1 || v.first == id+1 {
		st, err := t.before(id + 1)
		return boundary(st), err
	}
	c := recordCursor{t: t, v: v, ctx: ctx}
	o, err := c.open(id)
	if err != nil {
		return Batch{}, err
	}
	st, err := c.boundary(o, id)
	if err != nil {
		return Batch{}, joinClose(err, o.f)
	}
	return boundary(st), o.f.Close()
}

func boundary(st state) Batch {
	return Batch{First: st.txid + 1, Last: st.txid, LastTime: st.time, st: st}
}

// boundary reads the segment that holds transaction id up to it.
func (c *recordCursor) boundary(o *openedFile, id TXID) (state, error) {
	if err := c.start(o, id); err != nil {
		return state{}, err
	}
	for {
		if err := c.ctx.Err(); err != nil {
			return state{}, err
		}
		s, err := c.w.next()
		if err != nil {
			return state{}, err
		}
		if s == stepPoint {
			continue
		}
		if s != stepTx {
			return state{}, c.gap(id)
		}
		st := c.w.blk.pre.before
		var r rawRecord
		for c.w.blk.left > 0 && c.w.blk.cur.txid < id {
			if err := c.w.blk.next(&r, &c.rec.body); err != nil {
				return state{}, c.w.fail(c.w.blkOff, err)
			}
			if r.fullSum {
				st = r.after
			}
		}
		if c.w.blk.cur.txid >= id {
			return st, nil
		}
	}
}
