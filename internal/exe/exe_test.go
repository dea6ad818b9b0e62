package exe_test

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/internal/exe"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// build makes a small real program for one platform.
func build(t testing.TB, goos, goarch string) []byte {
	t.Helper()
	testenv.Need(t, "go")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nfunc main() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-o", out, "main.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// TestSections holds the tables against those that the standard library reads
// out of the same real programs: every class, byte order and format.
func TestSections(t *testing.T) {
	for _, p := range []struct{ goos, goarch string }{
		{"linux", "amd64"}, {"linux", "386"}, {"linux", "s390x"},
		{"windows", "amd64"}, {"darwin", "arm64"},
	} {
		t.Run(p.goos+"-"+p.goarch, func(t *testing.T) {
			b := build(t, p.goos, p.goarch)
			if !exe.Is(b[:512]) {
				t.Error("Is says that it is no program")
			}
			f, err := exe.Open(section(b))
			if err != nil {
				t.Fatal(err)
			}
			segments, err := f.Segments()
			if err != nil {
				t.Fatal(err)
			}
			var want []exe.Section
			var wantSegments []exe.Segment
			switch p.goos {
			case "linux":
				e, err := elf.NewFile(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range e.Sections {
					if s.Type != elf.SHT_NULL && s.Type != elf.SHT_NOBITS && s.FileSize > 0 {
						want = append(want, exe.Section{Name: s.Name, Offset: int64(s.Offset), Size: int64(s.FileSize)})
					}
				}
				for _, s := range e.Progs {
					if s.Type == elf.PT_LOAD {
						wantSegments = append(wantSegments, exe.Segment{Addr: s.Vaddr, Offset: int64(s.Off), Size: int64(s.Filesz), Writable: s.Flags&elf.PF_W != 0})
					}
				}
			case "windows":
				e, err := pe.NewFile(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				var base uint64
				switch h := e.OptionalHeader.(type) {
				case *pe.OptionalHeader32:
					base = uint64(h.ImageBase)
				case *pe.OptionalHeader64:
					base = h.ImageBase
				}
				for _, s := range e.Sections {
					want = append(want, exe.Section{Name: s.Name, Offset: int64(s.Offset), Size: int64(min(s.Size, s.VirtualSize))})
					wantSegments = append(wantSegments, exe.Segment{
						Addr: base + uint64(s.VirtualAddress), Offset: int64(s.Offset), Size: int64(min(s.Size, s.VirtualSize)),
						Writable: s.Characteristics&pe.IMAGE_SCN_MEM_WRITE != 0,
					})
				}
				// The standard library replaces "/4" by the long name, which
				// nobody here looks for.
				for i := range want {
					if i < len(f.Sections) && f.Sections[i].Name[0] == '/' {
						want[i].Name = f.Sections[i].Name
					}
				}
			case "darwin":
				e, err := macho.NewFile(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range e.Sections {
					if s.Flags&0xff != 1 && s.Size > 0 {
						want = append(want, exe.Section{Name: s.Name, Offset: int64(s.Offset), Size: int64(s.Size)})
					}
				}
				for _, l := range e.Loads {
					if s, ok := l.(*macho.Segment); ok && s.Filesz > 0 {
						wantSegments = append(wantSegments, exe.Segment{Addr: s.Addr, Offset: int64(s.Offset), Size: int64(s.Filesz), Writable: s.Prot&2 != 0})
					}
				}
			}
			if len(want) < 5 {
				t.Fatalf("only %d sections to compare with", len(want))
			}
			if d := cmp.Diff(want, f.Sections); d != "" {
				t.Errorf("sections (-standard library +ours):\n%s", d)
			}
			if d := cmp.Diff(wantSegments, segments); d != "" {
				t.Errorf("segments (-standard library +ours):\n%s", d)
			}
		})
	}
}

// TestSystemLibraries reads what the C linkers of this system made.
func TestSystemLibraries(t *testing.T) {
	files, _ := filepath.Glob("/usr/lib/*-linux-gnu/*.so*")
	if len(files) == 0 {
		testenv.Skip(t, "needs shared libraries in /usr/lib/*-linux-gnu")
	}
	read := 0
	for _, name := range files[:min(len(files), 300)] {
		if i, err := os.Stat(name); err != nil || !i.Mode().IsRegular() {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			continue
		}
		f, err := exe.Open(section(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range e.Sections {
			if s.Type == elf.SHT_NULL || s.Type == elf.SHT_NOBITS || s.FileSize == 0 {
				continue
			}
			got := f.Section(s.Name)
			if got == nil {
				t.Errorf("%s: section %s is missing", name, s.Name)
			}
		}
		read++
	}
	if read == 0 {
		t.Error("not one library was read")
	}
}

// TestDamaged: tables that lie about their sizes are errors, and quick ones.
func TestDamaged(t *testing.T) {
	good := build(t, "linux", "amd64")
	change := func(edit func(b []byte)) []byte {
		b := bytes.Clone(good)
		edit(b)
		return b
	}
	for name, b := range map[string][]byte{
		"empty":           nil,
		"text":            bytes.Repeat([]byte("text"), 40),
		"cut":             good[:len(good)/8],
		"many sections":   change(func(b []byte) { b[60], b[61] = 0xff, 0xfe }),
		"names elsewhere": change(func(b []byte) { b[62], b[63] = 0xfe, 0xfe }),
		"table elsewhere": change(func(b []byte) { copy(b[40:48], "\xff\xff\xff\xff\xff\xff\xff\x7f") }),
		"entries of zero": change(func(b []byte) { b[58], b[59] = 0, 0 }),
	} {
		if f, err := exe.Open(section(b)); err == nil && name != "cut" {
			t.Errorf("%s: read %d sections and no error", name, len(f.Sections))
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, p := range []struct{ goos, goarch string }{{"linux", "amd64"}, {"linux", "s390x"}, {"windows", "amd64"}, {"darwin", "arm64"}} {
		b := build(f, p.goos, p.goarch)
		f.Add(b[:min(len(b), 8<<10)]) // Go's linker puts the tables first
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		exe.Is(b)
		x, err := exe.Open(section(b))
		if err != nil {
			return
		}
		segments, _ := x.Segments()
		for _, s := range segments {
			if s.Offset < 0 || s.Size <= 0 || s.Size > int64(len(b))-s.Offset {
				t.Errorf("segment %+v is not inside the %d bytes", s, len(b))
			}
		}
		for _, s := range x.Sections {
			if s.Offset < 0 || s.Size <= 0 || s.Size > int64(len(b))-s.Offset {
				t.Errorf("section %+v is not inside the %d bytes", s, len(b))
			}
		}
	})
}
