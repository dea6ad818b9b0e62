package langpkg

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
)

// zipArchive is a zip file (PKWARE's APPNOTE.TXT 6.3) that is read through its
// central directory, as Java and Python read it. The directory is walked and
// not kept: archive/zip holds a few hundred bytes for every entry, of which a
// hostile file has tens of millions.
type zipArchive struct {
	r         *io.SectionReader
	directory int64 // offset of the central directory
	length    int64 // its size in bytes
	base      int64 // bytes before the archive, such as a start script
	// other says that the file holds more than the archive: what is left of a
	// larger one that was cut, perhaps. Empty if all is well.
	other string
}

// zipEntry is one entry of the central directory.
type zipEntry struct {
	flags, method            uint16
	crc                      uint32
	compressed, size, offset int64
}

var (
	errZip       = errors.New("damaged zip archive")
	errEncrypted = errors.New("the entry is encrypted")
	errMethod    = errors.New("the entry's compression is not supported")
	errLimit     = errors.New("over the limit")
)

const (
	zipEndSize    = 22
	zip64EndSize  = 56
	zip64LocSize  = 20
	zipHeaderSize = 46
	zipLocalSize  = 30
	// longestEntry is Linux's PATH_MAX, here for names inside archives.
	longestEntry = 4096
)

// openZip finds the central directory.
func openZip(r *io.SectionReader) (*zipArchive, error) {
	// The end record stands last but for a comment of at most 64 KiB, which
	// hardly any archive has.
	var tail []byte
	var start int64
	at := -1
	for _, most := range []int64{1 << 10, zipEndSize + 1<<16} {
		tail = make([]byte, min(r.Size(), most))
		start = r.Size() - int64(len(tail))
		if _, err := r.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		var exact bool
		if at, exact = findEnd(tail); exact {
			break
		}
	}
	if at < 0 {
		return nil, fmt.Errorf("%w: no end record", errZip)
	}
	b := tail[at:]
	z := &zipArchive{r: r}
	z.length = int64(binary.LittleEndian.Uint32(b[12:]))
	offset := int64(binary.LittleEndian.Uint32(b[16:]))
	end := start + int64(at)
	if binary.LittleEndian.Uint16(b[10:]) == 0xffff || z.length == 0xffffffff || offset == 0xffffffff {
		big, err := z.zip64(end)
		if err != nil {
			return nil, err
		}
		if big != nil {
			end, z.length, offset = big.end, big.length, big.offset
		}
	}
	z.directory = end - z.length
	z.base = z.directory - offset
	if rest := bytes.Trim(b[min(len(b), zipEndSize+int(binary.LittleEndian.Uint16(b[20:]))):], "\x00 \t\r\n"); len(rest) > 0 {
		z.other = "other data follows the end of the archive"
	} else if z.base > 0 {
		var head [4]byte
		if _, err := r.ReadAt(head[:], 0); err == nil && string(head[:]) == "PK\x03\x04" {
			z.other = "the file begins with another archive"
		}
	}
	if z.length < 0 || offset < 0 || z.directory < 0 || z.base < 0 {
		return nil, fmt.Errorf("%w: the directory lies outside the file", errZip)
	}
	return z, nil
}

// findEnd finds the end record in the end of a file, or gives -1. A comment may
// hold the record's signature too: the record whose comment reaches exactly to
// the end is the real one. If there is none, the last that fits must do.
func findEnd(tail []byte) (at int, exact bool) {
	at = -1
	for end := len(tail); ; {
		i := bytes.LastIndex(tail[:end], []byte("PK\x05\x06"))
		if i < 0 {
			return at, false
		}
		end = i
		if len(tail)-i < zipEndSize {
			continue
		}
		switch rest := len(tail) - i - zipEndSize - int(binary.LittleEndian.Uint16(tail[i+20:])); {
		case rest == 0:
			return i, true
		case rest > 0 && at < 0:
			at = i
		}
	}
}

type zip64End struct{ end, length, offset int64 }

// zip64 reads the end record for large archives, which a locator before the
// common end record points to; nil if there is none.
func (z *zipArchive) zip64(end int64) (*zip64End, error) {
	if end < zip64LocSize {
		return nil, nil
	}
	var loc [zip64LocSize]byte
	if _, err := z.r.ReadAt(loc[:], end-zip64LocSize); err != nil {
		return nil, err
	}
	if string(loc[:4]) != "PK\x06\x07" {
		return nil, nil
	}
	// The locator's offset is wrong when something stands before the archive;
	// then the record stands right before the locator.
	for _, at := range []int64{int64(binary.LittleEndian.Uint64(loc[8:])), end - zip64LocSize - zip64EndSize} {
		if at < 0 || at > end-zip64LocSize-zip64EndSize {
			continue
		}
		var b [zip64EndSize]byte
		if _, err := z.r.ReadAt(b[:], at); err != nil {
			return nil, err
		}
		if string(b[:4]) == "PK\x06\x06" {
			return &zip64End{at, int64(binary.LittleEndian.Uint64(b[40:])), int64(binary.LittleEndian.Uint64(b[48:]))}, nil
		}
	}
	return nil, fmt.Errorf("%w: no zip64 end record", errZip)
}

