package encrypt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

// pair draws an identity and its recipient.
func pair(t testing.TB) (*age.X25519Identity, *age.X25519Recipient) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id, id.Recipient()
}

func keysOf(t testing.TB) encrypt.Keys {
	id, r := pair(t)
	return encrypt.Keys{Recipients: []age.Recipient{r}, Identities: []age.Identity{id}}
}

func open(t testing.TB, s objstore.Store, keys encrypt.Keys) objstore.Store {
	t.Helper()
	e, err := encrypt.New(s, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func put(t testing.TB, s objstore.Store, key, data string) {
	t.Helper()
	if err := s.Put(t.Context(), key, strings.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

// get reads a range and closes the body.
func get(ctx context.Context, s objstore.Store, key string, off, n int64) (string, error) {
	body, _, err := s.Get(ctx, key, off, n)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(body)
	return string(data), errors.Join(err, body.Close())
}

// raw is an object as the store has it.
func raw(t testing.TB, s objstore.Store, key string) string {
	t.Helper()
	data, err := get(t.Context(), s, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// text is n bytes that are not the same everywhere.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x pagetrail ", i)
	}
	return b.String()[:n]
}

func TestConformance(t *testing.T) {
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	one, two := keysOf(t), keysOf(t)
	two.Recipients = append(two.Recipients, one.Recipients...)
	for name, keys := range map[string]encrypt.Keys{
		"one":          one,
		"two":          two,
		"post-quantum": {Recipients: []age.Recipient{hybrid.Recipient()}, Identities: []age.Identity{hybrid}},
		// What a process wrote it can read, without an identity.
		"recipients only": {Recipients: one.Recipients},
	} {
		var skip []string
		if name != "one" {
			skip = []string{"many"} // the slow part, and the same for all
		}
		t.Run(name, func(t *testing.T) {
			objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, new(mem.Store), keys) }, skip...)
		})
	}
	// Calls that are carried out and reported as failed are recognised without an identity, with Retry beneath.
	t.Run("deceived", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Store {
			f := &objstore.Faults{Decide: func(i int, _ objstore.Call) objstore.Outcome {
				return []objstore.Outcome{objstore.Deceive, objstore.Pass, objstore.Pass}[i%3]
			}}
			t.Cleanup(func() {
				if f.Calls() > 0 && f.Fired() == 0 {
					t.Error("no fault was reached")
				}
			})
			inner := objstore.Retry(objstore.Faulty(new(mem.Store), f), &objstore.RetryOptions{Tries: 20, Pause: 2, Most: 2})
			return open(t, inner, encrypt.Keys{Recipients: one.Recipients})
		}, "many")
	})
}

// Objects are files of age: age reads them, and nothing of theirs is to be seen.
func TestAgeReadsObjects(t *testing.T) {
	id, r := pair(t)
	other, o := pair(t)
	inner := new(mem.Store)
	s := open(t, inner, encrypt.Keys{Recipients: []age.Recipient{r, o}})
	for _, n := range []int{0, 1, 65535, 65536, 65537, 131072, 200000} {
		key := fmt.Sprintf("00000001/0/%d.seg", n)
		put(t, s, key, text(n))
		sealed := raw(t, inner, key)
		if strings.Contains(sealed, "pagetrail pagetrail") || n > 20 && strings.Contains(sealed, text(20)) {
			t.Errorf("%s: there is plain text in it", key)
		}
		for _, id := range []age.Identity{id, other} {
			plain, err := age.Decrypt(strings.NewReader(sealed), id)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := io.ReadAll(plain); err != nil || string(data) != text(n) {
				t.Errorf("%s: age reads %d bytes, %v", key, len(data), err)
			}
		}
	}
}

