package image

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/plimsoll/plimsoll"
)

// openArchive opens an image archive: a file, or "-" for standard input. A
// plain tar file is indexed and read at random; everything else is a stream,
// of which only reading tells what it is.
func openArchive(ctx context.Context, path, ref string, o Options) ([]*Image, error) {
	if path == "-" {
		if o.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		return openStream(o.Stdin, path, ref, o)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, plimsoll.WithHint(fmt.Errorf("%s is a directory", path), "write oci:"+path+" for an OCI layout and dir:"+path+" for a root file system")
	case info.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) != 0:
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return openStream(f, path, ref, o)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kind, err := sniffFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch kind {
	case isTar:
		images, err := openIndexed(ctx, f, path, ref, o)
		if !errors.Is(err, errSparse) {
			return images, err
		}
	case isGzip, isZstd:
	default:
		return nil, fmt.Errorf("%s: %w", path, notArchive(kind))
	}
	name := withRef(path, ref)
	return []*Image{newImage("archive", name, plimsoll.Platform{}, func(ctx context.Context, rd Reader) (plimsoll.Image, error) {
		f, err := os.Open(path)
		if err != nil {
			return plimsoll.Image{}, err
		}
		defer f.Close()
		img, err := readArchiveStream(ctx, f, ref, o, rd)
		if err != nil {
			return img, fmt.Errorf("%s: %w", path, err)
		}
		return img, nil
	})}, nil
}

// sniffFile tells what a file is and goes back to its beginning.
func sniffFile(f *os.File) (content, error) {
	head, err := peek(bufio.NewReaderSize(f, sniffSize))
	if err != nil {
		return isOther, err
	}
	if len(head) == 0 {
		return isOther, errors.New("the file is empty")
	}
	_, err = f.Seek(0, io.SeekStart)
	return sniff(head), err
}

// openStream makes an Image of a stream that can be read once. A pipe that was
// opened for it is closed by reading it.
func openStream(r io.Reader, path, ref string, o Options) ([]*Image, error) {
	what := path
	if path == "-" {
		what = "archive on standard input"
	}
	var taken atomic.Bool
	return []*Image{newImage("archive", withRef(path, ref), plimsoll.Platform{}, func(ctx context.Context, rd Reader) (plimsoll.Image, error) {
		if taken.Swap(true) {
			return plimsoll.Image{}, fmt.Errorf("%s: a stream can be read once only", what)
		}
		if f, ok := r.(*os.File); ok && path != "-" {
			defer f.Close()
		}
		img, err := readArchiveStream(ctx, r, ref, o, rd)
		if err != nil {
			return img, fmt.Errorf("%s: %w", what, err)
		}
		return img, nil
	})}, nil
}

// errSparse is an archive whose members are not all in one piece.
var errSparse = errors.New("sparse member")

// indexed is a tar file whose members are known by their offsets.
type indexed struct {
	saved
	path    string
	members map[string]extent
}

type extent struct{ offset, size int64 }

// openIndexed reads the headers of a plain tar file, and then what describes
// the image.
func openIndexed(ctx context.Context, f *os.File, path, ref string, o Options) ([]*Image, error) {
	a := &indexed{path: path, members: map[string]extent{}}
	a.saved = saved{links: map[string]string{}, has: a.has, small: func(name string) ([]byte, error) { return a.small(f, name) }}
	if err := a.index(ctx, f, o.Limits); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	images, err := a.images(ctx, ref, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var opened []*Image
	for _, img := range images {
		facts, parts, err := a.parts(img)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		opened = append(opened, newImage("archive", withRef(path, ref), facts.Platform, func(ctx context.Context, rd Reader) (plimsoll.Image, error) {
			if err := readParts(ctx, rd, facts, parts); err != nil {
				return plimsoll.Image{}, fmt.Errorf("%s: %w", path, err)
			}
			return facts, nil
		}))
	}
	return opened, nil
}

func (a *indexed) index(ctx context.Context, f *os.File, limits plimsoll.Limits) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return eachMember(ctx, f, limits, func(h *tar.Header, _ io.Reader) error {
		name := member(h.Name)
		if len(name) > longestMember {
			return nil
		}
		delete(a.members, name) // the last of several of one name counts
		delete(a.links, name)
		switch h.Typeflag {
		case tar.TypeSymlink:
			a.link(name, h.Linkname, true)
		case tar.TypeLink:
			a.link(name, h.Linkname, false)
		case tar.TypeGNUSparse:
			return errSparse
		case tar.TypeReg:
			for key := range h.PAXRecords {
				if strings.HasPrefix(key, "GNU.sparse.") {
					return errSparse
				}
			}
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			if h.Size > info.Size()-offset {
				return fmt.Errorf("%s: %w", plain(name), errTruncated)
			}
			a.members[name] = extent{offset, h.Size}
		}
		if len(a.members)+len(a.links) > mostMembers {
			return plimsoll.WithHint(
				fmt.Errorf("the archive has more than %d members: it is no image archive", mostMembers),
				"for the files of a container, unpack them and write dir:DIRECTORY")
		}
		return nil
	})
}

func (a *indexed) has(name string) bool {
	name, err := a.follow(name)
	if err != nil {
		return false
	}
	_, ok := a.members[name]
	return ok
}

func (a *indexed) small(f *os.File, name string) ([]byte, error) {
	m, ok := a.members[name]
	if !ok {
		return nil, errAbsent
	}
	if m.size > jsonLimit {
		return nil, fmt.Errorf("it has %d bytes, more than %d MiB, which no manifest or configuration needs", m.size, jsonLimit>>20)
	}
	content := make([]byte, m.size) // bounded above, and by the file's size
	if _, err := f.ReadAt(content, m.offset); err != nil {
		return nil, err
	}
	return content, nil
}

// parts finds the layers of an image among the members.
func (a *indexed) parts(img *savedImage) (plimsoll.Image, []part, error) {
	facts := img.facts
	parts := make([]part, len(img.layers))
	for i, path := range img.layers {
		label := layerLabel(i, plain(path))
		target, err := a.follow(path)
		if err != nil {
			return facts, nil, labelled(label, err)
		}
		m, ok := a.members[target]
		if !ok {
			return facts, nil, labelled(label, fmt.Errorf("the archive does not have it: %w", errAbsent))
		}
		l := &facts.Layers[i]
		if l.Size == 0 {
			l.Size = m.size
		}
		if l.Size != m.size {
			return facts, nil, labelled(label, fmt.Errorf("it has %d bytes, not %d as its descriptor says", m.size, l.Size))
		}
		parts[i] = part{name: plain(target), open: func(context.Context) (*blob, error) {
			f, err := os.Open(a.path)
			if err != nil {
				return nil, err
			}
			section := io.NewSectionReader(f, m.offset, m.size)
			return &blob{ReadCloser: sectionFile{section, f}, at: section, size: m.size}, nil
		}}
	}
	return facts, parts, nil
}

// sectionFile is a part of a file, which is closed with it.
type sectionFile struct {
	*io.SectionReader
	io.Closer
}
