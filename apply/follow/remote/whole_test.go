//go:build linux || darwin

package remote_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// recording is a stream as a follower gets it that has the first transaction and
// sees the others come, one by one; and the replica that it had before.
type recording struct {
	*fixture
	stream []byte
	ends   []int // of the frames
	db     []byte
	pos    []byte
	states map[journal.TXID][]byte
}

func record(t testing.TB) *recording {
	t.Helper()
	f := &recording{fixture: newFixture(t), states: map[journal.TXID][]byte{}}
	path := filepath.Join(t.TempDir(), "start.db")
	write(t, path, at(t, f.p.trail(), f.first))
	closeReplica(t, openReplica(t, path, follow.TrailSource(f.p.trail(), ""), nil))
	f.db, f.pos = read(t, path), read(t, path+"-pos")
	for id := f.first - 1; id < f.last; id++ {
		head, batch := f.single(t, id)
		if f.stream == nil {
			f.stream = append(head, frame(serve.Heartbeat, f.last, nil)...)
			f.ends = append(f.ends, len(head), len(f.stream))
		}
		f.stream = append(f.stream, batch...)
		f.ends = append(f.ends, len(f.stream))
		f.states[id+1] = at(t, f.p.trail(), id+1)
	}
	f.net.replay = f.stream
	return f
}

// places are those near the end of each frame, and some in between.
func (f *recording) places() (at []int) {
	for i, end := range f.ends {
		at = append(at, end-1, end, end+1, end+56)
		if i > 0 {
			at = append(at, (f.ends[i-1]+end)/2)
		}
	}
	for n := 0; n < len(f.stream); n += 151 {
		at = append(at, n)
	}
	slices.Sort(at)
	at = slices.DeleteFunc(slices.Compact(at), func(n int) bool { return n > len(f.stream) })
	if testing.Short() {
		some := at[:0]
		for i := 0; i < len(at); i += 4 {
			some = append(some, at[i])
		}
		at = some
	}
	return at
}

// replica is the one from before, in files of its own.
func (f *recording) replica(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, f.db)
	write(t, path+"-pos", f.pos)
	return path
}

// follow follows a stream that is mangled as mangle says, until it says what is
// wrong with it or all of it is there. Then the same stream comes again, which
// must not change a byte, and after that the true one.
func (f *recording) follow(t testing.TB, what string, mangle func([]byte) io.Reader) (journal.TXID, error) {
	t.Helper()
	truth := func(b []byte) io.Reader { return bytes.NewReader(b) }
	path, src := f.replica(t, "replica.db"), f.open(t)
	f.net.mangle = mangle
	r, err := follow.Open(t.Context(), path, src, nil)
	if err != nil { // it looks whether its last transaction is in the source's history
		same(t, what, read(t, path), f.db)
		same(t, what, read(t, path+"-pos"), f.pos)
		f.net.mangle = truth
		src.Close()
		r = openReplica(t, path, src, nil)
		f.net.mangle = mangle
		src.Close()
	}
	_, err = r.CatchUp(t.Context())
	id := r.Position().TXID
	if err == nil && id < f.last {
		t.Fatalf("%s: at %d of %d, and no error", what, id, f.last)
	}
	if err != nil {
		before := files(t, path)
		src.Close()
		if _, again := r.CatchUp(t.Context()); again == nil && r.Position().TXID < f.last || r.Position().TXID < id {
			t.Fatalf("%s: %v, and then at %d with %v", what, err, r.Position().TXID, again)
		}
		if r.Position().TXID == id && !bytes.Equal(files(t, path), before) {
			t.Fatalf("%s: %v: and the replica changed", what, err)
		}
		id = r.Position().TXID
	}
	f.net.mangle = truth
	src.Close()
	closeReplica(t, r)
	same(t, fmt.Sprintf("%s: transaction %d", what, id), read(t, path), f.states[id])
	r = openReplica(t, path, src, nil)
	for r.Position().TXID < f.last {
		if _, err := r.CatchUp(t.Context()); err != nil && !errors.Is(err, follow.ErrUnreachable) {
			t.Fatalf("%s, and then the truth: %v", what, err)
		}
	}
	closeReplica(t, r)
	same(t, what+", and then the truth", read(t, path), f.states[f.last])
	return id, err
}

