package apply_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// TestCorruption flips every byte of every file of a trail, one after the
// other, and cuts every file at every length. Restoring each time gives
// either an error and no output, or exactly the right bytes.
func TestCorruption(t *testing.T) {
	dir, images := corruptible(t)
	step := 1
	if testing.Short() {
		step = 7
	}
	refused, restored := 0, 0
	for _, name := range names(t, dir) {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i += step {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << (i % 8)
			if i%16 == 3 {
				bad = bad[:i]
			}
			write(t, path, bad)
			if restoreDamaged(t, dir, images) {
				restored++
			} else {
				refused++
			}
			if t.Failed() {
				t.Fatalf("%s, byte %d of %d", name, i, len(whole))
			}
		}
		write(t, path, whole)
	}
	t.Logf("%d refused, %d restored", refused, restored)
	if refused < 100 {
		t.Errorf("only %d damages were refused", refused)
	}
	if !restoreDamaged(t, dir, images) {
		t.Error("the trail without damage is refused")
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// corruptible is a trail with a sealed segment, a base and a tail.
func corruptible(t *testing.T) (string, []image) {
	b, images := sample(t, 8)
	b.rotate(true)
	next := images[8].clone()
	next.pages[0] = filled(512, 1, '0')
	b.commit(next, journal.Ordinary)
	images = append(images, next)
	b.base(next, false)
	next = next.clone()
	next.pages[1] = filled(512, 2, '1')
	b.commit(next, journal.Ordinary)
	images = append(images, next)
	b.close()
	return b.dir, images
}

// restoreDamaged restores the last transaction, and one from the sealed
// segment; it says whether both came about.
func restoreDamaged(t *testing.T, dir string, images []image) bool {
	trail, err := journal.Open(dir, nil)
	if err != nil {
		return false
	}
	defer trail.Close()
	outDir := filepath.Dir(dir)
	out := filepath.Join(outDir, "out.db")
	both := true
	for _, id := range []int{len(images) - 1, 6} {
		_, err := apply.Hydrate(context.Background(), trail, out, apply.AtTXID(journal.TXID(id)), nil)
		if err != nil {
			both = false
			for _, name := range names(t, outDir) {
				if strings.Contains(name, "out.db") {
					t.Errorf("%s is left after %v", name, err)
				}
			}
			continue
		}
		got, err := os.ReadFile(out)
		if err != nil || !bytes.Equal(got, images[id].bytes()) {
			t.Errorf("transaction %d came out wrong (%v)", id, err)
		}
		if err := os.Remove(out); err != nil {
			t.Fatal(err)
		}
	}
	return both
}

// TestVerifyFindsDamage flips bytes all over a trail: Verify must name a
// problem each time.
func TestVerifyFindsDamage(t *testing.T) {
	dir, _ := corruptible(t)
	for _, name := range names(t, dir) {
		if !strings.HasSuffix(name, ".seg") && !strings.HasSuffix(name, ".base") {
			continue
		}
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i += 13 {
			bad := bytes.Clone(whole)
			bad[i] ^= 0x40
			write(t, path, bad)
			trail, err := journal.Open(dir, nil)
			if err != nil {
				continue
			}
			report, err := apply.Verify(context.Background(), trail, &apply.VerifyOptions{TempDir: t.TempDir()})
			if torn := report.Spans != nil && strings.Contains(name, lastSegment(t, dir)); err == nil && !torn {
				t.Errorf("%s, byte %d of %d: nothing found", name, i, len(whole))
			}
			if err != nil && len(report.Problems) == 0 {
				t.Errorf("%s, byte %d: %v without a problem", name, i, err)
			}
			trail.Close()
		}
		write(t, path, whole)
	}
}

// lastSegment is the tail, where damage may look like a write cut short.
func lastSegment(t *testing.T, dir string) string {
	last := ""
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".seg") {
			last = name
		}
	}
	return last
}

// TestGap takes a segment out of the middle: what was before it and what the
// base after it begins can still be restored, and nothing else.
func TestGap(t *testing.T) {
	b, images := sample(t, 4)
	b.rotate(true)
	next := images[4].clone()
	next.pages[0] = filled(512, 1, '0')
	b.commit(next, journal.Ordinary)
	b.commit(mutated(next, '1'), journal.Ordinary)
	b.rotate(true)
	b.commit(mutated(b.state, '2'), journal.Ordinary)
	b.base(b.state, false)
	b.commit(mutated(b.state, '3'), journal.Ordinary)
	b.close()
	if err := os.Remove(filepath.Join(b.dir, "0000000000000005.seg")); err != nil {
		t.Fatal(err)
	}
	trail := openTrail(t, b.dir)
	defer trail.Close()
	out := filepath.Join(t.TempDir(), "out.db")
	for id := journal.TXID(0); id <= 8; id++ {
		_, err := apply.Hydrate(context.Background(), trail, out, apply.AtTXID(id), &apply.Options{Force: true})
		if lost := id >= 5 && id <= 6; (err != nil) != lost {
			t.Errorf("transaction %d: %v", id, err)
		}
	}
	_, err := apply.Hydrate(context.Background(), trail, out, apply.AtTXID(5), &apply.Options{Force: true})
	if err == nil || !strings.Contains(err.Error(), "gap between transaction 4") {
		t.Errorf("in the gap: %v", err)
	}
	report, err := apply.Verify(context.Background(), trail, nil)
	if err == nil || len(report.Spans) != 2 || report.Spans[0].Last != 4 || report.Spans[1].First != 7 || report.Spans[1].Last != 8 {
		t.Errorf("verify: %v, %+v", err, report)
	}
}

// mutated is an image with another first page.
func mutated(m image, c byte) image {
	m = m.clone()
	m.pages[0] = filled(m.pageSize, 1, c)
	return m
}
