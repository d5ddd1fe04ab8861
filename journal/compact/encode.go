package compact

import (
	"bytes"
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
)

// encode makes the patches that lead from the state before the group to the state after it, and checks that they do.
func (m *folder) encode() ([]diff.Body, error) {
	g := &m.group
	size, count := g.last.PageSize, g.last.PageCount
	sum := g.start.Sum
	var out []diff.Body
	var chunk []diff.Page
	most := diff.GroupPages(size)
	encode := func() error {
		body, kept := m.enc.Encode(diff.Body{}, size, chunk)
		if kept > 0 {
			if err := m.decodes(body, chunk); err != nil {
				return err
			}
			out = append(out, body)
		}
		chunk = chunk[:0]
		return nil
	}
	for _, no := range m.Images.pages() {
		old, now := make([]byte, size), make([]byte, size)
		was, err := m.Images.get(no, old)
		if err != nil {
			return nil, err
		}
		if was && no <= g.start.PageCount { // else it came into being, as zeros, before it was first changed
			sum = sum.Sub(diff.PageSum(no, old))
		} else {
			clear(old)
		}
		if no > count {
			continue
		}
		if err := m.State.ReadPage(no, now); err != nil {
			return nil, err
		}
		sum = sum.Add(diff.PageSum(no, now))
		if chunk = append(chunk, diff.Page{No: no, Old: old, New: now}); len(chunk) == most {
			if err := encode(); err != nil {
				return nil, err
			}
		}
	}
	if err := encode(); err != nil {
		return nil, err
	}
	// Pages that came into being and were never written are zero.
	zero := make([]byte, size)
	for no := uint64(g.start.PageCount) + 1; no <= uint64(count); no++ {
		if n := uint32(no); n != diff.LockPage(size) && !m.Images.has(n) {
			sum = sum.Add(diff.PageSum(n, zero))
		}
	}
	if sum != g.last.Sum {
		return nil, diverged("folding transactions %d to %d gives the state sum %v, not %v", g.start.TXID+1, g.last.TXID, sum, g.last.Sum)
	}
	return out, nil
}

// decodes checks that a body makes the new pages of the old.
func (m *folder) decodes(body diff.Body, pages []diff.Page) error {
	size := m.group.last.PageSize
	if err := m.dec.Load(body, size); err != nil {
		return fmt.Errorf("folding up to transaction %d: %w", m.group.last.TXID, err)
	}
	var olds, news, want [][]byte
	refs := m.dec.Pages()
	for _, p := range pages {
		if len(refs) == 0 || refs[0].No != p.No {
			if !bytes.Equal(p.Old, p.New) {
				return diverged("folding up to transaction %d left out page %d", m.group.last.TXID, p.No)
			}
			continue
		}
		old := p.Old
		if refs[0].Full {
			old = nil
		}
		refs = refs[1:]
		olds, news, want = append(olds, old), append(news, make([]byte, size)), append(want, p.New)
	}
	m.dec.Decode(news, olds)
	for i := range news {
		if !bytes.Equal(news[i], want[i]) {
			return diverged("folding up to transaction %d encoded a page that decodes differently", m.group.last.TXID)
		}
	}
	return nil
}
