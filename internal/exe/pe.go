package exe

import "encoding/binary"

// readPE reads the section table (Microsoft PE format, "Section Table").
func (f *File) readPE(head []byte) error {
	f.Format, f.order = PE, binary.LittleEndian
	at := uint64(f.order.Uint32(head[0x3c:]))
	const coff = 24 // signature and COFF header
	if !f.inside(at, coff) {
		return nil // a DOS program, or a text that begins with MZ
	}
	h, err := f.table("COFF header", at, coff, 1, coff)
	if err != nil {
		return err
	}
	if string(h[:4]) != "PE\x00\x00" {
		return nil
	}
	count, size := int(f.order.Uint16(h[6:])), int(f.order.Uint16(h[20:]))
	optional, err := f.table("optional header", at+coff, size, 1, 1<<16)
	if err != nil {
		return err
	}
	var base uint64
	if size >= 32 {
		switch f.order.Uint16(optional) {
		case 0x10b:
			base = uint64(f.order.Uint32(optional[28:]))
		case 0x20b:
			f.wide = true
			base = f.order.Uint64(optional[24:])
		}
	}
	const entry = 40
	table, err := f.table("section headers", at+coff+uint64(size), count, entry, mostSections)
	if err != nil {
		return err
	}
	for ; len(table) >= entry; table = table[entry:] {
		virtualSize, addr := uint64(f.order.Uint32(table[8:])), uint64(f.order.Uint32(table[12:]))
		size, offset := uint64(f.order.Uint32(table[16:])), uint64(f.order.Uint32(table[20:]))
		const write = 0x8000_0000
		flags := f.order.Uint32(table[36:])
		if virtualSize != 0 {
			size = min(size, virtualSize) // the rest is padding
		}
		f.addSection(cstring(table[:8]), offset, size)
		f.addSegment(base+addr, offset, size, flags&write != 0)
	}
	return nil
}
