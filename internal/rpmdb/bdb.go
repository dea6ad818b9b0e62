package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
)

// Magic numbers at offset 12 of a Berkeley DB file, in the byte order of the
// machine that made it (libdb's src/dbinc/db_page.h describes the pages).
const (
	bdbHashMagic  = 0x061561
	bdbTreeMagic  = 0x053162
	bdbQueueMagic = 0x042253
	bdbHeapMagic  = 0x074582
)

// Types of pages, and of the items on a hash page.
const (
	bdbUnsorted = 2 // a hash page before version 9 of the format
	bdbOverflow = 7
	bdbHash     = 13

	bdbKeyData = 1 // the bytes themselves
	bdbOffPage = 3 // number of the first overflow page, and length

	bdbPageHeader = 26
)

// bdbFile is a hash database: page 0 describes the table, then come pages with
// items and overflow pages with items too long for them.
type bdbFile struct {
	order  binary.ByteOrder
	hash   *pages
	chain  *pages // overflow
	used   pageSet
	last   uint32 // last page
	bucket uint32 // last bucket
	keys   uint32 // pairs of key and value in all buckets
	spares []byte // 32 numbers; see each
	seen   uint32 // pairs found
	buf    []byte
}

// bdbRecords reads the file Packages. Keys are header numbers of four bytes;
// number 0 holds a counter and no header.
func bdbRecords(r io.ReaderAt, size int64, order binary.ByteOrder) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		db, err := openBDB(r, size, order)
		if err != nil {
			yield(record{}, err)
			return
		}
		if want := int64(db.last) + 1; db.hash.count < want {
			if !yield(record{}, fmt.Errorf("the file is cut off: it has %d pages of %d", db.hash.count, want)) {
				return
			}
		}
		// Each bucket has a page of its own. Those of a file that is cut off
		// are lost; its first page need not be believed about their number.
		for b := range min(int64(db.bucket)+1, db.hash.count) {
			if !db.each(uint32(b), yield) {
				return
			}
		}
		if db.seen != db.keys {
			yield(record{}, fmt.Errorf("it should hold %d records, and %d were found", db.keys, db.seen))
		}
	}
}

func openBDB(r io.ReaderAt, size int64, order binary.ByteOrder) (*bdbFile, error) {
	meta := make([]byte, 512)
	if err := readAt(r, meta, 0); err != nil {
		return nil, fmt.Errorf("read the database's first page: %w", err)
	}
	version, pageSize := order.Uint32(meta[16:]), order.Uint32(meta[20:])
	if version < 8 || version > 10 {
		return nil, fmt.Errorf("version %d of the Berkeley DB hash format is not supported (8 to 10 are)", version)
	}
	if pageSize < 512 || pageSize > 64<<10 || pageSize&(pageSize-1) != 0 {
		return nil, fmt.Errorf("pages of %d bytes", pageSize)
	}
	const checksums = 1
	if meta[24] != 0 || meta[26]&checksums != 0 {
		return nil, errors.New("a Berkeley DB with encryption or checksums, which rpm never makes, is not supported")
	}
	db := &bdbFile{
		order:  order,
		hash:   newPages(r, size, int(pageSize), 1),
		chain:  newPages(r, size, int(pageSize), runSize/int(pageSize)),
		last:   order.Uint32(meta[32:]),
		bucket: order.Uint32(meta[72:]),
		keys:   order.Uint32(meta[88:]),
		spares: meta[96 : 96+4*32],
	}
	if db.bucket >= db.last {
		return nil, fmt.Errorf("%d buckets on %d pages", uint64(db.bucket)+1, db.last)
	}
	if db.hash.count == 0 {
		return nil, errors.New("the file is cut off within its first page")
	}
	db.used = newPageSet(db.hash.count)
	db.used.add(0)
	return db, nil
}

// each yields the records of one bucket, which are on a chain of pages. The
// table doubles as it grows, and the pages of each doubling lie together: the
// number of a chain's first page is the bucket's plus a constant of the
// doubling.
func (db *bdbFile) each(bucket uint32, yield func(record, error) bool) bool {
	i := bits.Len32(bucket) // the doubling
	if i >= len(db.spares)/4 {
		return yield(record{}, fmt.Errorf("bucket %d has no page", bucket))
	}
	n := bucket + db.order.Uint32(db.spares[4*i:])
	for {
		page, err := db.page(db.hash, n, bdbHash, bdbUnsorted)
		if err != nil {
			return yield(record{}, fmt.Errorf("bucket %d: the rest of its headers is lost: %w", bucket, err))
		}
		if !db.items(n, page, yield) {
			return false
		}
		if n = db.order.Uint32(page[16:]); n == 0 {
			return true
		}
	}
}

