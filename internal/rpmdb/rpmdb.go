// Package rpmdb reads rpm's package databases as they lie in an image: Berkeley
// DB hash (Packages), NDB (Packages.db) and SQLite (rpmdb.sqlite).
package rpmdb

import "io"

// Package is one installed package.
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
	// DigestAlgorithm of the files' digests, as in RFC 4880 9.4: 1 MD5, 8 SHA-256.
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

// Each calls yield for every package of the database in r, whichever of the
// three kinds it is. It stops at the first error, of reading or of yield.
func Each(r io.ReaderAt, size int64, yield func(*Package) error) error {
	panic("being written")
}
