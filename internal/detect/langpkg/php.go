package langpkg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// PHP reads vendor/composer/installed.json, in which Composer keeps what it
// installed: an array of packages (Composer 1) or an object that has them
// under "packages" (Composer 2).
type PHP struct{}

func (PHP) Name() string { return "php" }
func (PHP) Version() int { return 1 }

func (PHP) Wants(f *plimsoll.File) bool {
	return f.Base == "installed.json" && (strings.HasSuffix(f.Path, "/composer/installed.json") || f.Path == "composer/installed.json")
}

// largestList of installed packages, in bytes. Those of large applications
// have two or three million.
const largestList = 16 << 20

// Detect implements analyze.Detector.
func (PHP) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	b := newBuilder("php", "Packagist", f)
	if content.Size() > largestList {
		return b.tooLarge(content.Size(), largestList), nil
	}
	d := newJSONReader(content)
	list := func() error {
		return d.array(func() error { return b.addComposer(d) })
	}
	var err error
	if first, _ := d.first(); first == '[' {
		err = list()
	} else {
		found := false
		err = d.object(func(key string) (bool, error) {
			if key != "packages" {
				return false, nil
			}
			found = true
			return true, list()
		})
		if err == nil && !found {
			err = errors.New("no packages in it")
		}
	}
	if err == nil {
		err = d.end()
	}
	if err != nil {
		if len(b.found.Components) == 0 {
			return nil, fmt.Errorf("read installed.json: %w", err)
		}
		b.gap(plimsoll.Unreadable, f.Path, "read installed.json: %v", err)
	}
	return &b.found, nil
}

func (b *builder) addComposer(d *jsonReader) error {
	m, err := d.fields("name", "version", "license", "authors")
	if err != nil {
		return err
	}
	name, _ := jsonString(m["name"])
	version, _ := jsonString(m["version"])
	if name == "" || version == "" {
		b.gap(plimsoll.Unreadable, b.path, "a package without a name or version: %.100q", name)
		return nil
	}
	c := plimsoll.Component{Name: name, Version: version}
	for _, l := range jsonList(m["license"]) {
		if s, ok := jsonString(l); ok {
			c.Licenses = append(c.Licenses, s)
		}
	}
	var authors []json.RawMessage
	if json.Unmarshal(m["authors"], &authors) == nil && len(authors) > 0 {
		c.Vendor = jsonPerson(authors[0])
	}
	vendor, project, ok := strings.Cut(name, "/")
	if !ok {
		vendor, project = "", name
	}
	b.add(c, packageurl.PackageURL{Type: packageurl.TypeComposer, Namespace: vendor, Name: project, Version: version})
	return nil
}
