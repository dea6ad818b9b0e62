package rpmdb

import (
	"encoding/binary"
	"fmt"
	"io"
)

// WALFrames reads a SQLite write-ahead log, the file rpmdb.sqlite-wal that may
// lie beside a database, and returns how many of its frames belong to committed
// transactions (sqlite.org/fileformat2.html, "The Write-Ahead Log"). Each does
// not know of them: where there are any, the database may lack packages that
// rpm would show. Frames after the last sound commit count for nothing, to
// SQLite too; a log that SQLite itself would not take for one is an error.
func WALFrames(r io.ReaderAt, size int64) (frames int, err error) {
	if size == 0 {
		return 0, nil
	}
	const headSize, frameHead = 32, 24
	var head [headSize]byte
	if err := readAt(r, head[:], 0); err != nil {
		return 0, fmt.Errorf("read the write-ahead log's header: %w", err)
	}
	sum := walSum{order: binary.LittleEndian}
	switch magic := binary.BigEndian.Uint32(head[:]); magic {
	case 0x377f0682:
	case 0x377f0683:
		sum.order = binary.BigEndian
	default:
		return 0, fmt.Errorf("no write-ahead log of SQLite: it begins with %#08x", magic)
	}
	pageSize := int64(binary.BigEndian.Uint32(head[8:]))
	if pageSize < 512 || pageSize > 64<<10 || pageSize&(pageSize-1) != 0 {
		return 0, fmt.Errorf("a write-ahead log with pages of %d bytes", pageSize)
	}
	if sum.add(head[:24]); !sum.is(head[24:]) {
		return 0, fmt.Errorf("the write-ahead log's header has the wrong checksum")
	}
	frame := make([]byte, frameHead+pageSize)
	n := 0
	for off := int64(headSize); off+int64(len(frame)) <= size; off += int64(len(frame)) {
		if err := readAt(r, frame, off); err != nil {
			return frames, fmt.Errorf("read the write-ahead log at offset %d: %w", off, err)
		}
		// A frame left over from before the log was begun anew has other salts.
		if string(frame[8:16]) != string(head[16:24]) {
			break
		}
		sum.add(frame[:8])
		if sum.add(frame[frameHead:]); !sum.is(frame[16:]) {
			break
		}
		n++
		if binary.BigEndian.Uint32(frame[4:]) != 0 {
			frames = n // this frame commits all before it
		}
	}
	return frames, nil
}

// walSum is the log's running checksum, over words in the order that the log's
// magic number names.
type walSum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

// add takes b in, whose length is a multiple of 8.
func (s *walSum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		s.s0 += s.order.Uint32(b) + s.s1
		s.s1 += s.order.Uint32(b[4:]) + s.s0
	}
}

// is compares it with a stored one.
func (s *walSum) is(stored []byte) bool {
	return binary.BigEndian.Uint32(stored) == s.s0 && binary.BigEndian.Uint32(stored[4:]) == s.s1
}
