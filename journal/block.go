package journal

// The kinds of blocks. Their letters are on disk and are never used again for something else.
const (
	blockTx     = 'T' // transactions
	blockPart   = 'P' // one group of a large transaction, ahead of its T block
	blockCommit = 'C' // the prepared T block just before is committed
	blockPoint  = 'N' // a restore point
	blockEnd    = 'E' // the segment ends here, and another file goes on
	blockPages  = 'B' // pages of a base
	blockFooter = 'F' // indexes of a sealed file
)

const (
	blockHeaderSize = 32
	chainSize       = 32 // SHA-256, before each payload of a sealed file

	codecRaw  = 0
	codecZstd = 1

	flagPrepared = 1 << 0 // T: counts only when its C block follows
	flagSynced   = 1 << 1 // C: the file was known to be durable up to here when the block was written
)

// blockHeader is the fixed part before each payload.
type blockHeader struct {
	kind    byte
	codec   byte
	flags   uint16
	length  uint32 // of the payload as stored, chain included
	first   uint64 // first TXID; B: first page number; E: TXID that the next file begins with
	records uint32 // T: records; P, B: pages; C: headerCRC of the T block it commits; N: headerCRC of the block before
	decoded uint32 // bytes of the payload decoded: T and P: of all streams; B, F: of the content
	crc     uint32 // CRC-32C of the payload as stored
	sealCRC uint32 // CRC-32C of the 28 bytes before; set by put and parse
}

// put writes the header into b and sets its own CRC.
func (h *blockHeader) put(b []byte) {
	_ = b[blockHeaderSize-1]
	b[0], b[1] = h.kind, h.codec
	le.PutUint16(b[2:], h.flags)
	le.PutUint32(b[4:], h.length)
	le.PutUint64(b[8:], h.first)
	le.PutUint32(b[16:], h.records)
	le.PutUint32(b[20:], h.decoded)
	le.PutUint32(b[24:], h.crc)
	h.sealCRC = crcOf(b[:28])
	le.PutUint32(b[28:], h.sealCRC)
}

// parse reads a header. Wrong bytes are ErrCorrupt; a whole header that says something unknown is ErrFlag.
func (h *blockHeader) parse(b []byte) error {
	_ = b[blockHeaderSize-1]
	*h = blockHeader{
		kind: b[0], codec: b[1], flags: le.Uint16(b[2:]), length: le.Uint32(b[4:]), first: le.Uint64(b[8:]),
		records: le.Uint32(b[16:]), decoded: le.Uint32(b[20:]), crc: le.Uint32(b[24:]), sealCRC: le.Uint32(b[28:]),
	}
	if crcOf(b[:28]) != h.sealCRC {
		return errHeader
	}
	return h.check()
}

// parseOwn reads a header that this process wrote.
func (h *blockHeader) parseOwn(b []byte) {
	if err := h.parse(b); err != nil {
		panic("journal: wrote a bad block header: " + err.Error())
	}
}

// check refuses what this version never writes.
func (h *blockHeader) check() error {
	switch h.kind {
	case blockTx, blockPart, blockCommit, blockPoint, blockEnd, blockPages, blockFooter:
	default:
		return because(ErrFlag, "block kind %q", h.kind)
	}
	if h.codec > codecZstd {
		return because(ErrFlag, "block codec %d", h.codec)
	}
	known := uint16(0)
	switch h.kind {
	case blockTx:
		known = flagPrepared
	case blockCommit:
		known = flagSynced
	}
	if h.flags&^known != 0 {
		return because(ErrFlag, "block flags %#x", h.flags)
	}
	if h.length > maxPayload || h.decoded > maxStreams {
		return because(ErrCorrupt, "block of %d bytes, %d decoded: over the limit", h.length, h.decoded)
	}
	if h.kind == blockTx && (h.records == 0 || h.records > maxRecords || h.first == 0) {
		return because(ErrCorrupt, "block of %d records from transaction %d", h.records, h.first)
	}
	if h.first > uint64(MaxTXID) || h.kind == blockTx && h.first+uint64(h.records)-1 > uint64(MaxTXID) {
		return because(ErrCorrupt, "transaction %d: over the limit", h.first)
	}
	return nil
}

// size is the whole block's.
func (h *blockHeader) size() int64 { return blockHeaderSize + int64(h.length) }
