package langpkg

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/exe"
)

// Rust reads the list of crates that cargo auditable puts into programs and
// shared libraries, as zlib-compressed JSON in a section named .dep-v0
// (github.com/rust-secure-code/cargo-auditable, "cargo-auditable.schema.json").
// Crates that were only needed to build are not in the program and left out.
type Rust struct{}

func (Rust) Name() string { return "rust" }
func (Rust) Version() int { return 1 }

// Wants does not look at the name: a hard link is wanted if its target was.
func (Rust) Wants(f *plimsoll.File) bool { return exe.Is(f.Head) }

// mostCrates is the largest list, in bytes after inflating. Programs with a
// thousand crates have some 200 KB.
const mostCrates = 16 << 20

// Detect implements analyze.Detector.
func (Rust) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	program, err := exe.Open(content)
	if err != nil {
		return nil, nil // the detector of Go programs says so, once
	}
	s := program.Section(".dep-v0")
	if s == nil {
		return nil, nil
	}
	b := newBuilder("rust", "crates.io", f)
	inflated, err := zlib.NewReader(program.Data(s.Offset, s.Size))
	if err != nil {
		return nil, fmt.Errorf("read list of crates: %w", err)
	}
	defer inflated.Close()
	limited := &io.LimitedReader{R: inflated, N: mostCrates}
	d := newJSONStream(limited)
	err = d.object(func(key string) (bool, error) {
		if key != "packages" {
			return false, nil
		}
		return true, d.array(func() error { return b.addCrate(d) })
	})
	if err == nil {
		err = d.end() // reads the checksum too
	}
	switch {
	case err == nil:
	case limited.N <= 0:
		b.gap(plimsoll.Limited, f.Path, "a list of crates of more than %d bytes", mostCrates)
	case len(b.found.Components) == 0:
		return nil, fmt.Errorf("read list of crates: %w", err)
	default:
		b.gap(plimsoll.Unreadable, f.Path, "read list of crates: %v", err)
	}
	return &b.found, nil
}

func (b *builder) addCrate(d *jsonReader) error {
	m, err := d.fields("name", "version", "kind", "root")
	if err != nil {
		return err
	}
	name, _ := jsonString(m["name"])
	version, _ := jsonString(m["version"])
	if name == "" || version == "" {
		return errors.New("a crate without a name or version")
	}
	if kind, _ := jsonString(m["kind"]); kind == "build" {
		return nil
	}
	c := plimsoll.Component{Name: name, Version: version}
	if string(m["root"]) == "true" {
		c.Type = plimsoll.Application
	}
	b.add(c, packageurl.PackageURL{Type: packageurl.TypeCargo, Name: name, Version: version})
	return nil
}
