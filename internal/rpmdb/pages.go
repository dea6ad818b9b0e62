package rpmdb

import (
	"fmt"
	"io"
)

// runSize is how many bytes are read at once: a header's pages mostly lie one
// after the other.
const runSize = 64 << 10

// pages reads the pages of a file. Pages are numbered from 0.
type pages struct {
	r     io.ReaderAt
	size  int   // of a page, in bytes
	count int64 // whole pages in the file
	most  int   // how many are read at once
	run   []byte
	first int64 // number of the run's first page
}

func newPages(r io.ReaderAt, fileSize int64, pageSize, most int) *pages {
	return &pages{r: r, size: pageSize, count: fileSize / int64(pageSize), most: most}
}

// page returns page n, valid until the next call.
func (p *pages) page(n int64) ([]byte, error) {
	if n < 0 || n >= p.count {
		return nil, fmt.Errorf("page %d lies beyond the end of the file, which has %d pages", n, p.count)
	}
	if off := (n - p.first) * int64(p.size); n >= p.first && off < int64(len(p.run)) {
		return p.run[off : off+int64(p.size)], nil
	}
	length := int(min(int64(p.most), p.count-n)) * p.size
	p.run = resize(p.run, length)
	p.first = n
	if err := readAt(p.r, p.run, n*int64(p.size)); err != nil {
		p.run = p.run[:0]
		return nil, fmt.Errorf("page %d: %w", n, err)
	}
	return p.run[:p.size], nil
}

// resize returns a slice of n bytes, buf's own if they fit. The bytes are not
// kept.
func resize(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}

// pageSet is a set of page numbers. In a sound database no page is used twice;
// refusing a second use ends every loop.
type pageSet []uint64

func newPageSet(count int64) pageSet { return make(pageSet, (count+63)/64) }

// add reports whether page n, which must be below the count, was not yet in
// the set.
func (s pageSet) add(n int64) bool {
	bit := uint64(1) << (n % 64)
	fresh := s[n/64]&bit == 0
	s[n/64] |= bit
	return fresh
}