// Every range is what it is without encryption, and takes few requests.
func TestRanges(t *testing.T) {
	keys := keysOf(t)
	const block = 64 << 10
	sizes := []int64{0, 1, block - 1, block, block + 1, 3 * block, 5*block + 7}
	if testing.Short() {
		sizes = []int64{0, block, 2*block + 7}
	}
	for _, size := range sizes {
		inner := new(mem.Store)
		data := text(int(size))
		put(t, open(t, inner, keys), "k", data)
		for _, off := range []int64{0, 1, block - 1, block, block + 1, 3 * block, size, size + 1} {
			for _, n := range []int64{0, 1, block - 1, block, block + 1, 2 * block, size, -1, 1<<63 - 1} {
				meter := new(objstore.Meter)
				s := open(t, objstore.Metered(inner, meter), keys)
				want := data[min(off, size):]
				if n >= 0 {
					want = want[:min(n, int64(len(want)))]
				}
				for _, most := range []int64{4, 1} { // with the mark, and all four once
					before := meter.Requests()
					got, err := get(t.Context(), s, "k", off, n)
					if err != nil || got != want {
						t.Fatalf("size %d, %d bytes from %d: %d bytes, %v", size, n, off, len(got), err)
					}
					if took := meter.Requests() - before; took > most && size > block && want != "" {
						t.Errorf("size %d, %d bytes from %d: %d requests", size, n, off, took)
					}
				}
			}
		}
	}
}

