package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// question is one thing that is asked; its answers become rows.
type question struct {
	name, about string
	ask         func(*bench) error
}

var questions = []question{
	{"insert", "WAL/NORMAL, one row a transaction", askInsert},
	{"background", "the same inserts with checkpoint=background", askBackground},
	{"update", "WAL/NORMAL, random rows, one a transaction", askUpdate},
	{"bulk", "200,000 rows in one transaction", askBulk},
	{"delete", "DELETE/FULL, one row a transaction", askDelete},
	{"select", "reading rows", askSelect},
	{"workload", "a sync service and a document API, at scale S", askWorkloads},
	{"fsync", "system calls that sync, a commit", askSyncs},
	{"replay", "small transactions replayed a second", askReplay},
	{"open", "opening with a long trail", askOpen},
	{"followers", "replicas in step over the network, and what they cost their primary", askFollowers},
	{"archive", "a writer with a sidecar, and restoring from the archive", askArchive},
	{"restore", "restoring a gigabyte from an archive against copying it", askRestore},
	{"hydrate", "hydrating from a base against copying the file", askHydrate},
}

const (
	walNormal  = "PRAGMA busy_timeout=5000; PRAGMA journal_mode=wal; PRAGMA synchronous=normal"
	deleteFull = "PRAGMA busy_timeout=5000; PRAGMA journal_mode=delete; PRAGMA synchronous=full"
)

func askInsert(b *bench) error {
	n := b.scaled(20_000)
	pairs, err := b.compare(job{Name: "insert", N: n, Setup: walNormal}, "pagetrail", "")
	if err != nil {
		return err
	}
	b.ratio("WAL/NORMAL inserts, wall", 1.10, pairs, wall)
	b.ratio("WAL/NORMAL inserts, CPU", 1.35, pairs, cpu)
	return b.trailBytes("bytes of trail an insert", job{Name: "insert", N: n, Setup: walNormal}, "")
}

func askBackground(b *bench) error {
	pairs, err := b.compare(job{Name: "insert", N: b.scaled(20_000), Setup: walNormal}, "pagetrail&checkpoint=background", "")
	if err != nil {
		return err
	}
	b.ratio("inserts, checkpoint=background, wall", 0.80, pairs, wall)
	return nil
}

// filledDatabase makes the database that some questions start from, without a trail; its first opening by
// our VFS makes one, so it is opened once before it is copied.
func (b *bench) filledDatabase() (string, error) {
	path := b.path("filled.db")
	if _, err := b.measure(job{Name: "fill", DB: path, VFS: "pagetrail", N: filled, Setup: walNormal}); err != nil {
		return "", err
	}
	return path, nil
}

func askUpdate(b *bench) error {
	from, err := b.filledDatabase()
	if err != nil {
		return err
	}
	n := b.scaled(20_000)
	pairs, err := b.compare(job{Name: "update", N: n, Setup: walNormal}, "pagetrail", from)
	if err != nil {
		return err
	}
	b.ratio("WAL/NORMAL random updates, wall", 1.10, pairs, wall)
	b.ratio("WAL/NORMAL random updates, CPU", 1.35, pairs, cpu)
	return b.trailBytes("bytes of trail an update", job{Name: "update", N: n, Setup: walNormal}, from)
}

// trailBytes adds how much the trail of a job grows by, a transaction, after it is sealed.
func (b *bench) trailBytes(question string, j job, from string) error {
	j.DB, j.VFS = b.path("bytes.db"), "pagetrail"
	if from != "" {
		if err := cloneDatabase(j.DB, from); err != nil {
			return err
		}
	}
	before := segmentBytes(j.DB)
	if _, err := b.measure(j); err != nil {
		return err
	}
	each := float64(segmentBytes(j.DB)-before) / float64(j.N)
	b.rows = append(b.rows, row{Question: question, Ours: fmt.Sprintf("%.1f B", each), Value: each})
	return removeDatabase(j.DB)
}

func segmentBytes(db string) (total int64) {
	names, _ := filepath.Glob(db + "-pagetrail/*.seg")
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			total += info.Size()
		}
	}
	return total
}

func askBulk(b *bench) error {
	pairs, err := b.compare(job{Name: "bulk", N: b.scaled(200_000), Setup: walNormal}, "pagetrail", "")
	if err != nil {
		return err
	}
	b.ratio("200,000 rows in one transaction, wall", 1.15, pairs, wall)
	return nil
}

func askDelete(b *bench) error {
	pairs, err := b.compare(job{Name: "insert", N: b.scaled(1_000), Setup: deleteFull}, "pagetrail", "")
	if err != nil {
		return err
	}
	b.ratio("DELETE/FULL inserts, wall", 1.35, pairs, wall)
	return nil
}

func askSelect(b *bench) error {
	from, err := b.filledDatabase()
	if err != nil {
		return err
	}
	pairs, err := b.compare(job{Name: "select", N: b.scaled(100_000), Setup: walNormal}, "pagetrail", from)
	if err != nil {
		return err
	}
	b.ratio("selects, wall", 1.03, pairs, wall)
	b.ratio("selects, CPU", 1.03, pairs, cpu)
	return nil
}

