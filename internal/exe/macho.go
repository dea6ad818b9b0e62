package exe

import "encoding/binary"

func isMachOProgram(kind uint32) bool {
	return kind == 2 || kind == 6 || kind == 8 // MH_EXECUTE, MH_DYLIB, MH_BUNDLE
}

// readMachO reads the load commands of segments (mach-o/loader.h).
func (f *File) readMachO(head []byte) error {
	f.Format = MachO
	magic := binary.BigEndian.Uint32(head)
	f.order = binary.BigEndian
	if magic != 0xfeedface && magic != 0xfeedfacf {
		magic = binary.LittleEndian.Uint32(head)
		f.order = binary.LittleEndian
	}
	header := uint64(28)
	switch magic {
	case 0xfeedface:
	case 0xfeedfacf:
		f.wide = true
		header = 32
	default:
		return damaged("neither ELF nor PE nor Mach-O")
	}
	size := f.order.Uint32(head[20:])
	if size > mostCommands {
		return damaged("load commands of %d bytes, more than %d", size, mostCommands)
	}
	commands, err := f.table("load commands", header, int(size), 1, mostCommands)
	if err != nil {
		return err
	}
	const zerofill = 1
	// A segment command is followed by its sections.
	kind, segment, section := uint32(0x1), 56, 68
	if f.wide {
		kind, segment, section = 0x19, 72, 80
	}
	for range f.order.Uint32(head[16:]) {
		if len(commands) < 8 {
			break
		}
		length := f.order.Uint32(commands[4:])
		if length < 8 || uint64(length) > uint64(len(commands)) {
			return damaged("a load command of %d bytes where %d are left", length, len(commands))
		}
		c := commands[:length]
		commands = commands[length:]
		if f.order.Uint32(c) != kind || len(c) < segment {
			continue
		}
		const write = 2
		initial := f.order.Uint32(c[segment-12:])
		f.addSegment(f.word(c, 24, 24), f.word(c, 32, 40), f.word(c, 36, 48), initial&write != 0)
		sections := f.order.Uint32(c[segment-8:])
		for c = c[segment:]; len(c) >= section && sections > 0 && len(f.Sections) < mostSections; c = c[section:] {
			sections--
			if kind := f.word32(c, 56, 64) & 0xff; kind == zerofill {
				continue
			}
			f.addSection(cstring(c[:16]), uint64(f.word32(c, 40, 48)), f.word(c, 36, 40))
		}
	}
	return nil
}