func TestReadersShareAStore(t *testing.T) {
	keys, data := keysOf(t), text(300000)
	s := open(t, new(mem.Store), keys)
	put(t, s, "k", data)
	done := make(chan error)
	for i := range 8 {
		go func() {
			got, err := get(t.Context(), s, "k", int64(i)*30000, 70000)
			if err == nil && got != data[i*30000:i*30000+70000] {
				err = errors.New("wrong bytes")
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A body is encrypted the same each time it is read, in whatever pieces: a store may send it in parts, and again.
func TestBodyIsTheSameEachTime(t *testing.T) {
	keys := encrypt.Keys{Recipients: keysOf(t).Recipients}
	s := open(t, &rereader{Store: new(mem.Store), t: t}, keys)
	put(t, s, "k", text(150000))
	if got := raw(t, s, "k"); got != text(150000) {
		t.Errorf("%d bytes came back", len(got))
	}
}

type rereader struct {
	objstore.Store
	t *testing.T
}

func (r *rereader) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	whole, err := io.ReadAll(io.NewSectionReader(body, 0, size))
	if err != nil || int64(len(whole)) != size {
		r.t.Errorf("%d bytes of %d, %v", len(whole), size, err)
	}
	for _, n := range []int64{7777, 65552, 1 << 20} {
		for off := size - 1; off >= 0; off -= n {
			p := make([]byte, min(n, size-off))
			if _, err := body.ReadAt(p, off); err != nil && err != io.EOF || !bytes.Equal(p, whole[off:off+int64(len(p))]) {
				r.t.Errorf("%d bytes from %d differ, %v", len(p), off, err)
			}
		}
	}
	if n, err := body.ReadAt(make([]byte, 10), size); n != 0 || err != io.EOF {
		r.t.Errorf("behind the end: %d, %v", n, err)
	}
	return r.Store.Put(ctx, key, body, size)
}

// What was changed, cut, exchanged or renamed is found, wherever it is read.
func TestDamage(t *testing.T) {
	keys, ctx := keysOf(t), t.Context()
	data := text(200000)
	inner := new(mem.Store)
	s := open(t, inner, keys)
	put(t, s, "k", data)
	put(t, s, "small", "small")
	put(t, s, "other", data)
	sealed, other := raw(t, inner, "k"), raw(t, inner, "other")
	flip := func(at int) string { return sealed[:at] + string(sealed[at]^1) + sealed[at+1:] }
	const header = 512
	for name, bad := range map[string]string{
		"empty":               "",
		"a bit of the header": flip(125), "its filling": flip(300), "its MAC": flip(header - 20), "the nonce": flip(header - 3),
		"a recipient's part":       flip(100),
		"a bit of the first block": flip(header + 5), "of the last": flip(len(sealed) - 1),
		"cut in the header": sealed[:200], "no block": sealed[:header], "cut in a block": sealed[:header+70000],
		"cut between blocks": sealed[:header+2*65552], "longer": sealed + "x", "twice": sealed + sealed[header:],
		"blocks exchanged": sealed[:header] + sealed[header+65552:header+2*65552] + sealed[header:header+65552] + sealed[header+2*65552:],
		"renamed":          other, "blocks of another": sealed[:header] + other[header:],
	} {
		put(t, inner, "k", bad)
		// Each range touches something else; together they touch everything.
		bad := 0
		for _, r := range [][2]int64{{0, -1}, {0, 10}, {70000, 10}, {199990, 10}, {0, 200000}} {
			got, err := get(ctx, open(t, inner, keys), "k", r[0], r[1])
			if err == nil && got != data[r[0]:min(uint64(r[0]+r[1]), 200000)] {
				t.Errorf("%s: wrong bytes from %d", name, r[0])
			}
			if err != nil {
				bad++
				told := errors.Is(err, objstore.ErrDamaged)
				if name == "a recipient's part" { // if it can still be read, only its identity could tell
					told = told || errors.Is(err, objstore.ErrEncrypted)
				}
				if !told || !objstore.Final(err) || !strings.Contains(err.Error(), "store/k") {
					t.Errorf("%s from %d: %v", name, r[0], err)
				}
			}
		}
		if bad < 2 {
			t.Errorf("%s: %d ranges of 5 found it", name, bad)
		}
		if _, _, err := open(t, inner, keys).Head("k").Load(ctx); !objstore.Final(err) {
			t.Errorf("%s, as a head: %v", name, err)
		}
	}
	put(t, inner, "small", sealed)
	if _, err := get(ctx, s, "small", 0, -1); err == nil || !strings.Contains(err.Error(), "renamed or exchanged") {
		t.Errorf("another object's content: %v", err)
	}
}

// An object that was deleted and created again under its name is read as what it is now.
func TestReplacedWhileOpen(t *testing.T) {
	keys, inner := keysOf(t), new(mem.Store)
	reader, writer := open(t, inner, keys), open(t, inner, keys)
	for _, data := range []string{text(200000), strings.Repeat("x", 200000), strings.Repeat("y", 100000), "z"} {
		put(t, writer, "k", data)
		for _, r := range [][2]int64{{0, 100}, {90000, 100}, {0, -1}} {
			got, err := get(t.Context(), reader, "k", r[0], r[1])
			want := data[min(int(r[0]), len(data)):]
			if r[1] > 0 {
				want = want[:min(int(r[1]), len(want))]
			}
			if err != nil || got != want {
				t.Errorf("%d bytes: from %d came %d bytes, %v", len(data), r[0], len(got), err)
			}
		}
	}
}

// Keys that do not fit are told from damage, in every call.
func TestKeysThatDoNotFit(t *testing.T) {
	ctx := t.Context()
	mine, theirs := keysOf(t), keysOf(t)
	inner, plain := new(mem.Store), new(mem.Store)
	s := open(t, inner, mine)
	put(t, s, "k", "x")
	if _, err := s.Head("head").Swap(ctx, "", []byte("one")); err != nil {
		t.Fatal(err)
	}
	put(t, plain, "k", "x")
	all := func(s objstore.Store) map[string]error {
		_, get := get(ctx, s, "k", 0, -1)
		_, _, load := s.Head("k").Load(ctx)
		return map[string]error{"get": get, "load": load}
	}
	for name, c := range map[string]struct {
		store objstore.Store
		want  error
		hint  string
	}{
		"no identity":    {open(t, inner, encrypt.Keys{Recipients: mine.Recipients}), objstore.ErrEncrypted, "an identity is needed"},
		"wrong identity": {open(t, inner, theirs), objstore.ErrEncrypted, "none of the identities"},
		"plain store":    {open(t, plain, mine), objstore.ErrNotEncrypted, "without keys"},
	} {
		for call, err := range all(c.store) {
			if !errors.Is(err, c.want) || !objstore.Final(err) || !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), "k: ") {
				t.Errorf("%s, %s: %v", name, call, err)
			}
		}
	}
	// No plain store gets an encrypted object beside the others, and none is written without recipients.
	err := open(t, plain, mine).Put(ctx, "new", strings.NewReader("x"), 1)
	if !errors.Is(err, objstore.ErrNotEncrypted) {
		t.Errorf("put into a plain store: %v", err)
	}
	for o, err := range open(t, plain, mine).List(ctx, "", "") {
		if !errors.Is(err, objstore.ErrNotEncrypted) {
			t.Errorf("list of a plain store: %v %v", o, err)
		}
	}
	err = open(t, inner, encrypt.Keys{Identities: mine.Identities}).Put(ctx, "new", strings.NewReader("x"), 1)
	if !errors.Is(err, objstore.ErrEncrypted) || !strings.Contains(err.Error(), "recipients") {
		t.Errorf("put without recipients: %v", err)
	}
	if err := s.Put(ctx, "encryption", strings.NewReader("x"), 1); !errors.Is(err, objstore.ErrKey) {
		t.Errorf("put over the mark: %v", err)
	}
	if _, err := encrypt.New(inner, encrypt.Keys{Recipients: mine.Recipients, Identities: theirs.Identities}, nil); !errors.Is(err, encrypt.ErrKeys) {
		t.Errorf("an identity that cannot read back: %v", err)
	}
}

// The lengths of headers are one for a store, whoever writes: sizes in lists depend on it.
func TestRecipientsChange(t *testing.T) {
	ctx, inner := t.Context(), new(mem.Store)
	first := keysOf(t)
	put(t, open(t, inner, first), "a", "12345")
	second := keysOf(t)
	second.Identities = append(second.Identities, first.Identities...)
	both := open(t, inner, second)
	put(t, both, "b", "123")
	sizes := func(s objstore.Store) (out []string) {
		for o, err := range s.List(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s:%d", o.Key, o.Size))
		}
		return out
	}
	want := []string{"a:5", "b:3"}
	if got := sizes(both); !slices.Equal(got, want) {
		t.Errorf("listed %v", got)
	}
	// The mark can be lost: objects have the length too, and the next writer puts it back.
	if err := inner.Delete(ctx, "encryption"); err != nil {
		t.Fatal(err)
	}
	again := open(t, inner, second)
	if got := sizes(again); !slices.Equal(got, want) {
		t.Errorf("without the mark: listed %v", got)
	}
	if got, err := get(ctx, again, "a", 1, 2); err != nil || got != "23" {
		t.Errorf("without the mark: %q, %v", got, err)
	}
	put(t, again, "c", "1")
	if got := raw(t, inner, "encryption"); got != `{"format":1,"header":512}`+"\n" {
		t.Errorf("the mark is %s", got)
	}
	many := encrypt.Keys{}
	for range 12 {
		many.Recipients = append(many.Recipients, keysOf(t).Recipients...)
	}
	err := open(t, inner, many).Put(ctx, "d", strings.NewReader("x"), 1)
	if !errors.Is(err, encrypt.ErrKeys) || !strings.Contains(err.Error(), "12 recipients") {
		t.Errorf("recipients that do not fit: %v", err)
	}
	put(t, open(t, new(mem.Store), many), "d", "a new store has room for them")
	for data, want := range map[string]error{
		`{"format":2,"header":9}`: objstore.ErrEncrypted, `{"format":1,"header":99999}`: objstore.ErrDamaged, "{": objstore.ErrDamaged, "": objstore.ErrDamaged,
	} {
		put(t, inner, "encryption", data)
		if _, err := get(ctx, open(t, inner, first), "a", 0, -1); !errors.Is(err, want) {
			t.Errorf("mark %s: %v", data, err)
		}
	}
}

func TestParse(t *testing.T) {
	id, r := pair(t)
	if got, err := encrypt.ParseRecipients("# mine\n" + r.String() + "\n\n" + r.String()); err != nil || len(got) != 2 {
		t.Errorf("recipients: %v, %v", got, err)
	}
	if got, err := encrypt.ParseIdentities("# created\n" + id.String() + "\n"); err != nil || len(got) != 1 {
		t.Errorf("identities: %v", err)
	}
	secret := id.String()
	for _, bad := range []string{"", "age1xyz", secret, "ssh-ed25519 AAAA"} {
		if _, err := encrypt.ParseRecipients(bad); !errors.Is(err, encrypt.ErrKeys) || strings.Contains(err.Error(), secret) {
			t.Errorf("recipient %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", secret[:40], r.String(), "age-encryption.org/v1\n"} {
		if _, err := encrypt.ParseIdentities(bad); !errors.Is(err, encrypt.ErrKeys) || len(bad) > 20 && strings.Contains(err.Error(), bad[16:]) {
			t.Errorf("identity %q: %v", bad, err)
		}
	}
}

func BenchmarkCreateBatch(b *testing.B) { // what does a batch of 20 kB cost?
	s := open(b, new(mem.Store), keysOf(b))
	data := text(20000)
	b.ReportAllocs()
	for b.Loop() {
		put(b, s, "k", data)
	}
}

func BenchmarkRead(b *testing.B) { // how fast is a large object read?
	s := open(b, new(mem.Store), keysOf(b))
	put(b, s, "k", text(16<<20))
	b.SetBytes(16 << 20)
	for b.Loop() {
		body, _, err := s.Get(b.Context(), "k", 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			b.Fatal(err)
		}
	}
}
