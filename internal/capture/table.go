package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

const (
	tableName   = "pages"
	tableHeader = 256  // bytes before the first entry
	sumSize     = 16   // bytes an entry
	chunkPages  = 4096 // entries a chunk: 64 KiB
	chunksMax   = 256  // chunks held in memory: 16 MiB
	tableMagic  = "\x89PTPGS\r\n"
	tableFormat = 1
)

// stamp says which state the page table describes, and how the database
// looked when the last process left it in order.
type stamp struct {
	TXID      journal.TXID
	PageSize  uint32
	PageCount uint32
	Sum       diff.Sum
	// What WAL goes with the state, so that one which somebody else began, or
	// cut, is noticed. WALSalt is the generation of the last record, or the one
	// that one of our own connections was about to begin when everything
	// before was recorded: frames under these salts continue the trail.
	// WALEmpty says that there are no frames to be had.
	WALSalt    [2]uint32
	WALSaltSet bool
	WALEmpty   bool
	// Origin is the last transaction's, for when its record is in a sealed
	// segment, which does not keep it.
	Origin journal.Origin
	// Clean means: at this moment the database file was as File says, and
	// nothing in it was unrecorded.
	Clean bool
	File  fileID
	// Loose means that SQLite wrote to the database without syncing it
	// (synchronous=OFF): after a power cut nothing that was found of it before
	// can be believed, so it is compared as a whole when it is opened.
	Loose bool
	// Detachment says that commits go on without the trail.
	Detachment Detachment
}

// fileID recognises a file that nobody has written to meanwhile.
type fileID struct {
	Size, MTime, Inode int64
}

// table is the cache of the hash of every page of the committed state. It
// makes the state checksum incremental, shows a pre-image that is not what
// the trail believes, and finds what an outsider changed by one scan. The
// caller holds the trail's lock; other processes' changes are seen after
// reload.
type table struct {
	fs     durable.FS
	name   string
	perm   fs.FileMode
	file   durable.File
	stamp  stamp
	valid  bool // stamp was read and describes the entries on disk
	chunks map[uint32]*chunk
	last   *chunk // the chunk used last, for runs of neighbours
	tick   uint64
	dirty  []uint32 // pages set since the last write, unsorted
	buf    []byte
}

type chunk struct {
	no   uint32 // entries from no*chunkPages
	used uint64
	sums [chunkPages]diff.Sum
}

func openTable(fsys durable.FS, dir string, perm fs.FileMode) (*table, error) {
	t := &table{fs: fsys, name: filepath.Join(dir, tableName), perm: perm, chunks: map[uint32]*chunk{}}
	f, err := fsys.OpenFile(t.name, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, fmt.Errorf("open the page table: %w", err)
	}
	t.file = f
	if err := t.reload(); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *table) close() error { return t.file.Close() }

// reload forgets what is in memory and reads the stamp.
func (t *table) reload() error {
	t.forget()
	t.valid = false
	var err error
	t.stamp, t.valid, err = readStamp(t.file)
	return err
}

// readStamp reads the stamp of a table; ok is false when there is none.
func readStamp(r io.ReaderAt) (s stamp, ok bool, err error) {
	var b [tableHeader]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return s, false, fmt.Errorf("read the page table: %w", err)
	}
	if n < tableHeader {
		return s, false, nil
	}
	s, ok = parseStamp(b[:])
	return s, ok, nil
}

// forget drops all chunks, unwritten changes included.
func (t *table) forget() {
	clear(t.chunks)
	t.last = nil
	t.dirty = t.dirty[:0]
}

func parseStamp(b []byte) (s stamp, ok bool) {
	le := binary.LittleEndian
	if string(b[:8]) != tableMagic || le.Uint32(b[8:]) != tableFormat ||
		crc32.Checksum(b[:tableHeader-4], castagnoli) != le.Uint32(b[tableHeader-4:]) {
		return stamp{}, false
	}
	flags := le.Uint32(b[12:])
	s.TXID = journal.TXID(le.Uint64(b[32:]))
	s.PageSize, s.PageCount = le.Uint32(b[40:]), le.Uint32(b[44:])
	s.Sum = diff.Sum{Lo: le.Uint64(b[48:]), Hi: le.Uint64(b[56:])}
	s.WALSalt = [2]uint32{le.Uint32(b[64:]), le.Uint32(b[68:])}
	s.File = fileID{int64(le.Uint64(b[72:])), int64(le.Uint64(b[80:])), int64(le.Uint64(b[88:]))}
	s.Clean, s.WALSaltSet, s.WALEmpty, s.Loose = flags&1 != 0, flags&2 != 0, flags&8 != 0, flags&16 != 0
	s.Origin = journal.Origin{
		WAL: flags&4 != 0, Salt: [2]uint32{le.Uint32(b[96:]), le.Uint32(b[100:])}, Frame: le.Uint32(b[104:]),
		Checksum: [2]uint32{le.Uint32(b[108:]), le.Uint32(b[112:])}, ChangeCounter: le.Uint32(b[116:]),
	}
	s.Detachment.parse(b[120:])
	return s, true
}

