package journal

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// minCompress: below it zstd's own header eats what it could save.
const minCompress = 32

// Encoders and decoders are large (a decoder holds its window, an encoder its tables) and are
// shared by all readers and sealers of the process.
var (
	encoders     = newEncoders(zstd.SpeedDefault)
	fastEncoders = newEncoders(zstd.SpeedFastest)
	bestEncoders = newEncoders(zstd.SpeedBestCompression)
	decoders     = sync.Pool{New: func() any {
		// The cap limit makes the decoder stop at the length that the block states, or just after it.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
			zstd.WithDecoderMaxMemory(maxStreams))
		if err != nil {
			panic(fmt.Sprintf("journal: zstd options: %v", err))
		}
		return d
	}}
)

// compression says how hard to try.
type compression uint8

const (
	compressNot     compression = iota
	compressDefault             // sealing
	compressFast                // sealing what is watched: beside the writer, a third faster, and 5 % longer until it is merged
	compressShip                // compressFast of what is shipped, which is remembered for when it is sealed
	compressBest                // folding: done once, in the background, and kept for long
)

// orDefault is how hard to try where not to is no choice.
func (c compression) orDefault() compression {
	if c == compressNot {
		return compressDefault
	}
	return c
}

func newEncoders(level zstd.EncoderLevel) *sync.Pool {
	return &sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
			zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(fmt.Sprintf("journal: zstd options: %v", err)) // constant options: a bug of ours
		}
		return e
	}}
}

// compressed appends src to dst as zstd, or nothing when that would not be smaller.
func compressed(dst, src []byte, level compression) []byte {
	if len(src) < minCompress {
		return dst
	}
	pool, n := encoders, len(dst)
	switch level {
	case compressFast:
		if dst = shipped.take(dst, src); len(dst) > n {
			return dst
		}
		pool = fastEncoders
	case compressShip:
		pool = fastEncoders
	case compressBest:
		pool = bestEncoders
	}
	e := pool.Get().(*zstd.Encoder)
	defer pool.Put(e)
	if dst = e.EncodeAll(src, dst); len(dst)-n >= len(src) {
		return dst[:n]
	}
	if level == compressShip {
		shipped.keep(src, dst[n:])
	}
	return dst
}

// slack is room after what is decoded. With it the decoder copies 16 bytes at a time up to the end of each of its blocks,
// of which a block of ours is few.
const slack = 16

// decompress decodes src, which must give exactly n bytes, into buf, growing it when it is too small.
func decompress(buf, src []byte, n int) ([]byte, error) {
	if cap(buf) < n {
		buf = make([]byte, 0, n+slack)
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	out, err := d.DecodeAll(src, buf[:0:min(n+slack, cap(buf))])
	if err != nil {
		return buf, because(ErrCorrupt, "zstd: %v", err)
	}
	if len(out) != n {
		return buf, because(ErrCorrupt, "zstd: %d bytes decoded, want %d", len(out), n)
	}
	return out, nil
}

// appendStreams writes the lengths of all streams, then the streams. Unless level is compressNot, each is zstd where
// that is smaller; used says whether any is. It is the payload of T and P blocks.
func appendStreams(dst []byte, streams [][]byte, level compression, scratch *[]byte) (out []byte, used bool) {
	var ends [4]int
	*scratch = (*scratch)[:0]
	for i, s := range streams {
		if level != compressNot {
			*scratch = compressed(*scratch, s, level)
		}
		ends[i] = len(*scratch)
	}
	from := 0
	for i, s := range streams {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = binary.AppendUvarint(dst, uint64(ends[i]-from))
		from = ends[i]
	}
	from = 0
	for i, s := range streams {
		if ends[i] > from {
			dst = append(dst, (*scratch)[from:ends[i]]...)
			used = true
		} else {
			dst = append(dst, s...)
		}
		from = ends[i]
	}
	return dst, used
}

// streamReader decodes the streams of T and P blocks into buffers that it reuses.
type streamReader struct {
	bufs [4][]byte
	out  [4][]byte
}

// decode splits and decodes a payload of len(n) streams, n being 3 or 4. The result is valid until the
// next decode, and aliases the payload where streams are raw.
func (s *streamReader) decode(h *blockHeader, payload []byte, n int) ([][]byte, error) {
	f := fields{b: payload}
	var raw, stored [4]uint64
	total, anyZstd := uint64(0), false
	for i := range n {
		raw[i] = f.upTo(maxStreams)
		stored[i] = f.upTo(maxPayload)
		total += raw[i]
		if stored[i] != 0 {
			anyZstd = true
			if stored[i] >= raw[i] { // it would have been stored raw
				f.fail()
			}
		}
	}
	if f.bad || total != uint64(h.decoded) || anyZstd != (h.codec == codecZstd) {
		return nil, because(ErrCorrupt, "stream lengths")
	}
	for i := range n {
		if stored[i] == 0 {
			s.out[i] = f.bytes(int(raw[i]))
			continue
		}
		src := f.bytes(int(stored[i]))
		if f.bad {
			break
		}
		var err error
		if s.bufs[i], err = decompress(s.bufs[i], src, int(raw[i])); err != nil {
			return nil, err
		}
		s.out[i] = s.bufs[i]
	}
	if f.bad || len(f.b) != 0 {
		return nil, because(ErrCorrupt, "streams of %d bytes in a payload of %d", total, len(payload))
	}
	return s.out[:n], nil
}

// CompressedSize is about how many bytes streams take when they are stored, without what comes around them: enough to
// see which of two ways to say the same is smaller.
func CompressedSize(streams ...[]byte) int {
	var out []byte
	n := 0
	for _, s := range streams {
		if out = compressed(out[:0], s, compressDefault); len(out) > 0 {
			n += len(out)
		} else {
			n += len(s)
		}
	}
	return n
}
