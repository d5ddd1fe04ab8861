package apply_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// memoryEnv makes this test's binary do one thing to a trail and exit, so
// that its peak memory is that thing's.
const memoryEnv = "APPLY_MEMORY_OF"

// TestMain runs the child of TestMemory.
func TestMain(m *testing.M) {
	dir := os.Getenv(memoryEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	trail, err := journal.Open(dir, nil)
	if err == nil {
		ctx, scratch := context.Background(), os.Getenv(memoryEnv+"_TMP")
		switch os.Getenv(memoryEnv + "_WORK") {
		case "hydrate":
			_, err = apply.Hydrate(ctx, trail, filepath.Join(scratch, "out.db"), apply.Latest(), nil)
		case "replay":
			_, err = apply.Hydrate(ctx, trail, filepath.Join(scratch, "out.db"), apply.AtTXID(2), nil)
		case "verify":
			_, err = apply.Verify(ctx, trail, &apply.VerifyOptions{TempDir: scratch})
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	fmt.Println(string(status))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestMemory hydrates and verifies a trail of large transactions, and of a
// base, over a database many times the limit of 100 MB, and looks at the
// peak of the process.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("long: writes 512 MiB some times")
	}
	const limit = 100 << 20
	dir := largeTrail(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, work := range []string{"replay", "hydrate", "verify"} {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), memoryEnv+"="+dir, memoryEnv+"_WORK="+work, memoryEnv+"_TMP="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", work, err, out)
		}
		m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out)
		if m == nil {
			t.Skip("this system does not tell the peak memory of a process")
		}
		peak, _ := strconv.Atoi(string(m[1]))
		t.Logf("%s: peak %d MiB", work, peak>>10)
		if peak<<10 > limit {
			t.Errorf("%s: peak of %d MiB", work, peak>>10)
		}
	}
}

// largeTrail writes a transaction of 512 MiB, a base, one over all pages of
// the first, and one over every other page.
func largeTrail(t *testing.T) string {
	const size, pages = 4096, 128 << 10
	b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
	group := diff.GroupPages(size)
	rng := rand.New(rand.NewPCG(5, 6))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	// A page is noise from an offset that depends on page and round.
	content := func(no, round int) []byte {
		at := (no*131 + round*7919) % (len(noise) - size)
		return noise[at : at+size]
	}
	var sum diff.Sum
	sums := make([]diff.Sum, pages+1)
	for round, step := range []int{1, 1, 2} {
		if round == 1 {
			b.writeBase(size, pages, func(no int) []byte { return content(no, 0) })
		}
		list := []diff.Page{}
		flush := func(last bool) {
			body, n := b.enc.Encode(diff.Body{}, size, list)
			list = list[:0]
			if !last {
				if err := b.w.AddPart(body, n); err != nil {
					t.Fatal(err)
				}
				return
			}
			b.clock++
			tx := journal.Tx{Time: b.clock, PageSize: size, PageCount: pages, Sum: sum, SumKnown: true, SumCut: sum.Cut()}
			if _, err := b.w.Add(tx, body, n, false); err != nil {
				t.Fatal(err)
			}
			if err := b.w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for no := 1; no <= pages; no += step {
			p := diff.Page{No: uint32(no), New: content(no, round)}
			if round > 0 {
				p.Old = content(no, round-1)
			}
			next := diff.PageSum(p.No, p.New)
			sum = sum.Sub(sums[no]).Add(next)
			sums[no] = next
			if list = append(list, p); len(list) == group && no+step <= pages {
				flush(false)
			}
		}
		flush(true)
	}
	b.close()
	return b.dir
}

// writeBase writes a base of the state as it is.
func (b *trailWriter) writeBase(size, pages int, content func(no int) []byte) {
	w, err := b.w.CreateBase(size, uint32(pages), b.clock, false)
	if err != nil {
		b.t.Fatal(err)
	}
	for no := 1; no <= pages; no++ {
		if err := w.WritePages(uint32(no), content(no)); err != nil {
			b.t.Fatal(err)
		}
	}
	if _, err := w.Commit(); err != nil {
		b.t.Fatal(err)
	}
}
