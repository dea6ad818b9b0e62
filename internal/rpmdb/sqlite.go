package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
)

// A reader of SQLite tables, by sqlite.org/fileformat2.html. The engine itself
// would need a file on disk, or a file system made up for it, and would read
// whatever schema an image brings; a walk over one table is all that is needed
// here, and it works within bounds on a stream's bytes.

const sqliteMagic = "SQLite format 3\x00"

// Types of b-tree pages.
const (
	sqliteInterior = 5
	sqliteLeaf     = 13
)

type sqliteFile struct {
	tree   *pages
	chain  *pages // overflow
	used   pageSet
	usable int // bytes of a page, without those reserved at its end
	buf    []byte
}

// sqliteRecords reads the file rpmdb.sqlite: its table Packages has the
// columns hnum, which is the row's number, and blob.
func sqliteRecords(r io.ReaderAt, size int64) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		db, err := openSQLite(r, size)
		if err != nil {
			yield(record{}, err)
			return
		}
		root := int64(0)
		for row, err := range db.rows(1) {
			if err != nil {
				if !yield(record{}, fmt.Errorf("read the schema: %w", err)) {
					return
				}
				continue
			}
			// type, name, tbl_name, rootpage, sql
			kind, _ := column(row.blob, 0)
			name, _ := column(row.blob, 1)
			if string(kind) == "table" && string(name) == "Packages" {
				page, _ := column(row.blob, 3)
				root = integer(page)
				break
			}
		}
		if root <= 1 {
			yield(record{}, errors.New("a SQLite database without rpm's table Packages"))
			return
		}
		for row, err := range db.rows(root) {
			if err == nil {
				var isBlob bool
				if row.blob, isBlob = column(row.blob, 1); !isBlob {
					row.blob, err = nil, fmt.Errorf("row %d has no blob", row.number)
				}
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func openSQLite(r io.ReaderAt, size int64) (*sqliteFile, error) {
	var head [100]byte
	if err := readAt(r, head[:], 0); err != nil {
		return nil, fmt.Errorf("read the database's header: %w", err)
	}
	pageSize := int(binary.BigEndian.Uint16(head[16:]))
	if pageSize == 1 {
		pageSize = 64 << 10
	}
	usable := pageSize - int(head[20])
	if pageSize < 512 || pageSize&(pageSize-1) != 0 || usable < 480 {
		return nil, fmt.Errorf("pages of %d bytes, %d of them usable", pageSize, usable)
	}
	if encoding := binary.BigEndian.Uint32(head[56:]); encoding > 1 {
		return nil, fmt.Errorf("text encoding %d is not supported (UTF-8 is, which rpm uses)", encoding)
	}
	return &sqliteFile{
		tree:   newPages(r, size, pageSize, 1),
		chain:  newPages(r, size, pageSize, max(1, runSize/pageSize)),
		used:   newPageSet(size / int64(pageSize)),
		usable: usable,
	}, nil
}

// use claims page n, which SQLite counts from 1.
func (db *sqliteFile) use(n uint32) error {
	if n == 0 || int64(n) > db.tree.count {
		return fmt.Errorf("page %d is not among the file's %d", n, db.tree.count)
	}
	if !db.used.add(int64(n) - 1) {
		return fmt.Errorf("page %d is used twice", n)
	}
	return nil
}

// rows yields the rows of the table whose b-tree has its root on the given
// page: each row's number, and as its blob the record with all columns.
func (db *sqliteFile) rows(root int64) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		if root > math.MaxUint32 {
			root = 0
		}
		if err := db.use(uint32(root)); err != nil {
			yield(record{}, err)
			return
		}
		// Pages to read, the next one last. A page is claimed before it gets
		// here, so there are never more than the file has.
		todo := []uint32{uint32(root)}
		for len(todo) > 0 {
			n := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			page, err := db.tree.page(int64(n) - 1)
			if err != nil {
				if !yield(record{}, fmt.Errorf("the rows below page %d are lost: %w", n, err)) {
					return
				}
				continue
			}
			page = page[:db.usable]
			head := page
			if n == 1 {
				head = page[100:] // after the file's header
			}
			kind, cells := head[0], int(binary.BigEndian.Uint16(head[3:]))
			switch {
			case kind == sqliteInterior && 12+2*cells <= len(head):
				// The last child has no cell; it goes on the stack first.
				for i := cells; i >= 0; i-- {
					child := head[8:12]
					if i < cells {
						off := int(binary.BigEndian.Uint16(head[12+2*i:]))
						child = page[min(off, len(page)-4):]
					}
					c := binary.BigEndian.Uint32(child)
					if err := db.use(c); err != nil {
						if !yield(record{}, fmt.Errorf("a part of the rows below page %d is lost: %w", n, err)) {
							return
						}
						continue
					}
					todo = append(todo, c)
				}
			case kind == sqliteLeaf && 8+2*cells <= len(head):
				if !db.leaf(n, page, head[8:8+2*cells], yield) {
					return
				}
			default:
				if !yield(record{}, fmt.Errorf("the rows below page %d are lost: it is of type %d with %d cells", n, kind, cells)) {
					return
				}
			}
		}
	}
}

