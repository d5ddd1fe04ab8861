package archive

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// What a head says of batches is what was shipped, of as many of the last as there is room for, whatever is between: batches
// that nobody told of, and some of which there is more to say.
func TestRecent(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var r *Recent
		var all []Segment
		next, at, timeline := journal.TXID(1+rnd.IntN(3)), journal.Time(1000), journal.Timeline(1)
		for range 30 {
			if rnd.IntN(12) == 0 {
				timeline++
				all = nil
			}
			var batches []*journal.Batch
			for range rnd.IntN(20) {
				if rnd.IntN(9) == 0 {
					next += journal.TXID(1 + rnd.IntN(50)) // shipped, and the head was never told
					at += 7
				}
				b := &journal.Batch{First: next, Last: next + journal.TXID(rnd.IntN(9)), FirstTime: at + 1, Size: int64(1 + rnd.IntN(900)), RawBytes: int64(rnd.IntN(5000))}
				b.LastTime = b.FirstTime + journal.Time(rnd.IntN(100))
				switch rnd.IntN(12) {
				case 0:
					b.Points = []journal.Point{{Name: "p", TXID: b.Last}}
				case 1:
					b.Bases = []journal.TXID{b.First}
				case 2:
					b.Folded = 1
				default:
					all = append(all, Segment{Timeline: timeline, First: b.First, Last: b.Last, FirstTime: b.FirstTime, LastTime: b.LastTime, Size: b.Size, Raw: b.RawBytes})
				}
				next, at = b.Last+1, b.LastTime
				batches = append(batches, b)
			}
			r = r.with(timeline, batches)
			if r != nil && rnd.IntN(6) == 0 {
				r = r.after(r.First + journal.TXID(rnd.IntN(60)))
			}
			if r != nil && r.Timeline == timeline {
				checkRecent(t, r, all, next)
			}
		}
	}
}

func checkRecent(t *testing.T, r *Recent, all []Segment, next journal.TXID) {
	t.Helper()
	data, err := json.Marshal(r)
	var again Recent
	if err == nil {
		err = json.Unmarshal(data, &again)
	}
	head := Head{Lines: []Line{{Timeline: r.Timeline}}}
	if err != nil || again.check(&head) != nil || again.end() != next || len(r.Batches) > recentMost {
		t.Fatalf("%s: %v, %v, it ends before %d of %d", data, err, again.check(&head), again.end(), next)
	}
	var got []Segment
	for s := range again.each {
		got = append(got, *s)
	}
	want := slices.DeleteFunc(slices.Clone(all), func(s Segment) bool { return s.First < r.First })
	if len(got) != len(want) {
		t.Fatalf("%d batches, want %d: %s", len(got), len(want), data)
	}
	for i := range got {
		if got[i].Key() != want[i].Key() || got[i].Last != want[i].Last || got[i].FirstTime != want[i].FirstTime ||
			got[i].LastTime != want[i].LastTime || got[i].Size != want[i].Size || got[i].Raw != want[i].Raw {
			t.Fatalf("%+v, want %+v", got[i], want[i])
		}
	}
}

// What no writer writes is refused, and never indexes out of what is there.
func TestRecentRefuses(t *testing.T) {
	head := Head{Lines: []Line{{Timeline: 1}}}
	for _, text := range []string{
		`{"timeline":2,"first":1,"time":0,"batches":[[1]]}`, `{"timeline":1,"first":0,"time":0,"batches":[[1]]}`,
		`{"timeline":1,"first":1,"time":0,"batches":[[]]}`, `{"timeline":1,"first":1,"time":0,"batches":[null]}`,
		`{"timeline":1,"first":1,"time":0,"batches":[[0]]}`, `{"timeline":1,"first":1,"time":0,"batches":[[1,2]]}`,
		`{"timeline":1,"first":1,"time":0,"batches":[[1,2,3,4,5,6]]}`, `{"timeline":1,"first":1,"time":0,"batches":[[1,2,3,0,5]]}`,
		`{"timeline":1,"first":1,"time":0,"batches":[[1,-2,3,4,5]]}`, `{"timeline":1,"first":1,"time":-1,"batches":[[1]]}`,
		`{"timeline":1,"first":9223372036854775807,"time":0,"batches":[[1]]}`,
		`{"timeline":1,"first":1,"time":5,"batches":[[1,9223372036854775807,9223372036854775807,4,5]]}`,
	} {
		var r Recent
		if err := json.Unmarshal([]byte(text), &r); err != nil || r.check(&head) == nil {
			t.Errorf("%s: %v, taken", text, err)
		}
	}
}