func (s *stamp) append(b []byte) []byte {
	le := binary.LittleEndian
	var flags uint32
	if s.Clean {
		flags |= 1
	}
	if s.WALSaltSet {
		flags |= 2
	}
	if s.Origin.WAL {
		flags |= 4
	}
	if s.WALEmpty {
		flags |= 8
	}
	if s.Loose {
		flags |= 16
	}
	start := len(b)
	b = append(b, tableMagic...)
	b = le.AppendUint32(b, tableFormat)
	b = le.AppendUint32(b, flags)
	b = append(b, make([]byte, 16)...) // reserved
	b = le.AppendUint64(b, uint64(s.TXID))
	b = le.AppendUint32(b, s.PageSize)
	b = le.AppendUint32(b, s.PageCount)
	b = le.AppendUint64(b, s.Sum.Lo)
	b = le.AppendUint64(b, s.Sum.Hi)
	b = le.AppendUint32(b, s.WALSalt[0])
	b = le.AppendUint32(b, s.WALSalt[1])
	for _, v := range []int64{s.File.Size, s.File.MTime, s.File.Inode} {
		b = le.AppendUint64(b, uint64(v))
	}
	o := &s.Origin
	for _, v := range []uint32{o.Salt[0], o.Salt[1], o.Frame, o.Checksum[0], o.Checksum[1], o.ChangeCounter} {
		b = le.AppendUint32(b, v)
	}
	b = s.Detachment.append(b)
	b = append(b, make([]byte, tableHeader-4-(len(b)-start))...)
	return le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// chunkOf returns the chunk that holds page no, reading it if need be.
func (t *table) chunkOf(no uint32) (*chunk, int, error) {
	i := no - 1
	n, at := i/chunkPages, int(i%chunkPages)
	if t.last != nil && t.last.no == n {
		return t.last, at, nil
	}
	c := t.chunks[n]
	if c == nil {
		var err error
		if c, err = t.load(n); err != nil {
			return nil, 0, err
		}
	}
	t.tick++
	c.used = t.tick
	t.last = c
	return c, at, nil
}

func (t *table) load(n uint32) (*chunk, error) {
	if len(t.chunks) >= chunksMax {
		if err := t.evict(); err != nil {
			return nil, err
		}
	}
	c := &chunk{no: n}
	var b [chunkPages * sumSize]byte
	got, err := t.file.ReadAt(b[:], chunkOffset(n))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the page table: %w", err)
	}
	for i := range got / sumSize {
		c.sums[i] = diff.Sum{
			Lo: binary.LittleEndian.Uint64(b[i*sumSize:]),
			Hi: binary.LittleEndian.Uint64(b[i*sumSize+8:]),
		}
	}
	t.chunks[n] = c
	return c, nil
}

func chunkOffset(n uint32) int64 { return tableHeader + int64(n)*chunkPages*sumSize }

// evict drops the chunk that was not used for the longest time, after writing
// what changed. What it writes may be ahead of the stamp: that is why an
// interrupted table is checked by its sum before it is believed.
func (t *table) evict() error {
	if err := t.writeDirty(); err != nil {
		return err
	}
	var oldest *chunk
	for _, c := range t.chunks {
		if oldest == nil || c.used < oldest.used {
			oldest = c
		}
	}
	delete(t.chunks, oldest.no)
	if t.last == oldest {
		t.last = nil
	}
	return nil
}

// writeGap is how many entries between two that changed are written again, so
// that both go down in one write: a kilobyte costs less than a system call.
const writeGap = 64