// askSyncs counts with strace, twice as many transactions the second time: what is left of the
// difference is what a commit costs, without opening, closing and the checkpoint at the end.
func askSyncs(b *bench) error {
	if _, err := exec.LookPath("strace"); err != nil {
		b.rows = append(b.rows, row{Question: "syncs a WAL commit", Ours: "skipped: strace is not installed"})
		return nil
	}
	const n = 500
	for _, mode := range []string{"normal", "full"} {
		setup := "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=" + mode
		each := map[string]float64{}
		for _, side := range []string{"os", "pagetrail"} {
			few, err := b.syncs(job{Name: "insert", VFS: side, N: n, Setup: setup})
			if err != nil {
				return err
			}
			many, err := b.syncs(job{Name: "insert", VFS: side, N: 2 * n, Setup: setup})
			if err != nil {
				return err
			}
			each[side] = float64(many-few) / n
		}
		added := each["pagetrail"] - each["os"]
		b.rows = append(b.rows, row{
			Question: "syncs a WAL commit, " + mode, Plain: fmt.Sprintf("%.3f", each["os"]), Ours: fmt.Sprintf("%.3f", each["pagetrail"]),
			Value: added, Shown: fmt.Sprintf("+%.3f", added), Target: "+0", OK: added <= 0.001,
		})
	}
	return nil
}

var totalCalls = regexp.MustCompile(`(?m)^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$`)

// syncs counts the calls of a job that sync anything.
func (b *bench) syncs(j job) (int, error) {
	j.DB = b.path("sync.db")
	report := b.path("strace.out")
	_, err := b.measure(j, "strace", "-f", "-c", "-o", report, "-e", "trace=fsync,fdatasync,sync_file_range,msync,syncfs")
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(report)
	if err != nil {
		return 0, err
	}
	match := totalCalls.FindSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("strace's report has no total: %s", text)
	}
	count, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return 0, err
	}
	return count, removeDatabase(j.DB)
}

func askReplay(b *bench) error {
	j := job{Name: "chain", DB: b.path("chain.db"), N: b.scaled(1_000_000)}
	if _, err := b.measure(j); err != nil {
		return err
	}
	var rates []float64
	var memory []int64
	for range 3 {
		j.Name = "hydrate"
		c, err := b.measure(j)
		if err != nil {
			return err
		}
		rates = append(rates, c.out["transactions"]/c.out["seconds"])
		memory = append(memory, c.rss)
		if err := os.Remove(j.DB + ".replica"); err != nil {
			return err
		}
	}
	rate := median(rates)
	b.rows = append(b.rows, row{
		Question: "small transactions replayed", Ours: ui.Plural(j.N, "transaction", "transactions"), Value: rate,
		Shown: ui.Count(int64(rate)) + "/s", Target: "≥ 300,000/s", OK: rate >= 300_000,
	})
	b.memory("peak memory of that", median(memory))
	return nil
}

// memory adds a row about a peak resident set.
func (b *bench) memory(question string, bytes int64) {
	b.rows = append(b.rows, row{
		Question: question, Ours: ui.Bytes(bytes), Value: float64(bytes), Shown: ui.Bytes(bytes), Target: "≤ 100 MB", OK: bytes <= 100e6,
	})
}

func askOpen(b *bench) error {
	j := job{Name: "chain", DB: b.path("chain.db"), N: b.scaled(1_000_000)}
	if _, err := b.measure(j); err != nil {
		return err
	}
	// The first opening makes the cache of page hashes, which the trail did not have.
	j.Name, j.VFS = "open", "pagetrail"
	if _, err := b.measure(j); err != nil {
		return err
	}
	plain := b.path("plain.db")
	if err := copyFile(plain, j.DB); err != nil {
		return err
	}
	seconds := map[string][]float64{}
	for range b.reps {
		for side, db := range map[string]string{"os": plain, "pagetrail": j.DB} {
			c, err := b.measure(job{Name: "open", DB: db, VFS: side})
			if err != nil {
				return err
			}
			seconds[side+" read"] = append(seconds[side+" read"], c.out["read"])
			seconds[side+" write"] = append(seconds[side+" write"], c.out["write"])
		}
	}
	for _, what := range []string{"read", "write"} {
		ours, plain := median(seconds["pagetrail "+what]), median(seconds["os "+what])
		more := time.Duration((ours - plain) * float64(time.Second))
		b.rows = append(b.rows, row{
			Question: "open a trail of " + ui.Count(j.N) + " and " + what, Plain: ui.Duration(toDuration(plain)), Ours: ui.Duration(toDuration(ours)),
			Value: more.Seconds(), Shown: "+" + ui.Duration(more), Target: "≤ 20 ms", OK: more <= 20*time.Millisecond,
		})
	}
	return nil
}

func toDuration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// askHydrate begins with a large database that has no trail: its adoption, too, must stay small.
func askHydrate(b *bench) error {
	j := job{Name: "large", DB: b.path("large.db"), VFS: "os", N: b.scaled(512)}
	if _, err := b.measure(j); err != nil {
		return err
	}
	adopt, err := b.measure(job{Name: "open", DB: j.DB, VFS: "pagetrail"})
	if err != nil {
		return err
	}
	b.memory("peak memory of making a base", adopt.rss)
	var copies, hydrates []time.Duration
	var peak int64
	for range 3 {
		j.Name = "copy"
		c, err := b.measure(j)
		if err != nil {
			return err
		}
		copies = append(copies, c.wall)
		j.Name = "hydrate"
		if c, err = b.measure(j); err != nil {
			return err
		}
		hydrates = append(hydrates, c.wall)
		peak = max(peak, c.rss)
		if err := os.Remove(j.DB + ".replica"); err != nil {
			return err
		}
	}
	speed := float64(median(copies)) / float64(median(hydrates))
	b.rows = append(b.rows, row{
		Question: fmt.Sprintf("hydrate %d MB from a base", j.N), Plain: ui.Duration(median(copies)) + " copy", Ours: ui.Duration(median(hydrates)),
		Value: speed, Shown: fmt.Sprintf("%.2f of its speed", speed), Target: "≥ 0.50", OK: speed >= 0.5,
	})
	b.memory("peak memory of hydrating", peak)
	j.Name = "verify"
	c, err := b.measure(j)
	if err != nil {
		return err
	}
	b.memory("peak memory of verifying", c.rss)
	return nil
}
