package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll/plimsoll"
)

// content is what some bytes are, told by how they begin.
type content int

const (
	isOther content = iota
	isTar
	isGzip
	isZstd
	isJSON
	isXML
	isForeignCompression // bzip2, xz: no image tool writes it
)

// sniffSize is what sniff wants to see: one header of a tar archive.
const sniffSize = 512

// sniff tells what head, the first sniffSize bytes or all there are, begins.
func sniff(head []byte) content {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return isGzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		// A skippable frame (RFC 8878, section 3.1.2), as zstd:chunked has it.
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return isZstd
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return isForeignCompression
	case isTarHeader(head):
		return isTar
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")):
		return isJSON
	case bytes.HasPrefix(text, []byte("<")):
		return isXML
	}
	return isOther
}

// isTarHeader checks a header's checksum (POSIX pax, "ustar Interchange
// Format"); there are no magic bytes in the oldest form. An empty archive
// begins with its end.
func isTarHeader(head []byte) bool {
	if len(head) < sniffSize {
		return false
	}
	head = head[:sniffSize]
	if bytes.Count(head, []byte{0}) == sniffSize {
		return true
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	// A long name or PAX record goes on in the next block.
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// peek gives the beginning of r without taking it away.
func peek(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(sniffSize)
	if err == io.EOF {
		err = nil
	}
	return head, err
}

// outerWindow is the largest zstd window of an archive that is held in memory.
const outerWindow = 64 << 20

// inflated gives the tar stream of an archive that may be compressed as a
// whole.
func inflated(r io.Reader, limits plimsoll.Limits) (io.ReadCloser, error) {
	stored := &counter{r: r}
	buffered := bufio.NewReaderSize(stored, 64<<10)
	head, err := peek(buffered)
	if err != nil {
		return nil, err
	}
	if len(head) == 0 {
		return nil, errors.New("it is empty")
	}
	var inner io.ReadCloser
	switch kind := sniff(head); kind {
	case isTar:
		return io.NopCloser(buffered), nil
	case isGzip:
		inner, err = gzip.NewReader(buffered)
	case isZstd:
		var d *zstd.Decoder
		d, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(outerWindow))
		if err == nil {
			inner = d.IOReadCloser()
		}
	default:
		return nil, notArchive(kind)
	}
	if err != nil {
		return nil, fmt.Errorf("inflating: %w", err)
	}
	return &ratioed{ReadCloser: inner, stored: stored, ratio: limits.Ratio}, nil
}

func notArchive(kind content) error {
	if kind == isForeignCompression {
		return plimsoll.WithHint(errors.New("it is compressed with bzip2 or xz, which image archives are not"), "decompress it first and pass it on: xz -dc FILE | plimsoll scan -")
	}
	return errors.New("it is no tar archive, plain or compressed with gzip or zstd")
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// ratioed stops a decompression bomb.
type ratioed struct {
	io.ReadCloser
	stored *counter
	given  int64
	ratio  int64
}

func (r *ratioed) Read(b []byte) (int, error) {
	const grace = 64 << 20
	n, err := r.ReadCloser.Read(b)
	r.given += int64(n)
	if r.given > grace && r.given/r.ratio > r.stored.n {
		return n, fmt.Errorf("it expands more than %d-fold, the limit that --max-ratio sets", r.ratio)
	}
	return n, err
}
