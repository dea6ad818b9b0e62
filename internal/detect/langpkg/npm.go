package langpkg

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// NPM reads package.json, the manifest of an installed npm package
// (docs.npmjs.com/cli/configuring-npm/package-json). Below a node_modules
// directory only that in the root of a package counts: packages carry others,
// in test data and beside bundled code, that name nothing installed. Elsewhere
// (an application, Debian's /usr/share/nodejs) every manifest with a name and
// a version counts; one that is marked private is an application.
type NPM struct{}

func (NPM) Name() string { return "npm" }
func (NPM) Version() int { return 1 }

func (NPM) Wants(f *plimsoll.File) bool {
	if f.Base != "package.json" {
		return false
	}
	inside, root := nodeModules(f.Path)
	return root || !inside
}

const largestManifest = 4 << 20

// Detect implements analyze.Detector.
func (NPM) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	b := newBuilder("npm", "npm", f)
	if content.Size() > largestManifest {
		return b.tooLarge(content.Size(), largestManifest), nil
	}
	d := newJSONReader(content)
	m, err := d.fields("name", "version", "private", "license", "licenses", "author")
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, fmt.Errorf("read package.json: %w", err)
	}
	var id [2]string
	for i, key := range []string{"name", "version"} {
		s, ok := jsonString(m[key])
		if raw := m[key]; !ok && raw != nil && string(raw) != "null" {
			b.gap(plimsoll.Unreadable, f.Path, "package.json: the %s is no string: %.40s", key, raw)
			return &b.found, nil
		}
		id[i] = strings.TrimSpace(s)
	}
	name, version := id[0], id[1]
	installed, _ := nodeModules(f.Path)
	if name == "" || version == "" {
		if installed {
			b.gap(plimsoll.Unreadable, f.Path, "package.json of an installed package without a name or version")
		}
		return &b.found, nil
	}
	c := plimsoll.Component{Name: name, Version: npmVersion(version)}
	if !installed && string(m["private"]) == "true" {
		c.Type = plimsoll.Application
	}
	c.Licenses = npmLicenses(m["license"])
	if len(c.Licenses) == 0 {
		c.Licenses = npmLicenses(m["licenses"]) // before npm 1.2
	}
	c.Vendor = jsonPerson(m["author"])
	url := packageurl.PackageURL{Type: packageurl.TypeNPM, Name: c.Name, Version: c.Version}
	if scope, rest, ok := strings.Cut(name, "/"); ok && strings.HasPrefix(scope, "@") {
		url.Namespace, url.Name = scope, rest
	}
	b.add(c, url)
	return &b.found, nil
}

// nodeModules tells whether path is below a directory node_modules, and if so
// whether it is a file in the root of a package there.
func nodeModules(path string) (inside, root bool) {
	const dir = "node_modules/"
	i := strings.LastIndex(path, dir)
	for i > 0 && path[i-1] != '/' {
		i = strings.LastIndex(path[:i], dir)
	}
	if i < 0 {
		return false, false
	}
	name, rest, ok := strings.Cut(path[i+len(dir):], "/")
	if ok && strings.HasPrefix(name, "@") {
		name, rest, ok = strings.Cut(rest, "/")
	}
	// No package's name begins with a dot; .cache and .pnpm are tools' own.
	return true, ok && name != "" && name[0] != '.' && !strings.Contains(rest, "/")
}

// npmLicenses reads "MIT", {"type": "MIT"} or an array of either.
func npmLicenses(raw json.RawMessage) []string {
	var names []string
	for _, l := range jsonList(raw) {
		s, ok := jsonString(l)
		if !ok {
			s, ok = jsonString(jsonFields(l, "type")["type"])
		}
		if ok && s != "" {
			names = append(names, s)
		}
	}
	return names
}

// npmVersion drops what npm drops from old manifests: "v1.2.3", "= 1.2.3".
func npmVersion(s string) string {
	if bare := strings.TrimLeft(s, "=v "); bare != "" && bare[0] >= '0' && bare[0] <= '9' {
		return bare
	}
	return s
}

// jsonPerson reads "Name <mail> (site)" or {name, email}, as npm and Composer
// write people.
func jsonPerson(raw json.RawMessage) string {
	if s, ok := jsonString(raw); ok {
		s, _, _ = strings.Cut(s, "(")
		return strings.TrimSpace(s)
	}
	m := jsonFields(raw, "name", "email")
	name, _ := jsonString(m["name"])
	mail, _ := jsonString(m["email"])
	return person(name, mail)
}
