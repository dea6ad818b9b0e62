package exe

import "encoding/binary"

// readELF reads the section headers (System V ABI, chapter 4).
func (f *File) readELF(head []byte) error {
	f.Format = ELF
	switch head[5] {
	case 1:
		f.order = binary.LittleEndian
	case 2:
		f.order = binary.BigEndian
	default:
		return damaged("ELF byte order %d", head[5])
	}
	var shoff uint64
	var tail []byte // e_phentsize and what follows it
	minimum := 40   // bytes of a section header
	switch head[4] {
	case 1:
		f.phoff, shoff, tail = uint64(f.order.Uint32(head[28:])), uint64(f.order.Uint32(head[32:])), head[42:]
	case 2:
		f.wide = true
		f.phoff, shoff, tail = f.order.Uint64(head[32:]), f.order.Uint64(head[40:]), head[54:]
		minimum = 64
	default:
		return damaged("ELF class %d", head[4])
	}
	half := func(i int) int { return int(f.order.Uint16(tail[2*i:])) }
	f.phentsize, f.phnum = half(0), half(1)
	size, count, names := half(2), half(3), half(4)
	if shoff == 0 {
		return nil
	}
	if size < minimum {
		return damaged("section headers of %d bytes", size)
	}
	// Numbers too large for the header's 16 bits stand in the first section.
	if count == 0 || names == 0xffff {
		first, err := f.table("section headers", shoff, 1, size, 1)
		if err != nil {
			return err
		}
		if count == 0 {
			count = int(min(f.word(first, 20, 32), mostSections+1))
		}
		if names == 0xffff {
			names = int(f.word32(first, 24, 40))
		}
	}
	if count == 0 {
		return nil
	}
	if names >= count {
		return damaged("section names in section %d of %d", names, count)
	}
	headers, err := f.table("section headers", shoff, count, size, mostSections)
	if err != nil {
		return err
	}
	const nobits = 8
	header := func(i int) (name uint32, kind uint32, offset, length uint64) {
		h := headers[i*size:]
		return f.order.Uint32(h), f.order.Uint32(h[4:]), f.word(h, 16, 24), f.word(h, 20, 32)
	}
	_, kind, offset, length := header(names)
	if kind == nobits {
		return nil // a file of debug information only: its content lies elsewhere
	}
	if length > mostNames {
		return damaged("section names of %d bytes, more than %d", length, mostNames)
	}
	text, err := f.table("section names", offset, int(length), 1, mostNames)
	if err != nil {
		return err
	}
	f.Sections = make([]Section, 0, count)
	all := string(text)
	for i := 1; i < count; i++ {
		name, kind, offset, length := header(i)
		if kind == nobits || uint64(name) >= uint64(len(all)) {
			continue
		}
		end := int(name)
		for end < len(all) && all[end] != 0 {
			end++
		}
		f.addSection(all[name:end], offset, length)
	}
	return nil
}

// elfSegments reads the program headers of type PT_LOAD.
func (f *File) elfSegments() ([]Segment, error) {
	if f.segments != nil || f.phoff == 0 || f.phnum == 0 {
		return f.segments, nil
	}
	minimum := 32
	if f.wide {
		minimum = 56
	}
	if f.phentsize < minimum {
		return nil, damaged("program headers of %d bytes", f.phentsize)
	}
	headers, err := f.table("program headers", f.phoff, f.phnum, f.phentsize, mostSegments)
	if err != nil {
		return nil, err
	}
	for ; len(headers) >= f.phentsize; headers = headers[f.phentsize:] {
		const load, writable = 1, 2
		if f.order.Uint32(headers) != load {
			continue
		}
		flags := f.word32(headers, 24, 4)
		f.addSegment(f.word(headers, 8, 16), f.word(headers, 4, 8), f.word(headers, 16, 32), flags&writable != 0)
	}
	return f.segments, nil
}