// leaf yields the rows of a leaf page; offsets is the array of its cells.
func (db *sqliteFile) leaf(n uint32, page, offsets []byte, yield func(record, error) bool) bool {
	// Cells do not overlap, so all together they fit in the page.
	left := len(page)
	for ; len(offsets) > 0; offsets = offsets[2:] {
		off := int(binary.BigEndian.Uint16(offsets))
		row, used, err := db.cell(page[min(off, len(page)):])
		if err != nil {
			err = fmt.Errorf("row %d on page %d: %w", row.number, n, err)
		}
		if left -= used; left < 0 {
			return yield(record{}, fmt.Errorf("page %d: the rest of its rows is lost: they overlap", n))
		}
		if !yield(row, err) {
			return false
		}
	}
	return true
}

// cell reads a row, and says how many bytes of the page it takes.
func (db *sqliteFile) cell(cell []byte) (row record, used int, err error) {
	size, n := varint(cell)
	number, m := varint(cell[n:])
	if n == 0 || m == 0 {
		return record{}, 1, errors.New("the page ends within a row")
	}
	row.number = int64(number)
	used = n + m
	// A row has a few bytes besides the header.
	if most := uint64(min(maxHeader+64, db.tree.count*int64(db.tree.size))); size > most {
		return row, used, fmt.Errorf("%d bytes; there can be %d at most", size, most)
	}
	local := db.local(int(size))
	payload := cell[used:]
	if local == int(size) {
		if len(payload) < local {
			return row, used, errors.New("the page ends within the row")
		}
		row.blob = payload[:local]
		return row, used + local, nil
	}
	if len(payload) < local+4 {
		return row, used, errors.New("the page ends within the row")
	}
	used += local + 4
	db.buf = resize(db.buf, int(size))
	got := copy(db.buf, payload[:local])
	next := binary.BigEndian.Uint32(payload[local:])
	for got < len(db.buf) {
		if next == 0 {
			return row, used, fmt.Errorf("its pages end after %d of %d bytes", got, len(db.buf))
		}
		if err := db.use(next); err != nil {
			return row, used, err
		}
		page, err := db.chain.page(int64(next) - 1)
		if err != nil {
			return row, used, err
		}
		next = binary.BigEndian.Uint32(page)
		got += copy(db.buf[got:], page[4:db.usable])
	}
	row.blob = db.buf
	return row, used, nil
}

// local says how many bytes of a row lie on its leaf page. The others lie on
// overflow pages; the least that stays is chosen so that those are full.
func (db *sqliteFile) local(size int) int {
	most := db.usable - 35
	if size <= most {
		return size
	}
	least := (db.usable-12)*32/255 - 23
	if n := least + (size-least)%(db.usable-4); n <= most {
		return n
	}
	return least
}

// varint reads a number of one to nine bytes, most significant first; n is 0
// when b ends within it.
func varint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 9 {
		c := b[n]
		n++
		if n == 9 {
			return v<<8 | uint64(c), n
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, n
		}
	}
	return 0, 0
}

// column returns the bytes of a row's i-th column, and whether it is a blob. A
// row is a list of types, which imply lengths, and then the columns' bytes.
func column(row []byte, i int) (value []byte, isBlob bool) {
	length, n := varint(row)
	if n == 0 || length < uint64(n) || length > uint64(len(row)) {
		return nil, false
	}
	types, body := row[n:length], row[length:]
	for ; len(types) > 0; i-- {
		t, n := varint(types)
		if n == 0 {
			return nil, false
		}
		types = types[n:]
		var size uint64
		switch {
		case t >= 12:
			size = (t - 12) / 2
		case t <= 4:
			size = t
		case t == 5:
			size = 6
		case t == 6 || t == 7:
			size = 8
		}
		if size > uint64(len(body)) {
			return nil, false
		}
		if i == 0 {
			return body[:size], t >= 12 && t%2 == 0
		}
		body = body[size:]
	}
	return nil, false
}

// integer reads an integer column. The constants 0 and 1, which take no bytes,
// are 0 here: no table but the schema has its root on page 1.
func integer(b []byte) (v int64) {
	for _, c := range b {
		v = v<<8 | int64(c)
	}
	return v
}
