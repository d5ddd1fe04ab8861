package demo

import (
	"context"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

// weights are bytes, summed over all transactions.
type weights struct {
	transactions int64
	pages        int64 // as SQLite wrote them
	zstd         int64 // the same, compressed a transaction at a time
	patches      int64 // as the trail has them, before its own compression
	trail        int64 // files of the trail, without its cache of page hashes
}

// weigh replays the trail to weigh what was written, as pages and as the trail has it.
func (d *demo) weigh(ctx context.Context, trail *journal.Trail) error {
	d.step("What did it cost? All transactions weighed, as pages and as patches")
	w, err := d.measure(ctx, trail)
	if err != nil {
		return err
	}
	rows := []struct {
		what  string
		bytes int64
		style ui.Style
	}{
		{fmt.Sprintf("pages written by %s transactions", ui.Count(w.transactions)), w.pages, ui.Plain},
		{"those pages, zstd for each transaction", w.zstd, ui.Plain},
		{"page patches, not compressed", w.patches, ui.Plain},
		{"the trail on disk", w.trail, ui.Good},
	}
	table := ui.NewTable(indent(d.Out), d.Paint, d.tableWidth(), ui.Column{}, ui.Column{Right: true}, ui.Column{Right: true}, ui.Column{})
	for _, row := range rows {
		err := table.Row(ui.Cell{Text: row.what, Style: row.style}, ui.Cell{Text: ui.BytesColumn(row.bytes), Style: row.style},
			ui.Cell{Text: ui.Percent(row.bytes, w.pages), Style: row.style}, ui.Cell{Text: bar(row.bytes, w.pages, 30), Style: row.style})
		if err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	d.done("the trail holds every one of %s states in 1/%s of the bytes written, 1/%s of what compressed pages would take",
		ui.Count(w.transactions), ui.Count((w.pages+w.trail/2)/max(w.trail, 1)), ui.Count((w.zstd+w.trail/2)/max(w.trail, 1)))
	return nil
}

// measure replays every transaction and compresses its pages, on another goroutine, as a shipper
// of whole pages would.
func (d *demo) measure(ctx context.Context, trail *journal.Trail) (w weights, err error) {
	state, err := apply.OpenState(nil)
	if err != nil {
		return w, err
	}
	defer state.Close()
	segments, err := trail.Segments()
	if err != nil {
		return w, err
	}
	total := int64(0)
	for _, s := range segments {
		w.trail += s.Size
		total += s.RawBytes
	}
	pages, sum := compressor()
	defer func() { w.zstd = sum() }()
	progress := &ui.Progress{W: d.Out, Term: d.Term, Width: d.Width, Now: d.Now, Label: "    weighing"}
	defer progress.Finish()
	for record, err := range trail.Records(ctx, 1) {
		if err != nil {
			return w, err
		}
		if err := state.Apply(ctx, record); err != nil {
			return w, err
		}
		image, err := changedPages(state, record)
		if err != nil {
			return w, err
		}
		w.transactions++
		w.pages += int64(len(image))
		w.patches += record.Bytes
		pages <- image
		progress.Update(w.patches, total)
	}
	return w, nil
}

// changedPages are the pages of a transaction as they are after it.
func changedPages(state *apply.State, record *journal.Record) ([]byte, error) {
	var image []byte
	var decoder diff.Decoder
	for body, err := range record.Groups() {
		if err != nil {
			return nil, err
		}
		if err := decoder.Load(body, record.PageSize); err != nil {
			return nil, err
		}
		for _, page := range decoder.Pages() {
			n := len(image)
			image = append(image, make([]byte, record.PageSize)...)
			if err := state.ReadPage(page.No, image[n:]); err != nil {
				return nil, err
			}
		}
	}
	return image, nil
}

// compressor sums the compressed sizes of what is sent; sum ends it.
func compressor() (send chan<- []byte, sum func() int64) {
	images := make(chan []byte, 16)
	var total int64
	var wait sync.WaitGroup
	wait.Go(func() {
		// NewWriter without a destination fails on bad options only.
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err)
		}
		var buf []byte
		for image := range images {
			buf = encoder.EncodeAll(image, buf[:0])
			total += int64(len(buf))
		}
	})
	return images, func() int64 {
		close(images)
		wait.Wait()
		return total
	}
}

// farewell says how long it took and what to try next.
func (d *demo) farewell() error {
	d.step("All of it proved in " + ui.Duration(d.Now().Sub(d.begin)) + ". The files are yours to look at:")
	db := d.db
	for _, line := range [][2]string{
		{"pagetrail log " + db, "every transaction"},
		{fmt.Sprintf("pagetrail show %s %d", db, d.bad), "the pages of the bad one"},
		{"pagetrail window " + db, "what can be restored"},
		{"pagetrail verify " + db, "every byte and every checksum"},
	} {
		fmt.Fprintf(d.Out, "    %s  %s\n", d.Paint.Paint(ui.Mark, pad(line[0], len(db)+28)), d.Paint.Paint(ui.Dim, line[1]))
	}
	return nil
}
