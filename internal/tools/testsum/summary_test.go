package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const events = `{"Action":"start","Package":"a"}
not an event
{"Action":"run","Package":"a","Test":"TestA"}
{"Action":"run","Package":"b","Test":"TestZ"}
{"Action":"output","Package":"a","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"run","Package":"a","Test":"TestA/x"}
{"Action":"output","Package":"a","Test":"TestA/x","Output":"noise\n"}
{"Action":"pass","Package":"a","Test":"TestA/x"}
{"Action":"run","Package":"a","Test":"TestA/y"}
{"Action":"output","Package":"a","Test":"TestA/y","Output":"    a_test.go:7: wrong\n"}
{"Action":"fail","Package":"a","Test":"TestA/y"}
{"Action":"fail","Package":"a","Test":"TestA"}
{"Action":"output","Package":"b","Test":"TestZ","Output":"--- SKIP: TestZ (0.0s)\n"}
{"Action":"output","Package":"b","Test":"TestZ","Output":"    b_test.go:9: needs a: thing\n"}
{"Action":"skip","Package":"b","Test":"TestZ"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}
{"Action":"output","Package":"b","Output":"PASS\n"}
{"Action":"output","Package":"b","Output":"ok  \tb\t0.2s\n"}
{"Action":"pass","Package":"b"}
{"ImportPath":"c","Action":"build-output","Output":"c.go:1: syntax error\n"}
{"Action":"output","Package":"c","Output":"FAIL\tc [build failed]\n"}
{"Action":"fail","Package":"c","FailedBuild":"c"}
{"Action":"run","Package":"d","Test":"TestHangs"}`
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	passed, failed, skipped := s.close()
	if passed != 1 || failed != 3 || skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped", passed, failed, skipped)
	}
	const want = `not an event
=== RUN   TestA
    a_test.go:7: wrong
FAIL	a	0.1s
ok  	b	0.2s
c.go:1: syntax error
FAIL	c [build failed]
FAIL	d	never ended
skipped: b TestZ: needs a: thing
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
