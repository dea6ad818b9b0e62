package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

const (
	// deepest directory that is entered; one file descriptor is held for each
	// on the way down.
	deepest = 500
	// mostNames of one directory: they are held to be sorted.
	mostNames = 1_000_000
	// mostGaps of a tree are told one by one.
	mostGaps = 1000
)

// openDir opens the root file system of an image that lies unpacked in a
// directory, as one layer.
func openDir(_ context.Context, dir string, o Options) ([]*Image, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, plimsoll.WithHint(fmt.Errorf("%s is not a directory", dir), "write archive:"+dir+" for an image archive")
	}
	return []*Image{newImage("dir", dir, plimsoll.Platform{}, func(ctx context.Context, rd Reader) (plimsoll.Image, error) {
		w, err := newWalk(ctx, dir, o.Limits)
		if err != nil {
			return plimsoll.Image{}, err
		}
		defer w.close()
		_, err = rd.Layer(ctx, &Layer{
			Label: "directory " + dir,
			Size:  -1,
			Files: w,
			Gaps:  w.allGaps,
		})
		if err != nil {
			return plimsoll.Image{}, err
		}
		return plimsoll.Image{Layers: []plimsoll.Layer{{Index: 0}}}, nil
	})}, nil
}

// walk gives the files of a directory tree in lexical order, each directory
// before what is in it. It never leaves the tree: symbolic links are entries,
// not ways. It implements tarstream.Files.
type walk struct {
	ctx     context.Context
	limits  plimsoll.Limits
	way     []*directory // from the root down
	entries int64
	entry   tarstream.Entry
	head    [plimsoll.HeadSize]byte

	// The current regular file.
	file   *os.File
	offset int64
	fail   error // why it cannot be read
	told   bool  // Read has said so

	gaps []plimsoll.Gap
	more int // gaps beyond mostGaps
}

// directory is one that is being walked.
type directory struct {
	*os.Root
	path   string
	names  []string // not visited yet
	device uint64
}

func newWalk(ctx context.Context, dir string, limits plimsoll.Limits) (*walk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	w := &walk{ctx: ctx, limits: limits}
	if err := w.enter(root, ""); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return w, nil
}

// enter goes down into a directory, whose Root it takes over unless it fails.
func (w *walk) enter(root *os.Root, path string) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d := &directory{Root: root, path: path, device: device(info)}
	if len(w.way) > 0 && d.device != w.way[len(w.way)-1].device && isPseudo(f) {
		return root.Close() // the kernel's, not the image's
	}
	for {
		names, err := f.Readdirnames(1 << 12)
		d.names = append(d.names, names...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if int64(len(d.names)) > min(w.limits.Entries, mostNames) {
			return fmt.Errorf("it has more than %d entries", min(w.limits.Entries, mostNames))
		}
	}
	slices.Sort(d.names)
	w.way = append(w.way, d)
	return nil
}

// Next implements tarstream.Files.
func (w *walk) Next() (*tarstream.Entry, error) {
	if w.fail != nil && !w.told {
		w.gap(w.entry.Path, w.fail)
	}
	w.leaveFile()
	for len(w.way) > 0 {
		if w.ctx.Err() != nil {
			return nil, context.Cause(w.ctx)
		}
		d := w.way[len(w.way)-1]
		if len(d.names) == 0 {
			w.way = w.way[:len(w.way)-1]
			if err := d.Close(); err != nil {
				return nil, err
			}
			continue
		}
		name := d.names[0]
		d.names = d.names[1:]
		if w.entries++; w.entries > w.limits.Entries {
			return nil, fmt.Errorf("the directory has more than %d entries, the limit that --max-entries sets", w.limits.Entries)
		}
		if w.visit(d, name) {
			return &w.entry, nil
		}
	}
	return nil, io.EOF
}

// visit makes name the current entry; false when there is none to be given.
func (w *walk) visit(d *directory, name string) bool {
	path := name
	if d.path != "" {
		path = d.path + "/" + name
	}
	info, err := d.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false // gone since the directory was read
	}
	if err != nil {
		w.gap(path, err)
		return false
	}
	w.entry = tarstream.Entry{File: plimsoll.File{Path: path, Base: name, Mode: info.Mode().Perm()}, Kind: tarstream.Other}
	switch {
	case info.IsDir():
		w.entry.Kind = tarstream.Dir
		if err := w.descend(d, name, path); err != nil {
			w.gap(path, err)
		}
	case info.Mode().IsRegular():
		w.entry.Kind, w.entry.Size = tarstream.Regular, info.Size()
		if w.entry.Size > 0 {
			w.fail = w.openFile(d, name)
		}
	case info.Mode()&fs.ModeSymlink != 0:
		w.entry.Kind = tarstream.Symlink
		if w.entry.Link, err = d.Readlink(name); err != nil {
			w.gap(path, err)
			return false
		}
	}
	return true
}

func (w *walk) descend(d *directory, name, path string) error {
	if len(w.way) >= deepest {
		return fmt.Errorf("more than %d directories within one another are not entered", deepest)
	}
	root, err := d.OpenRoot(name)
	if err != nil {
		return err
	}
	if err := w.enter(root, path); err != nil {
		return errors.Join(err, root.Close())
	}
	return nil
}

// openFile opens a regular file and reads its head.
func (w *walk) openFile(d *directory, name string) error {
	// Should it have become a pipe by now, opening it must not wait.
	f, err := d.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it changed while it was read")
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.entry.Size = info.Size()
	n, err := f.ReadAt(w.head[:min(w.entry.Size, plimsoll.HeadSize)], 0)
	if err != nil {
		return errors.Join(fmt.Errorf("reading: %w", err), f.Close())
	}
	w.file, w.entry.Head = f, w.head[:n]
	return nil
}

func (w *walk) leaveFile() {
	if w.file != nil {
		_ = w.file.Close() // it was only read
	}
	w.file, w.offset, w.fail, w.told = nil, 0, nil, false
}

// Read implements tarstream.Files.
func (w *walk) Read(b []byte) (int, error) {
	if w.fail != nil {
		w.told = true
		return 0, w.fail
	}
	left := w.entry.Size - w.offset
	if w.file == nil || left <= 0 {
		return 0, io.EOF
	}
	n, err := w.file.ReadAt(b[:min(int64(len(b)), left)], w.offset)
	w.offset += int64(n)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // it became shorter
	}
	return 0, err
}

// Section implements tarstream.Files.
func (w *walk) Section() *io.SectionReader {
	if w.file == nil {
		return nil
	}
	return io.NewSectionReader(w.file, 0, w.entry.Size)
}

func (w *walk) gap(path string, err error) {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the gap has the path
	}
	if len(w.gaps) >= mostGaps {
		w.more++
		return
	}
	w.gaps = append(w.gaps, plimsoll.Gap{Kind: plimsoll.Unreadable, Layer: plimsoll.NoLayer, Path: path, Reason: err.Error()})
}

// allGaps are those of which neither Next nor Read has given an error.
func (w *walk) allGaps() []plimsoll.Gap {
	if w.more == 0 {
		return w.gaps
	}
	return append(slices.Clip(w.gaps), plimsoll.Gap{
		Kind: plimsoll.Unreadable, Layer: plimsoll.NoLayer,
		Reason: fmt.Sprintf("%d more files and directories could not be read", w.more),
	})
}

func (w *walk) close() {
	w.leaveFile()
	for _, d := range w.way {
		_ = d.Close()
	}
}
