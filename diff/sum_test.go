package diff_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"pgregory.net/rapid"
)

func TestPageSum(t *testing.T) {
	text, err := os.ReadFile("testdata/sums.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if line[0] == '#' {
			continue
		}
		head, page, _ := strings.Cut(line, "|")
		f := strings.Fields(head)
		no, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		want, err := diff.ParseSum(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := diff.PageSum(uint32(no), words(t, page)); got != want {
			t.Errorf("page %d of %s: %v, want %v", no, page, got, want)
		}
		n++
	}
	if n < 10 {
		t.Errorf("read %d sums: the file is not all there", n)
	}
}

// state is the sum over pages numbered from 1.
func state(pages ...[]byte) (s diff.Sum) {
	for i, p := range pages {
		s = s.Add(diff.PageSum(uint32(i+1), p))
	}
	return s
}

// TestSumSees are accidents that an XOR of CRCs does not see.
func TestSumSees(t *testing.T) {
	a, b, c := leaf(4096, 1), leaf(4096, 2), leaf(4096, 3)
	flip := func(p []byte) []byte {
		p = bytes.Clone(p)
		p[1234] ^= 0x10
		return p
	}
	before := state(a, b, c)
	patch := diff.PageSum(2, flip(b)).Sub(diff.PageSum(2, b)) // what a patch of page 2 does to the state
	for name, wrong := range map[string]diff.Sum{
		"two pages swapped":                  state(b, a, c),
		"the same bit flipped in two pages":  state(flip(a), flip(b), c),
		"the same bit flipped in all pages":  state(flip(a), flip(b), flip(c)),
		"one bit flipped":                    state(a, flip(b), c),
		"a page missing at the end":          state(a, b),
		"a page of zeros too many":           state(a, b, c, make([]byte, 4096)),
		"two equal pages of zeros exchanged": state(a, b, c).Add(diff.PageSum(9, c)).Sub(diff.PageSum(8, c)),
	} {
		if wrong == before {
			t.Errorf("%s: the sum does not see it", name)
		}
	}
	if got, want := before.Add(patch), state(a, flip(b), c); got != want {
		t.Errorf("the sum after the patch is %v, want %v", got, want)
	}
	if before.Add(patch) == state(flip(a), b, c) {
		t.Error("the sum does not see a patch applied to the wrong page")
	}
}

func TestSumAddSub(t *testing.T) {
	s := diff.Sum{Hi: 1, Lo: 2}
	if got, want := s.Add(diff.Sum{Hi: 1<<64 - 1, Lo: 1<<64 - 1}), (diff.Sum{Hi: 0, Lo: 1}); got != want {
		t.Errorf("Add: %v, want %v: each half by itself, modulo 2^64", got, want)
	}
	if got, want := s.Sub(diff.Sum{Hi: 2, Lo: 3}), (diff.Sum{Hi: 1<<64 - 1, Lo: 1<<64 - 1}); got != want {
		t.Errorf("Sub: %v, want %v", got, want)
	}
	if !(diff.Sum{}).IsZero() || s.IsZero() || (diff.Sum{Hi: 1}).IsZero() {
		t.Error("IsZero")
	}
	if got := (diff.Sum{Hi: 1, Lo: 0x1122334455667788}).Cut(); got != 0x55667788 {
		t.Errorf("Cut: %x", got)
	}
}

func TestSumText(t *testing.T) {
	s := diff.Sum{Hi: 0x0123456789abcdef, Lo: 0x00000000000000ff}
	const text = "0123456789abcdef00000000000000ff"
	if s.String() != text {
		t.Errorf("String: %s, want %s", s, text)
	}
	b, err := json.Marshal(map[string]diff.Sum{"sum": s})
	if err != nil || string(b) != `{"sum":"`+text+`"}` {
		t.Errorf("JSON: %s, %v", b, err)
	}
	var back map[string]diff.Sum
	if err := json.Unmarshal(b, &back); err != nil || back["sum"] != s {
		t.Errorf("back from JSON: %v, %v", back, err)
	}
	kept := s
	for _, bad := range []string{"", text[1:], text + "0", strings.ToUpper(text), "0x" + text[2:], " " + text[1:], strings.Replace(text, "f", "g", 1)} {
		if got, err := diff.ParseSum(bad); err == nil {
			t.Errorf("ParseSum(%q): %v, want an error", bad, got)
		} else if !strings.Contains(err.Error(), strconv.Quote(bad)) {
			t.Errorf("ParseSum(%q): the error does not name it: %v", bad, err)
		}
		if err := kept.UnmarshalText([]byte(bad)); err == nil || kept != s {
			t.Errorf("UnmarshalText(%q): %v, left %v", bad, err, kept)
		}
	}
}

func TestSumBinary(t *testing.T) {
	s := diff.Sum{Hi: 0x1817161514131211, Lo: 0x0807060504030201}
	got, err := s.AppendBinary([]byte{0xaa})
	want := []byte{0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("AppendBinary: %x, %v, want %x", got, err, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := diff.Sum{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		b, _ := s.AppendBinary(nil)
		if len(b) != diff.SumSize || diff.SumFromBytes(append(b, 1)) != s {
			t.Fatalf("%v in binary is %x", s, b)
		}
		if back, err := diff.ParseSum(s.String()); err != nil || back != s {
			t.Fatalf("%v as text came back as %v, %v", s, back, err)
		}
	})
}
