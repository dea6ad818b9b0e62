package rpmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// The tags that are read, of rpm's docs/manual/tags.md.
const (
	tagName         = 1000
	tagVersion      = 1001
	tagRelease      = 1002
	tagEpoch        = 1003
	tagSummary      = 1004
	tagVendor       = 1011
	tagLicense      = 1014
	tagArch         = 1022
	tagOldFileNames = 1027 // whole paths; packages of rpm 3
	tagFileSizes    = 1028
	tagFileModes    = 1030
	tagFileDigests  = 1035
	tagFileFlags    = 1037
	tagSourceRPM    = 1044
	tagDirIndexes   = 1116
	tagBaseNames    = 1117
	tagDirNames     = 1118
	tagLongSizes    = 5008 // 64 bits, in place of tagFileSizes
	tagDigestAlgo   = 5011
	tagModularity   = 5096
)

// The types of data that are read.
const (
	typeInt16       = 3
	typeInt32       = 4
	typeInt64       = 5
	typeString      = 6
	typeStringArray = 8
	typeI18NString  = 9 // one string per locale; the first is that of "C"
)

// parseHeader reads a header as it lies in a database: two counts, an index
// with 16 bytes per entry, and the data that the entries point into, all big
// endian (rpm's docs/manual/format.md, without the magic number that it has in
// a package file). It returns no package when it cannot tell which one it is,
// and both a package and an error when only the files cannot be read.
func parseHeader(blob []byte) (*Package, error) {
	if len(blob) > maxHeader {
		return nil, fmt.Errorf("%d bytes; the limit is %d", len(blob), maxHeader)
	}
	if len(blob) < 8 {
		return nil, fmt.Errorf("%d bytes are no header", len(blob))
	}
	entries, data := binary.BigEndian.Uint32(blob), binary.BigEndian.Uint32(blob[4:])
	if want := 8 + 16*uint64(entries) + uint64(data); want != uint64(len(blob)) {
		return nil, fmt.Errorf("%d entries and %d bytes of data make %d bytes, but it has %d", entries, data, want, len(blob))
	}
	h := &header{index: blob[8 : 8+16*entries], data: blob[8+16*entries:]}
	p := &Package{
		Name:            h.text(tagName),
		Version:         h.text(tagVersion),
		Release:         h.text(tagRelease),
		Epoch:           h.number(tagEpoch, -1),
		Arch:            h.text(tagArch),
		SourceRPM:       h.text(tagSourceRPM),
		Vendor:          h.text(tagVendor),
		License:         h.text(tagLicense),
		Modularity:      h.text(tagModularity),
		Summary:         h.text(tagSummary),
		DigestAlgorithm: h.number(tagDigestAlgo, 1),
	}
	switch {
	case h.err != nil:
		return nil, named(p, h.err)
	case p.Name == "":
		return nil, errors.New("it has no name")
	case p.Version == "":
		return nil, named(p, errors.New("it has no version"))
	}
	p.Files = h.files()
	if h.err != nil {
		p.Files = nil
		return p, named(p, fmt.Errorf("its list of files: %w", h.err))
	}
	return p, nil
}

// named says which package err is about, where that is known.
func named(p *Package, err error) error {
	if p.Name == "" {
		return err
	}
	return fmt.Errorf("package %.80q: %w", p.Name, err)
}

// header is a header's two parts, and the first error met in reading them.
// After an error every method returns nothing.
type header struct {
	index, data []byte
	err         error
}

func (h *header) fail(tag uint32, format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf("tag %d: %w", tag, fmt.Errorf(format, args...))
	}
}

// find returns the data from where the tag's values begin, and their type and
// count; count is 0 where the header lacks the tag. The last entry of a tag
// counts: installing a package leaves its signed header whole and appends what
// it changed, such as the names of relocated files (docs/manual/hregions.md).
func (h *header) find(tag uint32) (data []byte, kind, count uint32) {
	if h.err != nil {
		return nil, 0, 0
	}
	for i := len(h.index) - 16; i >= 0; i -= 16 {
		e := h.index[i : i+16]
		if binary.BigEndian.Uint32(e) != tag {
			continue
		}
		kind, count = binary.BigEndian.Uint32(e[4:]), binary.BigEndian.Uint32(e[12:])
		off := binary.BigEndian.Uint32(e[8:])
		if uint64(off) > uint64(len(h.data)) || count == 0 {
			h.fail(tag, "%d values at offset %d of %d bytes", count, off, len(h.data))
			return nil, 0, 0
		}
		return h.data[off:], kind, count
	}
	return nil, 0, 0
}

// text is the tag's only or first string.
func (h *header) text(tag uint32) string {
	data, kind, count := h.find(tag)
	if count == 0 {
		return ""
	}
	if kind != typeString && kind != typeStringArray && kind != typeI18NString {
		h.fail(tag, "type %d is no string", kind)
		return ""
	}
	data = data[:min(len(data), maxText)]
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		h.fail(tag, "the string does not end within %d bytes", len(data))
		return ""
	}
	if s := string(data[:end]); s != "(none)" {
		return s
	}
	return "" // rpm's word for no value; the headers of keys hold it as a string
}