// TestReplicaCutOff cuts the stream of a replica: it is at a whole transaction,
// every one that came whole, and goes on from there.
func TestReplicaCutOff(t *testing.T) {
	f := record(t)
	for _, n := range f.places() {
		id, err := f.follow(t, fmt.Sprintf("cut at %d", n), func(b []byte) io.Reader { return bytes.NewReader(b[:n]) })
		if whole, _ := slices.BinarySearch(f.ends[2:], n+1); id < f.first+journal.TXID(max(whole, 1)-1) {
			t.Fatalf("cut at %d, after %d batches: at %d: %v", n, whole, id, err)
		}
		if err != nil && !errors.Is(err, follow.ErrUnreachable) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// TestReplicaDamage changes a byte of the stream of a replica: what is damaged is
// refused before a byte of the replica changes, what came before it is there.
func TestReplicaDamage(t *testing.T) {
	f := record(t)
	refused := 0
	for _, n := range f.places() {
		n = min(n, len(f.stream)-1)
		_, err := f.follow(t, fmt.Sprintf("byte %d", n), func(b []byte) io.Reader {
			b = bytes.Clone(b)
			b[n] ^= 0x10
			return bytes.NewReader(b)
		})
		if err != nil {
			refused++
		}
	}
	if refused < len(f.places())/2 {
		t.Errorf("only %d of the changed bytes were noticed", refused)
	}
}

// TestFirstStateDamaged cuts and changes the stream that a new replica is made of:
// there is no file before all of it is there.
func TestFirstStateDamaged(t *testing.T) {
	p := &primary{t: t, path: filepath.Join(t.TempDir(), "primary.db")}
	plain, err := sqlite3.Open("file:" + p.path) // so that its trail begins with a base
	if err == nil {
		err = plain.Exec("PRAGMA page_size=512; CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT); INSERT INTO t(b) VALUES('from before')")
	}
	if err = errors.Join(err, plain.Close()); err != nil {
		t.Fatal(err)
	}
	p.conn, err = sqlite3.Open("file:" + p.path + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	p.exec("INSERT INTO t(b) VALUES('since')")
	last := p.txid()
	want := at(t, p.trail(), last)
	f := &fixture{p: p, net: &network{handler: serve.New(&serve.Options{Databases: map[string]*journal.Trail{"app": p.trail()}})}}
	defer f.net.handler.Close()
	var whole []byte
	f.net.mangle = func(b []byte) io.Reader { whole = bytes.Clone(b); return bytes.NewReader(b) }
	state, err := f.open(t).State(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	state.Close()
	if len(whole) < 1000 || whole[48+56] != byte(serve.Base) {
		t.Fatalf("the stream of %d bytes does not begin with a base", len(whole))
	}
	f.net.replay = whole
	made, refused := 0, 0
	for n := 0; n < len(whole); n += 23 {
		for _, b := range [][]byte{whole[:n], slices.Concat(whole[:n], []byte{whole[n] ^ 0x20}, whole[n+1:])} {
			f.net.mangle = func([]byte) io.Reader { return bytes.NewReader(b) }
			path := filepath.Join(t.TempDir(), "replica.db")
			r, err := follow.Open(t.Context(), path, f.open(t), nil)
			left, _ := filepath.Glob(path + "*")
			switch {
			case err == nil:
				made++
				closeReplica(t, r)
				same(t, fmt.Sprint("byte ", n), read(t, path), want)
			case !errors.Is(err, follow.ErrUnreachable) && !errors.Is(err, journal.ErrVersion) && !errors.Is(err, journal.ErrForeign):
				t.Fatalf("byte %d: %v", n, err)
			case len(left) > 0:
				t.Fatalf("byte %d: %v: %v are left", n, err, left)
			default:
				refused++
			}
		}
	}
	if refused < 20 {
		t.Errorf("%d refused, %d made", refused, made)
	}
}

// TestPipeCutAnywhere cuts a stream through a pipe at every byte: what came before
// is whole, and only a stream that says that it ends is taken for all.
func TestPipeCutAnywhere(t *testing.T) {
	f := newFixture(t)
	var out bytes.Buffer
	if _, err := serve.Send(t.Context(), &out, f.p.trail(), &serve.SendOptions{After: f.first}); err != nil {
		t.Fatal(err)
	}
	end := out.Bytes()[out.Len()-56:]
	head, _ := f.single(t, f.first)
	stream := append(head, frame(serve.Heartbeat, f.last, nil)...)
	for id := f.first; id < f.last; id++ {
		_, batch := f.single(t, id)
		stream = append(stream, batch...)
	}
	stream = append(stream, end...)
	for n := 0; n <= len(stream); n++ {
		if testing.Short() && n%4 > 0 && n < len(stream) {
			continue
		}
		src, err := remote.Pipe(t.Context(), io.NopCloser(bytes.NewReader(stream[:n])), nil)
		if err != nil {
			if n == len(stream) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		got, err := 0, error(nil)
		for err == nil { // as Run does
			m := 0
			if m, err = f.drain(t, src, f.first+1+journal.TXID(got)); err == nil {
				_, err = src.Refresh(t.Context())
			}
			if got += m; err == nil {
				err = src.Await(t.Context(), 1<<40)
			}
		}
		if whole := n == len(stream); (err == io.EOF) != whole || whole && got != 8 || !whole && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %d records, %v", n, len(stream), got, err)
		}
		src.Close()
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPipeEndsAtOnce: whoever waits for the first word of a stream that ends without one is told of that end, whatever
// it is doing at that moment.
func TestPipeEndsAtOnce(t *testing.T) {
	head := (&serve.Head{Heartbeat: time.Second}).Append(nil)
	for range 50_000 {
		if _, err := remote.Pipe(t.Context(), io.NopCloser(bytes.NewReader(head)), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
}
