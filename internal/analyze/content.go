package analyze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/semaphore"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

// inMemory is the largest file that is held in memory for its detectors; a
// larger one goes to a temporary file. One such buffer exists per layer that
// is being read.
const inMemory = 8 << 20

// Spool bounds the temporary files of all layers that are read at one time.
type Spool struct {
	max   int64
	bytes *semaphore.Weighted
}

// NewSpool allows max bytes at one time.
func NewSpool(max int64) *Spool { return &Spool{max, semaphore.NewWeighted(max)} }

// errLimit is content that a limit keeps from being read; it becomes a Gap.
var errLimit = errors.New("over the limit")

// spoolError is trouble with a temporary file, which ends the scan: it says
// nothing about the layer.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return "temporary file: " + e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// spoolFile tells trouble in writing from trouble in reading what is written.
type spoolFile struct{ file *os.File }

func (s spoolFile) Write(b []byte) (int, error) {
	n, err := s.file.Write(b)
	if err != nil {
		err = &spoolError{err}
	}
	return n, err
}

// content gives the detectors of one file random access to it, one file at a
// time.
type content struct {
	limits plimsoll.Limits
	spool  *Spool
	buf    []byte
	file   *os.File
	held   int64
}

// open gives the content of the current entry of files. The section is valid
// until release.
func (c *content) open(ctx context.Context, files tarstream.Files, e *tarstream.Entry) (*io.SectionReader, error) {
	if e.Size > c.limits.FileSize {
		return nil, fmt.Errorf("%w: %d bytes, more than --max-file-size (%d)", errLimit, e.Size, c.limits.FileSize)
	}
	if s := files.Section(); s != nil {
		return s, nil
	}
	if e.Size == int64(len(e.Head)) {
		c.buf = append(c.buf[:0], e.Head...)
		return io.NewSectionReader(bytes.NewReader(c.buf), 0, e.Size), nil
	}
	if e.Size <= inMemory {
		if int64(cap(c.buf)) < e.Size {
			c.buf = make([]byte, max(e.Size, 64<<10))
		}
		c.buf = c.buf[:e.Size]
		if _, err := io.ReadFull(files, c.buf); err != nil {
			return nil, err
		}
		return io.NewSectionReader(bytes.NewReader(c.buf), 0, e.Size), nil
	}
	if e.Size > c.spool.max {
		return nil, fmt.Errorf("%w: %d bytes, more than --max-spool (%d)", errLimit, e.Size, c.spool.max)
	}
	// A layer holds at most one spooled file, so waiting for room ends.
	if err := c.spool.bytes.Acquire(ctx, e.Size); err != nil {
		return nil, err
	}
	c.held = e.Size
	file, err := os.CreateTemp("", "plimsoll-spool-")
	if err != nil {
		return nil, &spoolError{err}
	}
	c.file = file
	// Nobody else needs the name, and nothing is left behind by a kill.
	if err := os.Remove(file.Name()); err != nil {
		return nil, &spoolError{err}
	}
	if n, err := io.Copy(spoolFile{file}, io.LimitReader(files, e.Size)); err != nil {
		return nil, err
	} else if n != e.Size {
		return nil, io.ErrUnexpectedEOF
	}
	return io.NewSectionReader(file, 0, e.Size), nil
}

// release ends the use of the last section.
func (c *content) release() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
	if c.held > 0 {
		c.spool.bytes.Release(c.held)
		c.held = 0
	}
}
