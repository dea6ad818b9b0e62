package langpkg_test

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

func deflated(s string) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	fmt.Fprint(z, s)
	z.Close()
	return b.Bytes()
}

const crates = `{"packages":[
{"name":"adler","version":"1.0.2","source":"crates.io"},
{"name":"app","version":"0.3.0","source":"local","dependencies":[0,3],"root":true},
{"name":"cc","version":"1.0.83","source":"crates.io","kind":"build"},
{"name":"forked","version":"2.0.0-alpha.1+x","source":"git","kind":"runtime","dependencies":[0],"features":["std"]}
],"format":1}`

// TestRustSection: cargo auditable links the list into the program as a section
// of its own. It is not used here, since it has to be fetched; rustc links a
// list of the same form in the same way.
func TestRustSection(t *testing.T) {
	testenv.Need(t, "rustc")
	dir := t.TempDir()
	list := deflated(crates)
	write(t, dir, "list", string(list))
	write(t, dir, "main.rs", fmt.Sprintf(`
#[used]
#[link_section = ".dep-v0"]
static LIST: [u8; %d] = *include_bytes!("list");
fn main() {}
`, len(list)))
	program := filepath.Join(dir, "program")
	run(t, dir, nil, "rustc", "-o", program, "main.rs")
	checkCrates(t, mustDetect(t, langpkg.Rust{}, "usr/bin/program", read(t, program)))
	if exec.Command("strip", program).Run() == nil {
		checkCrates(t, mustDetect(t, langpkg.Rust{}, "usr/bin/program", read(t, program)))
	}
}

func checkCrates(t *testing.T, found *plimsoll.Found) {
	t.Helper()
	var got []string
	for _, c := range found.Components {
		got = append(got, string(c.Type)+" "+c.PURL)
	}
	want := []string{"library pkg:cargo/adler@1.0.2", "application pkg:cargo/app@0.3.0", "library pkg:cargo/forked@2.0.0-alpha.1%2Bx"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(found.Gaps) > 0 {
		t.Errorf("gaps: %v", found.Gaps)
	}
}

// withSection makes a C program with the list added by objcopy.
func withSection(t testing.TB, section []byte) []byte {
	t.Helper()
	testenv.Need(t, "gcc", "objcopy")
	dir := t.TempDir()
	write(t, dir, "main.c", "int main(void) { return 0; }\n")
	write(t, dir, "list", string(section))
	run(t, dir, nil, "gcc", "-o", "plain", "main.c")
	run(t, dir, nil, "objcopy", "--add-section", ".dep-v0=list", "plain", "program")
	return read(t, filepath.Join(dir, "program"))
}

func TestRustTrouble(t *testing.T) {
	bomb := deflated(`{"x":"` + strings.Repeat(" ", 64<<20) + `","packages":[]}`)
	for name, c := range map[string]struct {
		section []byte
		want    []string
	}{
		"good":          {deflated(`{"packages":[{"name":"a","version":"1.0.0"}]}`), []string{"p a 1.0.0"}},
		"not deflated":  {[]byte(crates), []string{"error read list of crates: zlib: invalid header"}},
		"cut":           {deflated(crates)[:40], []string{"error read list of crates: unexpected EOF"}},
		"not JSON":      {deflated("crates"), []string{"error read list of crates: invalid character 'c' looking for beginning of value"}},
		"bomb":          {bomb, []string{"gap limit p: a list of crates of more than 16777216 bytes"}},
		"half":          {deflated(`{"packages":[{"name":"a","version":"1.0.0"},{"name":"b"}]}`), []string{"gap unreadable p: read list of crates: a crate without a name or version", "p a 1.0.0"}},
		"bad sum":       {append(deflated(`{"packages":[{"name":"a","version":"1.0.0"}]}`)[:50], 0, 0, 0, 0, 0, 0, 0, 0), nil},
		"other crates":  {deflated(`{"packages":[{"name":"a","version":"1.0.0"},{"name":"a","version":"2.0.0"}]}`), []string{"p a 1.0.0", "p a 2.0.0"}},
		"same in cases": {deflated(`{"packages":[{"name":"a","version":"1.0.0","Version":"9.0.0"}]}`), []string{"p a 1.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := detect(langpkg.Rust{}, "p", withSection(t, c.section))
			check(t, found)
			got := lines(found)
			if err != nil {
				got = append(got, "error "+err.Error())
			}
			if name == "bad sum" {
				if err == nil && len(found.Gaps) == 0 {
					t.Error("a damaged list is read without an error or gap")
				}
				return
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
	found, err := detect(langpkg.Rust{}, "p", read(t, "/proc/self/exe"))
	if err != nil || len(found.Components)+len(found.Gaps) > 0 {
		t.Errorf("a program that is not Rust: %v, %v", found, err)
	}
}

// rustELF is the least that exe.Open reads a section from.
func rustELF(section []byte) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18], b[20] = 3, 62, 1
	at := len(b)
	b = append(b, section...)
	names := len(b)
	b = append(b, "\x00.dep-v0\x00.shstrtab\x00"...)
	b = append(b, make([]byte, -len(b)&7)...)
	table := len(b)
	header := func(name, kind byte, offset, size int) {
		h := make([]byte, 64)
		h[0], h[4] = name, kind
		for i := range 4 {
			h[24+i], h[32+i] = byte(offset>>(8*i)), byte(size>>(8*i))
		}
		b = append(b, h...)
	}
	header(0, 0, 0, 0)
	header(1, 1, at, len(section))
	header(9, 3, names, 19)
	for i := range 4 {
		b[40+i] = byte(table >> (8 * i))
	}
	b[52], b[58], b[60], b[62] = 64, 64, 3, 2
	return b
}

func FuzzRust(f *testing.F) {
	f.Add(rustELF(deflated(crates)))
	fuzz(f, langpkg.Rust{}, "usr/bin/a")
}

// FuzzRustList reaches the list, which the fuzzer cannot deflate.
func FuzzRustList(f *testing.F) {
	f.Add(crates)
	f.Add(`{"packages":[{"name":1}]}`)
	f.Fuzz(func(t *testing.T, list string) {
		found, err := detect(langpkg.Rust{}, "p", rustELF(deflated(list)))
		if err == nil {
			check(t, found)
		}
	})
}
