package journal

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// Runs are sorted by page and unit, whatever their number and however large the database.
func TestSortRuns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, pages := range []uint32{1, 200, 40_000, 1 << 20, maxPageCount} {
		for _, n := range []int{0, 1, 2, 777, radixRuns, radixRuns + 1} {
			var runs []pageRun
			unit := uint32(0)
			for range n {
				unit += rnd.Uint32N(20) / 19
				first := 1 + rnd.Uint32N(pages)
				runs = append(runs, pageRun{first: first, end: first + 1, unit: unit})
			}
			want := slices.Clone(runs)
			slices.SortFunc(want, func(a, b pageRun) int {
				return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.unit, b.unit))
			})
			if sortRuns(runs); !slices.Equal(runs, want) {
				t.Errorf("%d runs of %d pages are not in order", n, pages)
			}
		}
	}
}

func BenchmarkPageIndex(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var runs []pageRun
	for unit := range uint32(30) {
		for range 250 {
			first := 1 + rnd.Uint32N(25_000)
			runs = append(runs, pageRun{first: first, end: first + 1, unit: unit})
		}
	}
	sorted := slices.Clone(runs)
	b.ReportAllocs()
	for b.Loop() {
		copy(sorted, runs)
		appendPageIndex(nil, sorted)
	}
}
