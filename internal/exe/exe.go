// Package exe reads the section and segment tables of native executables: ELF,
// PE and Mach-O. It does what the detectors of programs need and no more, so
// that a file of any content costs a few small reads: the debug/elf, debug/pe
// and debug/macho packages of the standard library say of themselves that they
// are not made for hostile files.
package exe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Format of an executable.
type Format uint8

const (
	ELF Format = iota + 1
	PE
	MachO
)

// Bounds on the tables. Linkers write a few dozen sections; the largest
// programs have some hundreds.
const (
	mostSections = 8192
	mostSegments = 4096
	mostNames    = 1 << 20 // bytes of the section names
	mostCommands = 1 << 20 // bytes of a Mach-O file's load commands
)

// Section is a named part of the file.
type Section struct {
	Name string
	// Offset and Size of the content within the file; they are inside it.
	Offset, Size int64
}

// Segment is a part of the file that is mapped into memory.
type Segment struct {
	Addr         uint64
	Offset, Size int64
	Writable     bool
}

// File is one executable.
type File struct {
	Format Format
	// Sections that have content in the file; those that reach beyond its
	// end are left out. Empty where a tool has removed the table.
	Sections []Section

	r         *io.SectionReader
	order     binary.ByteOrder
	wide      bool      // a 64-bit file
	phoff     uint64    // ELF: the program headers
	phnum     int       // ELF: how many
	phentsize int       // ELF: the size of one
	segments  []Segment // PE, Mach-O
}

// errFormat is the root of the errors about damaged tables.
var errFormat = errors.New("damaged executable")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFormat, fmt.Sprintf(format, args...))
}

// Is tells from a file's first bytes (512 are enough) whether it is a program
// or shared library that Open reads. Object files and kernel modules, which
// nobody runs as they are, are not.
func Is(head []byte) bool {
	if len(head) < 64 {
		return false
	}
	switch {
	case head[0] == 0x7f && head[1] == 'E' && head[2] == 'L' && head[3] == 'F':
		kind := head[16]
		if head[5] == 2 {
			kind = head[17]
		}
		return kind == 2 || kind == 3 // ET_EXEC, ET_DYN
	case head[0] == 'M' && head[1] == 'Z':
		at := int(binary.LittleEndian.Uint32(head[0x3c:]))
		if at < 0 || at > len(head)-4 {
			return at > 0 // perhaps
		}
		return string(head[at:at+4]) == "PE\x00\x00"
	case head[0] == 0xfe && head[1] == 0xed && head[2] == 0xfa && head[3]|1 == 0xcf:
		return isMachOProgram(binary.BigEndian.Uint32(head[12:]))
	case head[0]|1 == 0xcf && head[1] == 0xfa && head[2] == 0xed && head[3] == 0xfe:
		return isMachOProgram(binary.LittleEndian.Uint32(head[12:]))
	}
	return false
}

// Open reads the tables of the executable r.
func Open(r *io.SectionReader) (*File, error) {
	var head [64]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(head) {
		return nil, damaged("only %d bytes", n)
	}
	f := &File{r: r}
	switch {
	case string(head[:4]) == "\x7fELF":
		err = f.readELF(head[:])
	case string(head[:2]) == "MZ":
		err = f.readPE(head[:])
	case head[3] == 0xfe || head[0] == 0xfe:
		err = f.readMachO(head[:])
	default:
		err = damaged("neither ELF nor PE nor Mach-O")
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Section returns the first section with one of the names, or nil.
func (f *File) Section(names ...string) *Section {
	for i := range f.Sections {
		for _, name := range names {
			if f.Sections[i].Name == name {
				return &f.Sections[i]
			}
		}
	}
	return nil
}

// Data reads a part of the file.
func (f *File) Data(offset, size int64) *io.SectionReader {
	return io.NewSectionReader(f.r, offset, size)
}

// Segments are the mapped parts of the file, in the file's order.
func (f *File) Segments() ([]Segment, error) {
	if f.Format == ELF {
		return f.elfSegments()
	}
	return f.segments, nil
}

// table reads count entries of size bytes at offset.
func (f *File) table(what string, offset uint64, count, size, most int) ([]byte, error) {
	if count > most {
		return nil, damaged("%d %s, more than %d", count, what, most)
	}
	length := int64(count) * int64(size)
	if !f.inside(offset, uint64(length)) {
		return nil, damaged("the %s lie beyond the end of the file", what)
	}
	b := make([]byte, length)
	if _, err := f.r.ReadAt(b, int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

func (f *File) inside(offset, size uint64) bool {
	end := uint64(f.r.Size())
	return offset <= end && size <= end-offset
}

func (f *File) addSection(name string, offset, size uint64) {
	if size > 0 && f.inside(offset, size) {
		f.Sections = append(f.Sections, Section{name, int64(offset), int64(size)})
	}
}

func (f *File) addSegment(addr, offset, size uint64, writable bool) {
	if size > 0 && f.inside(offset, size) && addr <= math.MaxUint64-size {
		f.segments = append(f.segments, Segment{addr, int64(offset), int64(size), writable})
	}
}

// word is a field that has the machine's width: at at32 in a 32-bit entry, at
// at64 in a 64-bit one.
func (f *File) word(b []byte, at32, at64 int) uint64 {
	if f.wide {
		return f.order.Uint64(b[at64:])
	}
	return uint64(f.order.Uint32(b[at32:]))
}

// word32 is a field of 32 bits whose place depends on the machine's width.
func (f *File) word32(b []byte, at32, at64 int) uint32 {
	if f.wide {
		return f.order.Uint32(b[at64:])
	}
	return f.order.Uint32(b[at32:])
}

// cstring is b up to its first zero byte.
func cstring(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