// strings is the tag's array: count strings, each ended by a zero byte.
func (h *header) strings(tag uint32) (data []byte, count int) {
	data, kind, n := h.find(tag)
	if n == 0 {
		return nil, 0
	}
	if kind != typeStringArray {
		h.fail(tag, "type %d is no array of strings", kind)
		return nil, 0
	}
	if n > maxFiles {
		h.fail(tag, "%d values; the limit is %d", n, maxFiles)
		return nil, 0
	}
	end := 0
	for i := range n {
		length := bytes.IndexByte(data[end:], 0)
		if length < 0 {
			h.fail(tag, "the header ends within string %d of %d", i+1, n)
			return nil, 0
		}
		end += length + 1
	}
	return data[:end], int(n)
}

// cut takes the first string off an array that the method strings returned.
func cut(array []byte) (first, rest []byte) {
	end := bytes.IndexByte(array, 0)
	return array[:end], array[end+1:]
}

// ints is the tag's integers, big endian, width bytes each.
func (h *header) ints(tag, kind uint32, width int) (data []byte, count int) {
	data, got, n := h.find(tag)
	if n == 0 {
		return nil, 0
	}
	if got != kind {
		h.fail(tag, "type %d; it should be %d", got, kind)
		return nil, 0
	}
	if uint64(n) > uint64(len(data)/width) {
		h.fail(tag, "the header ends within its %d integers", n)
		return nil, 0
	}
	return data[:int(n)*width], int(n)
}

// number is the tag's first integer of 32 bits, or absent.
func (h *header) number(tag uint32, absent int) int {
	data, count := h.ints(tag, typeInt32, 4)
	if count == 0 {
		return absent
	}
	return int(binary.BigEndian.Uint32(data))
}

// files puts together what the header keeps as one array per property.
func (h *header) files() []File {
	files := h.paths()
	if len(files) == 0 {
		return nil
	}
	// The digests become one string that all files share.
	if array, n := h.strings(tagFileDigests); h.same(tagFileDigests, n, len(files)) {
		rest := string(array)
		for i := range files {
			files[i].Digest, rest, _ = strings.Cut(rest, "\x00")
		}
	}
	if data, n := h.ints(tagFileModes, typeInt16, 2); h.same(tagFileModes, n, len(files)) {
		for i := range files {
			files[i].Mode = binary.BigEndian.Uint16(data[2*i:])
		}
	}
	if data, n := h.ints(tagFileFlags, typeInt32, 4); h.same(tagFileFlags, n, len(files)) {
		for i := range files {
			files[i].Flags = binary.BigEndian.Uint32(data[4*i:])
		}
	}
	if data, n := h.ints(tagFileSizes, typeInt32, 4); h.same(tagFileSizes, n, len(files)) {
		for i := range files {
			files[i].Size = int64(binary.BigEndian.Uint32(data[4*i:]))
		}
	}
	if data, n := h.ints(tagLongSizes, typeInt64, 8); h.same(tagLongSizes, n, len(files)) {
		for i := range files {
			size := binary.BigEndian.Uint64(data[8*i:])
			if size > math.MaxInt64 {
				h.fail(tagLongSizes, "a size of %d bytes", size)
				break
			}
			files[i].Size = int64(size)
		}
	}
	return files
}

// same reports whether there are values, and one for each file.
func (h *header) same(tag uint32, values, files int) bool {
	if values != 0 && values != files {
		h.fail(tag, "%d values for %d files", values, files)
		return false
	}
	return values != 0
}

// paths returns the files with nothing but their paths: each a directory and a
// name within it, or whole in old packages.
func (h *header) paths() []File {
	names, n := h.strings(tagBaseNames)
	if n == 0 {
		names, n = h.strings(tagOldFileNames)
		if n == 0 {
			return nil
		}
		files := make([]File, n)
		rest := string(names)
		for i := range files {
			files[i].Path, rest, _ = strings.Cut(rest, "\x00")
		}
		return files
	}
	array, dirCount := h.strings(tagDirNames)
	dirs := make([][]byte, dirCount)
	for i := range dirs {
		dirs[i], array = cut(array)
	}
	indexes, indexCount := h.ints(tagDirIndexes, typeInt32, 4)
	if h.err == nil && indexCount != n {
		h.fail(tagDirIndexes, "%d values for %d files", indexCount, n)
	}
	if h.err != nil {
		return nil
	}

	total := len(names) - n
	for i := range n {
		dir := binary.BigEndian.Uint32(indexes[4*i:])
		if uint64(dir) >= uint64(dirCount) {
			h.fail(tagDirIndexes, "directory %d of %d", dir, dirCount)
			return nil
		}
		total += len(dirs[dir])
		if most := maxPaths * (len(h.index) + len(h.data)); total > min(most, maxHeader) {
			h.fail(tagDirIndexes, "the paths of %d files are longer than %d bytes", n, min(most, maxHeader))
			return nil
		}
	}
	// One string for all paths is one allocation in place of thousands.
	var all strings.Builder
	all.Grow(total)
	files := make([]File, n)
	for i := range files {
		var name []byte
		name, names = cut(names)
		start := all.Len()
		all.Write(dirs[binary.BigEndian.Uint32(indexes[4*i:])])
		all.Write(name)
		files[i].Path = all.String()[start:]
	}
	return files
}
