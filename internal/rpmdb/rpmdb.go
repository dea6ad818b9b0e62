// Package rpmdb reads rpm's package databases as they lie in an image: Berkeley
// DB hash (Packages), NDB (Packages.db) and SQLite (rpmdb.sqlite).
//
// All three hold the same thing, a number and a header for each package, so
// each kind is a sequence of records (bdb.go, ndb.go, sqlite.go) and one parser
// reads the headers (header.go). The readers work straight on an io.ReaderAt
// and hold one header at a time. rpm's own index files are not needed.
package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// Package is one installed package. Its strings are the bytes of the header,
// which need not be UTF-8. Keys that were imported into the database are
// packages too, named gpg-pubkey.
type Package struct {
	Name, Version, Release string
	// Epoch is -1 where the header has none.
	Epoch     int
	Arch      string
	SourceRPM string // "bash-5.1.8-6.el9.src.rpm"
	Vendor    string
	License   string
	// Modularity label: name:stream:version:context.
	Modularity string
	// Summary in one line.
	Summary string
	// DigestAlgorithm of the files' digests, as in RFC 4880 9.4: 1 MD5, 8
	// SHA-256. MD5 where the header does not say.
	DigestAlgorithm int
	Files           []File
}

// File is one file that a package owns.
type File struct {
	Path   string // absolute, as rpm has it
	Digest string // hexadecimal; empty for what is no regular file
	Mode   uint16
	Flags  uint32 // RPMFILE_CONFIG, _GHOST, _DOC ...
	Size   int64
}

// What one header may cost. The greatest headers known are those of packages
// with 100,000 files and a signature on each, near 20 MiB.
const (
	maxHeader = 32 << 20 // bytes of one header
	maxFiles  = 1 << 18  // files of one package
	maxText   = 64 << 10 // bytes of a single string, such as the licence
	// maxPaths bounds the bytes of a package's paths by the header's size, as
	// every path is written as a directory's number and a name: a header of a
	// kilobyte could stand for gigabytes. A file takes some 90 bytes of an
	// honest header without its digest.
	maxPaths = 4
)

// record is one value of the database: a package's header as stored.
type record struct {
	number int64  // rpm's own number for the header
	blob   []byte // valid until the next record; nil when it could not be read
}

// Each calls yield for every package of the database in r, whichever of the
// three kinds it is. The package is yield's to keep.
//
// An error of yield ends the reading and is returned as it is. Damage does not
// end it: whatever can be read is yielded, and the error returned at the end
// says what could not be. A package whose list of files alone is damaged is
// yielded without Files, and named in the error.
func Each(r io.ReaderAt, size int64, yield func(*Package) error) error {
	records, err := open(r, size)
	if err != nil {
		return err
	}
	var bad damage
	for rec, err := range records {
		if err != nil {
			bad.add(err)
		}
		if bad.gaveUp() {
			break
		}
		if rec.blob == nil {
			continue
		}
		p, err := parseHeader(rec.blob)
		if err != nil {
			bad.add(fmt.Errorf("header %d: %w", rec.number, err))
		}
		if p == nil {
			continue
		}
		if err := yield(p); err != nil {
			return err
		}
	}
	return bad.err()
}

// open tells the kind of database by its magic number.
func open(r io.ReaderAt, size int64) (iter.Seq2[record, error], error) {
	if size == 0 {
		return nil, errors.New("the file is empty, no rpm database")
	}
	var head [16]byte
	if size < int64(len(head)) {
		return nil, fmt.Errorf("%d bytes are no rpm database", size)
	}
	if err := readAt(r, head[:], 0); err != nil {
		return nil, fmt.Errorf("read the file's first bytes: %w", err)
	}
	switch {
	case string(head[:]) == sqliteMagic:
		return sqliteRecords(r, size), nil
	case string(head[:4]) == ndbMagic:
		return ndbRecords(r, size), nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(head[12:]) {
		case bdbHashMagic:
			return bdbRecords(r, size, order), nil
		case bdbTreeMagic, bdbQueueMagic, bdbHeapMagic:
			return nil, plimsoll.WithHint(
				errors.New("a Berkeley DB file, but not of the hash kind that rpm keeps its packages in"),
				"rpm's packages are in the file Packages; the others of its directory are indexes")
		}
	}
	return nil, fmt.Errorf("neither a Berkeley DB, an NDB nor a SQLite database: it begins with %q", head)
}

// readAt fills buf from offset off of r.
func readAt(r io.ReaderAt, buf []byte, off int64) error {
	n, err := r.ReadAt(buf, off)
	if n == len(buf) {
		return nil // io.ReaderAt may give io.EOF with the last bytes
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A hostile file could have an error in every few bytes. The first ones tell
// what is wrong, and a file with too many is not read to its end.
const (
	toldErrors = 8
	maxErrors  = 10_000
)

// damage is what could not be read.
type damage struct {
	errs []error
	more int
}

func (d *damage) add(err error) {
	if len(d.errs) == toldErrors {
		d.more++
		return
	}
	d.errs = append(d.errs, err)
}

func (d *damage) gaveUp() bool { return len(d.errs)+d.more >= maxErrors }

// err is nil when nothing is damaged.
func (d *damage) err() error {
	if len(d.errs) == 0 {
		return nil
	}
	return d
}

// Error is one line.
func (d *damage) Error() string {
	var b strings.Builder
	for i, err := range d.errs {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	if d.more > 0 {
		fmt.Fprintf(&b, "; and %d more", d.more)
	}
	if d.gaveUp() {
		b.WriteString("; the rest was not read")
	}
	return b.String()
}

func (d *damage) Unwrap() []error { return d.errs }
