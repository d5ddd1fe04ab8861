package diff_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// vector is a case of testdata/bodies.txt.
type vector struct {
	name, verdict, stream, encoder string
	size                           int
	body                           diff.Body
	old, new                       map[uint32][]byte
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/bodies.txt")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("bodies.txt: no colon in %q", line)
		}
		value = strings.TrimSpace(value)
		if key == "name" {
			vs = append(vs, vector{name: value, old: map[uint32][]byte{}, new: map[uint32][]byte{}})
			continue
		}
		vs[len(vs)-1].set(t, key, value)
	}
	return vs
}

func (v *vector) set(t testing.TB, key, value string) {
	t.Helper()
	key, no, numbered := strings.Cut(key, " ")
	n, err := strconv.ParseUint(no, 10, 32)
	if numbered && err != nil {
		t.Fatalf("%s: page number %q", v.name, no)
	}
	switch key {
	case "verdict":
		v.verdict = value
	case "size":
		if v.size, err = strconv.Atoi(value); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
	case "pages":
		v.body.Pages = words(t, value)
	case "tokens":
		v.body.Tokens = words(t, value)
	case "literals":
		v.body.Literals = words(t, value)
	case "stream":
		v.stream = value
	case "encoder":
		v.encoder = value
	case "old":
		v.old[uint32(n)] = words(t, value)
	case "new":
		v.new[uint32(n)] = words(t, value)
	default:
		t.Fatalf("%s: unknown key %q", v.name, key)
	}
}

// words reads words of hexadecimal, N*XX being N times XX.
func words(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for word := range strings.FieldsSeq(s) {
		count, digits, repeated := strings.Cut(word, "*")
		n := 1
		if repeated {
			var err error
			if n, err = strconv.Atoi(count); err != nil {
				t.Fatalf("bad word %q", word)
			}
		} else {
			digits = word
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("bad word %q", word)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out
}

func TestVectors(t *testing.T) {
	valid, invalid := 0, 0
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			switch v.verdict {
			case "valid":
				valid++
				testValid(t, &v)
			case "invalid":
				invalid++
				testInvalid(t, &v)
			default:
				t.Fatalf("verdict %q", v.verdict)
			}
		})
	}
	if valid < 10 || invalid < 50 {
		t.Errorf("read %d valid and %d invalid cases: the file is not all there", valid, invalid)
	}
}

func testValid(t *testing.T, v *vector) {
	var d diff.Decoder
	if err := d.Load(v.body, v.size); err != nil {
		t.Fatal(err)
	}
	if len(d.Pages()) != len(v.new) {
		t.Fatalf("%d pages, want %d", len(d.Pages()), len(v.new))
	}
	var out, old [][]byte
	var pages []diff.Page
	for _, ref := range d.Pages() {
		before, ok := v.old[ref.No]
		if ok == ref.Full {
			t.Fatalf("page %d: full is %v, but the case has its old content: %v", ref.No, ref.Full, ok)
		}
		old, out = append(old, before), append(out, make([]byte, v.size))
		pages = append(pages, diff.Page{No: ref.No, Old: before, New: v.new[ref.No]})
	}
	d.Decode(out, old)
	for i, ref := range d.Pages() {
		if !bytes.Equal(out[i], v.new[ref.No]) {
			t.Errorf("page %d is\n%x, want\n%x", ref.No, out[i], v.new[ref.No])
		}
	}
	if v.encoder != "" {
		var e diff.Encoder
		got, _ := e.Encode(diff.Body{}, v.size, pages)
		if !equalBodies(got, v.body) {
			t.Errorf("the encoder writes\npages: %x\ntokens: %x\nliterals: %x", got.Pages, got.Tokens, got.Literals)
		}
	}
}

func testInvalid(t *testing.T, v *vector) {
	var d diff.Decoder
	err := d.Load(v.body, v.size)
	if !errors.Is(err, diff.ErrInvalid) {
		t.Fatalf("Load: %v, want ErrInvalid", err)
	}
	var e *diff.Error
	if !errors.As(err, &e) || e.Stream != v.stream {
		t.Errorf("Load: %v, want the %s stream blamed", err, v.stream)
	}
	if n := len(d.Pages()); n != 0 {
		t.Errorf("after an error the decoder lists %d pages", n)
	}
	old := func(uint32) []byte { return make([]byte, v.size) }
	if _, _, err := refDecode(v.body, v.size, old); err == nil {
		t.Error("the reference decoder accepts it")
	}
}

func equalBodies(a, b diff.Body) bool {
	return bytes.Equal(a.Pages, b.Pages) && bytes.Equal(a.Tokens, b.Tokens) && bytes.Equal(a.Literals, b.Literals)
}
