// Package tarstream reads a layer's tar stream once: it inflates (gzip, zstd),
// verifies both digests, and gives the layer's entries one by one, with their
// content as it passes by.
package tarstream

import "github.com/plimsoll/plimsoll"

// Kind is what an entry is to a container runtime.
type Kind uint8

const (
	Regular Kind = iota
	Dir
	Symlink
	Hardlink
	Other    // device, fifo, socket
	Whiteout // hides Path and all below it in lower layers
	Opaque   // hides all below the directory Path in lower layers
)

// Entry is one entry of a layer. It is valid until the next call of Next.
type Entry struct {
	// File has Path, Base, Size, Mode and, for a Regular entry, Head. The path
	// of a Whiteout is that of the file it hides.
	plimsoll.File
	Kind Kind
	// Link is the target: of a Symlink as written in the header, of a Hardlink
	// as a clean path relative to the image's root.
	Link string
}

// Files is a layer's entries in their order, and the content of each.
type Files interface {
	// Next moves to the next entry; io.EOF at the end of the layer.
	Next() (*Entry, error)
	// Read reads the content of the current Regular entry; it need not be
	// read to its end, or at all.
	Read(p []byte) (int, error)
}