// each calls visit for every entry in the directory's order. The name, of which
// at most longestEntry bytes are given, is valid during the call only. br is
// reset to read the directory; its buffer must hold longestEntry bytes.
func (z *zipArchive) each(br *bufio.Reader, visit func(name []byte, e zipEntry) error) error {
	br.Reset(io.NewSectionReader(z.r, z.directory, z.length))
	early := fmt.Errorf("%w: the directory ends early", errZip)
	for left := z.length; left > 0; {
		h, err := br.Peek(int(min(left, zipHeaderSize)))
		if err != nil {
			return early
		}
		if len(h) < zipHeaderSize || string(h[:4]) != "PK\x01\x02" {
			if bytes.HasPrefix(h, []byte("PK\x05\x05")) {
				return nil // a digital signature ends the directory
			}
			return fmt.Errorf("%w: no entry where the directory should have one", errZip)
		}
		e := zipEntry{
			flags:      binary.LittleEndian.Uint16(h[8:]),
			method:     binary.LittleEndian.Uint16(h[10:]),
			crc:        binary.LittleEndian.Uint32(h[16:]),
			compressed: int64(binary.LittleEndian.Uint32(h[20:])),
			size:       int64(binary.LittleEndian.Uint32(h[24:])),
			offset:     int64(binary.LittleEndian.Uint32(h[42:])),
		}
		nameLen := int(binary.LittleEndian.Uint16(h[28:]))
		extraLen := int(binary.LittleEndian.Uint16(h[30:]))
		commentLen := int(binary.LittleEndian.Uint16(h[32:]))
		if left -= int64(zipHeaderSize + nameLen + extraLen + commentLen); left < 0 {
			return fmt.Errorf("%w: an entry reaches beyond the directory", errZip)
		}
		if _, err := br.Discard(zipHeaderSize); err != nil {
			return early
		}
		name, err := br.Peek(min(nameLen, longestEntry))
		if err != nil {
			return early
		}
		rest := nameLen + extraLen + commentLen
		if e.compressed == 0xffffffff || e.size == 0xffffffff || e.offset == 0xffffffff {
			// The real sizes stand behind the name, in the extra field.
			name = bytes.Clone(name)
			if _, err := br.Discard(nameLen); err != nil {
				return early
			}
			extra := make([]byte, extraLen)
			if _, err := io.ReadFull(br, extra); err != nil {
				return early
			}
			e.enlarge(extra)
			rest = commentLen
		}
		if err := visit(name, e); err != nil {
			return err
		}
		if _, err := br.Discard(rest); err != nil {
			return early
		}
	}
	return nil
}

// enlarge takes the sizes that do not fit 32 bits out of the zip64 field.
func (e *zipEntry) enlarge(extra []byte) {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, v := range []*int64{&e.size, &e.compressed, &e.offset} {
			if *v == 0xffffffff && len(field) >= 8 {
				*v = int64(binary.LittleEndian.Uint64(field))
				field = field[8:]
			}
		}
		return
	}
}

// data is the stored bytes of an entry.
func (z *zipArchive) data(e zipEntry) (*io.SectionReader, error) {
	if e.flags&1 != 0 {
		return nil, errEncrypted
	}
	if e.method != 0 && e.method != 8 {
		return nil, fmt.Errorf("%w (method %d)", errMethod, e.method)
	}
	if e.offset < 0 || e.compressed < 0 || e.size < 0 || e.offset > z.r.Size()-z.base-zipLocalSize {
		return nil, fmt.Errorf("%w: the entry lies outside the file", errZip)
	}
	if e.method == 0 && e.compressed != e.size {
		return nil, fmt.Errorf("%w: a stored entry with two sizes", errZip)
	}
	at := z.base + e.offset
	var h [zipLocalSize]byte
	if _, err := z.r.ReadAt(h[:], at); err != nil {
		return nil, err
	}
	if string(h[:4]) != "PK\x03\x04" {
		return nil, fmt.Errorf("%w: no entry where the directory says", errZip)
	}
	at += zipLocalSize + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if at > z.r.Size() || e.compressed > z.r.Size()-at {
		return nil, fmt.Errorf("%w: the entry lies outside the file", errZip)
	}
	return io.NewSectionReader(z.r, at, e.compressed), nil
}

// unzipper inflates entries one after the other with the same buffers.
type unzipper struct {
	inflater io.ReadCloser
	buf      []byte
}

// unzip gives an entry's content to w and checks its size and sum.
func (u *unzipper) unzip(z *zipArchive, e zipEntry, w io.Writer) error {
	data, err := z.data(e)
	if err != nil {
		return err
	}
	var r io.Reader = data
	if e.method == 8 {
		if u.inflater == nil {
			u.inflater = flate.NewReader(data)
		} else if err := u.inflater.(flate.Resetter).Reset(data, nil); err != nil {
			return err
		}
		r = u.inflater
	}
	if u.buf == nil {
		u.buf = make([]byte, 32<<10)
	}
	sum := crc32.NewIEEE()
	n, err := io.CopyBuffer(io.MultiWriter(w, sum), io.LimitReader(r, e.size+1), u.buf)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errZip, err)
	case n != e.size:
		return fmt.Errorf("%w: the entry is not as long as the directory says", errZip)
	case sum.Sum32() != e.crc:
		return fmt.Errorf("%w: the entry's checksum is wrong", errZip)
	}
	return nil
}

// small reads an entry of at most `most` bytes.
func (u *unzipper) small(z *zipArchive, e zipEntry, most int64) ([]byte, error) {
	if e.size > most {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", errLimit, e.size, most)
	}
	var buf bytes.Buffer
	if err := u.unzip(z, e, &buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
