// Package advisory keeps the advisory file: one SQLite file that holds what all
// imported feeds say, compiled for one question, "what is known about this
// package of this ecosystem". A file is never changed once it is in place: a
// Builder writes a new one beside it and renames it over, so any number of
// processes may hold the old one open. docs/advisory-file.md has the schema.
package advisory

import (
	"strings"
	"time"

	"github.com/plimsoll/plimsoll"
)

const (
	// Schema is the version of the file's layout (SQLite's user_version). Only
	// files of exactly this version are opened: they are cheap to make anew.
	Schema = 1
	// applicationID marks the file in SQLite's header ("PLIM").
	applicationID = 0x504C494D
)

// Feed is one source that was imported: what it was and how it went.
type Feed struct {
	// Name of the feed, such as "osv".
	Name string `json:"name"`
	// Source is the file or directory, as it was named.
	Source string `json:"source"`
	// Licences of the records, as SPDX identifiers where there are some.
	Licences []string  `json:"licences,omitempty"`
	Imported time.Time `json:"imported"`
	// Data is when the newest record was modified. Dates after Imported do not
	// count.
	Data time.Time `json:"data,omitzero"`
	// Read = Kept + Older + Rejected records.
	Read int `json:"read"`
	Kept int `json:"kept"`
	// Withdrawn records among Kept; they never match.
	Withdrawn int `json:"withdrawn"`
	// Older records than the ones already held under the same id.
	Older    int `json:"older"`
	Rejected int `json:"rejected"`
	// Reasons of the first rejections, each with the record's name.
	Reasons []string `json:"reasons,omitempty"`
	// Notes count, by kind, what was left out of or doubtful in kept records.
	Notes map[string]int `json:"notes,omitempty"`
}

// Entry is what one advisory says about one package.
type Entry struct {
	// Ref leads to the whole advisory; it means nothing in another file.
	Ref int64
	// ID is the advisory's own.
	ID string
	plimsoll.Affected
}

// Key is the form of a package's name that the file stores and looks up:
// ecosystems that take several spellings for the same package are brought to
// one.
func Key(ecosystem, name string) string {
	family, _, _ := strings.Cut(ecosystem, ":")
	switch family {
	case "PyPI":
		// PEP 503: runs of . - _ are one -, letters are lower case.
		return pypiName(name)
	case "NuGet", "Packagist", "Hex", "Pub", "GitHub Actions", "SwiftURL", "Go":
		// Their registries ignore case; Go's does not, but package URLs of its
		// modules are written in lower case.
		return strings.ToLower(name)
	}
	return name
}

func pypiName(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	dash := false
	for _, c := range []byte(name) {
		switch {
		case c == '.' || c == '-' || c == '_':
			if !dash {
				b.WriteByte('-')
			}
			dash = true
			continue
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		}
		dash = false
		b.WriteByte(c)
	}
	return b.String()
}