// writeDirty writes the changed entries, neighbours in one write.
func (t *table) writeDirty() error {
	slices.Sort(t.dirty)
	for i := 0; i < len(t.dirty); {
		first, last := t.dirty[i], t.dirty[i]
		for i++; i < len(t.dirty) && t.dirty[i]-last <= writeGap && (t.dirty[i]-1)/chunkPages == (first-1)/chunkPages; i++ {
			last = t.dirty[i]
		}
		c, at, err := t.chunkOf(first)
		if err != nil {
			return err
		}
		b := t.buf[:0]
		for _, s := range c.sums[at : at+int(last-first)+1] {
			b = binary.LittleEndian.AppendUint64(b, s.Lo)
			b = binary.LittleEndian.AppendUint64(b, s.Hi)
		}
		t.buf = b
		if _, err := t.file.WriteAt(b, tableHeader+int64(first-1)*sumSize); err != nil {
			return fmt.Errorf("write the page table: %w", err)
		}
	}
	t.dirty = t.dirty[:0]
	return nil
}

// get returns the hash of page no in the committed state.
func (t *table) get(no uint32) (diff.Sum, error) {
	c, at, err := t.chunkOf(no)
	if err != nil {
		return diff.Sum{}, err
	}
	return c.sums[at], nil
}

// set changes the hash of page no, in memory until flush.
func (t *table) set(no uint32, s diff.Sum) error {
	c, at, err := t.chunkOf(no)
	if err != nil {
		return err
	}
	c.sums[at] = s
	t.dirty = append(t.dirty, no)
	return nil
}

// flush writes the entries that changed and then the stamp for tx.
func (t *table) flush(tx journal.Tx) error {
	if err := t.writeDirty(); err != nil {
		return err
	}
	t.stamp.TXID, t.stamp.PageSize, t.stamp.PageCount = tx.TXID, uint32(tx.PageSize), tx.PageCount
	t.stamp.Sum, t.stamp.Clean, t.stamp.File = tx.Sum, false, fileID{}
	t.stamp.Origin = tx.Origin
	t.stamp.goesWith(tx.Origin)
	return t.writeStamp()
}

// goesWith notes the WAL in which a state was found, or that it was in none.
func (s *stamp) goesWith(o journal.Origin) {
	s.WALEmpty, s.WALSaltSet = !o.WAL, o.WAL
	if o.WAL {
		s.WALSalt = o.Salt
	}
}

func (t *table) writeStamp() error {
	t.buf = t.stamp.append(t.buf[:0])
	if _, err := t.file.WriteAt(t.buf, 0); err != nil {
		t.valid = false
		return fmt.Errorf("write the page table: %w", err)
	}
	t.valid = true
	return nil
}

// soil takes back, durably, that the database was left in order, before anything
// changes: a power cut must not bring it back beside a database that has.
func (t *table) soil() error {
	if !t.stamp.Clean {
		return nil
	}
	t.stamp.Clean, t.stamp.File = false, fileID{}
	if err := t.writeStamp(); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return fmt.Errorf("sync the page table: %w", err)
	}
	return nil
}

// loosen notes durably that the database is written without syncs.
func (t *table) loosen() error {
	if t.stamp.Loose {
		return nil
	}
	t.stamp.Loose = true
	if err := t.writeStamp(); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return fmt.Errorf("sync the page table: %w", err)
	}
	return nil
}

// describes says whether the table is that of the state after tx.
func (t *table) describes(tx journal.Tx) bool {
	return t.valid && t.stamp.TXID == tx.TXID && t.stamp.PageCount == tx.PageCount &&
		t.stamp.PageSize == uint32(tx.PageSize) && t.stamp.Sum == tx.Sum
}

// sound says that all entries are right for the state after tx, too: they may
// be ahead of their stamp, since neither is ever synced.
func (t *table) sound(tx journal.Tx) bool {
	if !t.describes(tx) {
		return false
	}
	sum, err := t.total()
	return err == nil && sum == tx.Sum
}

// total adds up all entries: it equals the state checksum when no entry was
// lost, torn or written ahead by a process that died.
func (t *table) total() (diff.Sum, error) {
	var sum diff.Sum
	skip := uint32(0)
	if t.stamp.PageSize != 0 {
		skip = diff.LockPage(int(t.stamp.PageSize))
	}
	for no := uint32(1); no <= t.stamp.PageCount; no++ {
		if no == skip {
			continue
		}
		s, err := t.get(no)
		if err != nil {
			return sum, err
		}
		sum = sum.Add(s)
	}
	return sum, nil
}

// reset empties the table, for a state whose pages are all new.
func (t *table) reset() error {
	t.forget()
	t.valid = false
	if err := t.file.Truncate(0); err != nil {
		return fmt.Errorf("empty the page table: %w", err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
