// Package tarstream reads a layer's tar stream once: it inflates (gzip, zstd),
// verifies both digests, and gives the layer's entries one by one, with their
// content as it passes by.
package tarstream

import (
	"archive/tar"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/plimsoll/plimsoll"
)

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
	// Escapes: the header's name climbs out of the image's root (or is a
	// whiteout of it). Docker refuses such a layer, others clamp the name.
	Escapes bool
}

// Files is a layer's entries in their order, and the content of each.
type Files interface {
	// Next moves to the next entry; io.EOF at the end of the layer.
	Next() (*Entry, error)
	// Read reads the content of the current Regular entry; it need not be
	// read to its end, or at all.
	Read(p []byte) (int, error)
	// Section gives the current entry's content at random where that costs
	// nothing; otherwise nil.
	Section() *io.SectionReader
}

const (
	whiteoutPrefix = ".wh."
	// whiteoutMeta marks what aufs kept for itself; only the opaque marker
	// means something to others (OCI image specification, layer.md, "Whiteouts").
	whiteoutMeta = ".wh..wh."
	opaqueMarker = ".wh..wh..opq"
)

// set makes e the entry that h describes. It reports false for what is no
// entry at all to a container runtime.
func (e *Entry) set(h *tar.Header) bool {
	*e = Entry{}
	e.Path, e.Escapes = clean(h.Name)
	e.Base = e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	e.Mode = fs.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont, '\x00':
		e.Kind, e.Size = Regular, h.Size
	case tar.TypeDir:
		e.Kind = Dir
	case tar.TypeSymlink:
		e.Kind, e.Link = Symlink, h.Linkname
	case tar.TypeLink:
		e.Kind = Hardlink
		e.Link, _ = clean(h.Linkname)
	case tar.TypeXGlobalHeader:
		return false
	default:
		e.Kind = Other
	}
	if strings.HasPrefix(e.Base, whiteoutPrefix) {
		dir := strings.TrimSuffix(strings.TrimSuffix(e.Path, e.Base), "/")
		hidden := e.Base[len(whiteoutPrefix):]
		switch {
		case e.Base == opaqueMarker:
			e.Kind, e.Path = Opaque, dir
		case strings.HasPrefix(e.Base, whiteoutMeta):
			return false
		case hidden == "" || hidden == "." || hidden == "..":
			// It would hide the directory itself or the one above it.
			e.Kind, e.Escapes = Other, true
		default:
			e.Kind, e.Path = Whiteout, strings.TrimPrefix(dir+"/"+hidden, "/")
		}
		e.Size = 0
		e.Base = e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	}
	return e.Path != "" || e.Kind == Opaque
}

// clean makes a header's name a path relative to the image's root. Names that
// climb out are kept inside it, as a runtime that does not refuse them does.
func clean(name string) (rel string, escapes bool) {
	rel = strings.TrimPrefix(strings.TrimSuffix(name, "/"), "./")
	if rel != "" && rel[0] != '/' && !strings.HasSuffix(rel, "/") && !strings.HasSuffix(rel, ".") &&
		!strings.Contains(rel, "//") && !strings.Contains(rel, "./") {
		return rel, false // nearly always
	}
	// path.Join of the whole would drop a leading "..": look for it first.
	inside := path.Clean(strings.TrimLeft(name, "/"))
	escapes = inside == ".." || strings.HasPrefix(inside, "../")
	return strings.TrimPrefix(path.Clean("/"+name), "/"), escapes
}

// isSparse: the content has holes, so it is not in one piece in the stream.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
