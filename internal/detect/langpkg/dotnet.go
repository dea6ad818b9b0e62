package langpkg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// DotNet reads NAME.deps.json, which the .NET SDK writes beside a published
// application and which the runtime and its frameworks have too
// (github.com/dotnet/sdk, "runtime-configuration-file.md"): the NuGet packages
// and runtime packs among its libraries, and the projects, which are
// applications. Assemblies that no such file names are not looked at.
type DotNet struct{}

func (DotNet) Name() string { return "dotnet" }
func (DotNet) Version() int { return 1 }

func (DotNet) Wants(f *plimsoll.File) bool { return strings.HasSuffix(f.Base, ".deps.json") }

// Detect implements analyze.Detector.
func (DotNet) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	b := newBuilder("dotnet", "NuGet", f)
	if content.Size() > largestList {
		return b.tooLarge(content.Size(), largestList), nil
	}
	d := newJSONReader(content)
	found := false
	err := d.object(func(key string) (bool, error) {
		if key != "libraries" {
			return false, nil
		}
		found = true
		return true, d.object(func(library string) (bool, error) {
			m, err := d.fields("type")
			if err == nil {
				kind, _ := jsonString(m["type"])
				b.addNuGet(library, kind)
			}
			return true, err
		})
	})
	if err == nil && !found {
		err = errors.New("no libraries in it")
	}
	if err == nil {
		err = d.end()
	}
	if err != nil {
		if len(b.found.Components) == 0 {
			return nil, fmt.Errorf("read deps.json: %w", err)
		}
		b.gap(plimsoll.Unreadable, f.Path, "read deps.json: %v", err)
	}
	return &b.found, nil
}

// addNuGet adds a library that is named "Name/1.2.3".
func (b *builder) addNuGet(library, kind string) {
	name, version, _ := strings.Cut(library, "/")
	c := plimsoll.Component{Version: version}
	switch strings.ToLower(kind) {
	case "package":
	case "runtimepack":
		name = strings.TrimPrefix(name, "runtimepack.") // the package has no such prefix
	case "project":
		c.Type = plimsoll.Application
	default:
		return // an assembly that was referred to as a file
	}
	if c.Name = name; name == "" || version == "" {
		b.gap(plimsoll.Unreadable, b.path, "a library that is not named NAME/VERSION: %.100q", library)
		return
	}
	b.add(c, packageurl.PackageURL{Type: packageurl.TypeNuget, Name: name, Version: version})
}
