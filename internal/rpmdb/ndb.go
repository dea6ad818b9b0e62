package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"io"
	"iter"
)

// NDB is rpm's own format, little endian throughout (rpm's source is its only
// description). Packages.db begins with pages of slots, 16 bytes each, of which
// the first two are the file's header. A slot names a blob by number and by
// position; positions and lengths count blocks of 16 bytes. A blob has a head
// and a tail that repeat what the slot says, and a checksum.
const (
	ndbMagic     = "RpmP"
	ndbSlotMagic = "Slot"
	ndbHeadMagic = "BlbS"
	ndbTailMagic = "BlbE"

	ndbPage  = 4096
	ndbBlock = 16
	freeSlot = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

	ndbHead = 16 // magic, number, generation, length
	ndbTail = 12 // checksum of all before it, length, magic
)

// ndbRecords reads the file Packages.db.
func ndbRecords(r io.ReaderAt, size int64) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		slots := newPages(r, size, ndbPage, 1)
		head, err := slots.page(0)
		if err != nil {
			yield(record{}, fmt.Errorf("read the database's header: %w", err))
			return
		}
		if version := binary.LittleEndian.Uint32(head[4:]); version != 0 {
			yield(record{}, fmt.Errorf("version %d of the NDB format is not supported (0 is)", version))
			return
		}
		slotPages := int64(binary.LittleEndian.Uint32(head[12:]))
		if slotPages == 0 {
			yield(record{}, errors.New("the database's header counts no page of slots"))
			return
		}
		// Blobs do not overlap, so all together they fit in the file.
		db := ndbFile{r: r, size: size, left: size}
		for n := int64(0); n < slotPages; n++ {
			page, err := slots.page(n)
			if err != nil {
				yield(record{}, fmt.Errorf("%d of %d pages of slots are missing: %w", slotPages-n, slotPages, err))
				return
			}
			first := 0
			if n == 0 {
				first = 2 * ndbBlock
			}
			for off := first; off < ndbPage; off += ndbBlock {
				slot := page[off : off+ndbBlock]
				if string(slot[:4]) != ndbSlotMagic {
					if !yield(record{}, fmt.Errorf("the slot at offset %d is damaged", n*ndbPage+int64(off))) {
						return
					}
					continue
				}
				if string(slot[4:]) == freeSlot {
					continue
				}
				rec := record{number: int64(binary.LittleEndian.Uint32(slot[4:]))}
				if rec.blob, err = db.blob(slot); err != nil {
					err = fmt.Errorf("header %d: %w", rec.number, err)
				}
				if !yield(rec, err) {
					return
				}
			}
		}
	}
}

// ndbFile reads blobs.
type ndbFile struct {
	r    io.ReaderAt
	size int64
	left int64 // bytes that further blobs may have
	buf  []byte
}

// blob returns the header that a slot names. It returns both the header and an
// error when only the checksum is wrong: rpm does not check it when it reads,
// and would show the package.
func (db *ndbFile) blob(slot []byte) ([]byte, error) {
	off := int64(binary.LittleEndian.Uint32(slot[8:])) * ndbBlock
	length := int64(binary.LittleEndian.Uint32(slot[12:])) * ndbBlock
	switch {
	case length < ndbHead+ndbTail:
		return nil, fmt.Errorf("a blob of %d bytes", length)
	case length > maxHeader:
		return nil, fmt.Errorf("a blob of %d bytes; the limit is %d", length, maxHeader)
	case off+length > db.size:
		return nil, fmt.Errorf("its blob ends at offset %d of %d: the file is cut off", off+length, db.size)
	case length > db.left:
		return nil, errors.New("its blob overlaps others")
	}
	db.left -= length
	db.buf = resize(db.buf, int(length))
	if err := readAt(db.r, db.buf, off); err != nil {
		return nil, fmt.Errorf("read its blob at offset %d: %w", off, err)
	}
	head, tail := db.buf[:ndbHead], db.buf[length-ndbTail:]
	if string(head[:4]) != ndbHeadMagic || string(tail[8:]) != ndbTailMagic || string(head[4:8]) != string(slot[4:8]) {
		return nil, fmt.Errorf("its blob is not at offset %d", off)
	}
	size := int64(binary.LittleEndian.Uint32(head[12:]))
	if blocks := (ndbHead + size + ndbTail + ndbBlock - 1) / ndbBlock; blocks*ndbBlock != length || string(head[12:]) != string(tail[4:8]) {
		return nil, fmt.Errorf("%d bytes in a blob of %d", size, length)
	}
	blob := db.buf[ndbHead : ndbHead+size]
	sum, want := adler32.Checksum(db.buf[:length-ndbTail]), binary.LittleEndian.Uint32(tail)
	if sum != want {
		return blob, fmt.Errorf("the checksum is %#08x, not %#08x", sum, want)
	}
	return blob, nil
}