// page reads page n, which must be new to us, know its own number and be of a
// type that is wanted.
func (db *bdbFile) page(from *pages, n uint32, types ...byte) ([]byte, error) {
	if n > db.last {
		return nil, fmt.Errorf("page %d lies beyond the last one, %d", n, db.last)
	}
	page, err := from.page(int64(n))
	if err != nil {
		return nil, err
	}
	if !db.used.add(int64(n)) {
		return nil, fmt.Errorf("page %d is used twice", n)
	}
	if own := db.order.Uint32(page[8:]); own != n {
		return nil, fmt.Errorf("page %d says that it is page %d", n, own)
	}
	for _, t := range types {
		if page[25] == t {
			return page, nil
		}
	}
	return nil, fmt.Errorf("page %d is of type %d", n, page[25])
}

// items yields the records of one hash page. Its items lie from the page's end
// downwards, keys and values in turn; the table of their offsets follows the
// page's header.
func (db *bdbFile) items(n uint32, page []byte, yield func(record, error) bool) bool {
	count := int(db.order.Uint16(page[20:]))
	table := bdbPageHeader + 2*count
	if table > len(page) || count%2 != 0 {
		return yield(record{}, fmt.Errorf("page %d: its headers are lost: %d items", n, count))
	}
	end := len(page)
	item := func(i int) ([]byte, error) {
		off := int(db.order.Uint16(page[bdbPageHeader+2*i:]))
		if off < table || off >= end {
			return nil, fmt.Errorf("page %d: the rest of its headers is lost: item %d lies from %d to %d", n, i, off, end)
		}
		data := page[off:end]
		end = off
		return data, nil
	}
	for i := 0; i < count; i += 2 {
		key, err := item(i)
		if err != nil {
			return yield(record{}, err)
		}
		value, err := item(i + 1)
		if err != nil {
			return yield(record{}, err)
		}
		db.seen++
		if key[0] != bdbKeyData || len(key) != 1+4 {
			if !yield(record{}, fmt.Errorf("page %d: item %d is no header's number", n, i)) {
				return false
			}
			continue
		}
		number := db.order.Uint32(key[1:])
		if number == 0 && value[0] == bdbKeyData && len(value) == 1+4 {
			continue
		}
		rec := record{number: int64(number)}
		if rec.blob, err = db.value(value); err != nil {
			err = fmt.Errorf("header %d: %w", number, err)
		}
		if !yield(rec, err) {
			return false
		}
	}
	if lowest := int(db.order.Uint16(page[22:])); lowest != end%(64<<10) {
		return yield(record{}, fmt.Errorf("page %d: headers are lost: its items begin at %d, not %d", n, lowest, end))
	}
	return true
}

// value returns an item's bytes, put together from overflow pages if need be.
func (db *bdbFile) value(item []byte) ([]byte, error) {
	switch {
	case item[0] == bdbKeyData:
		return item[1:], nil
	case item[0] != bdbOffPage || len(item) != 12:
		return nil, fmt.Errorf("an item of type %d and %d bytes", item[0], len(item))
	}
	n, length := db.order.Uint32(item[4:]), db.order.Uint32(item[8:])
	if most := min(maxHeader, db.chain.count*int64(db.chain.size)); int64(length) > most {
		return nil, fmt.Errorf("%d bytes; there can be %d at most", length, most)
	}
	db.buf = resize(db.buf, int(length))
	for got := 0; got < len(db.buf); {
		if n == 0 {
			return nil, fmt.Errorf("its pages end after %d of %d bytes", got, len(db.buf))
		}
		page, err := db.page(db.chain, n, bdbOverflow)
		if err != nil {
			return nil, err
		}
		end := bdbPageHeader + int(db.order.Uint16(page[22:]))
		if end > len(page) {
			return nil, fmt.Errorf("page %d holds %d bytes", n, end)
		}
		got += copy(db.buf[got:], page[bdbPageHeader:end])
		n = db.order.Uint32(page[16:])
	}
	return db.buf, nil
}
