package diff_test

import (
	"bytes"
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
)

func Example() {
	const pageSize = 512
	before := bytes.Repeat([]byte("some rows, "), 50)[:pageSize]
	after := bytes.Clone(before)
	copy(after[100:], "A COUNTER")

	// The writer's side: what changed, and what it did to the checksum.
	var enc diff.Encoder
	body, kept := enc.Encode(diff.Body{}, pageSize, []diff.Page{{No: 3, Old: before, New: after}})
	sum := diff.PageSum(3, before)
	sum = sum.Sub(diff.PageSum(3, before)).Add(diff.PageSum(3, after))
	fmt.Printf("%d page in %d bytes: % x | % x | %q\n", kept, body.Len(), body.Pages, body.Tokens, body.Literals)

	// The reader's side, who has the page as it was before.
	var dec diff.Decoder
	if err := dec.Load(body, pageSize); err != nil {
		fmt.Println(err)
		return
	}
	page := make([]byte, pageSize)
	dec.Decode([][]byte{page}, [][]byte{before})
	fmt.Println(dec.Pages()[0].No, bytes.Equal(page, after), diff.PageSum(3, page) == sum)

	// Output:
	// 1 page in 15 bytes: 01 06 | 1f 45 29 00 | "A COUNTER"
	// 3 true true
}
