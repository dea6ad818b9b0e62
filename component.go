package plimsoll

// ComponentType is a CycloneDX 1.6 component type; only these are used.
type ComponentType string

const (
	Library     ComponentType = "library"     // a package, of a distribution or a language
	Application ComponentType = "application" // a program, such as a Go binary's main module
)

// Component is one piece of software inside an image: a package of the
// distribution, a library of a language, a program.
//
// A detector fills the first group of fields. Merging the layers fills the
// second: where the component came from, as a container would see it.
type Component struct {
	// PURL is the package URL (github.com/package-url/purl-spec), canonical.
	PURL    string        `json:"purl"`
	Type    ComponentType `json:"type"`
	Name    string        `json:"name"`
	Version string        `json:"version"` // the package manager's full form, with epoch and release
	// Ecosystem is the name under which advisories are looked up, as the OSV
	// schema defines it: "npm", "PyPI", "Go", "Maven". Detectors of OS
	// packages leave it empty: the distribution decides it, in merging
	// ("Debian:12", "Alpine:v3.21").
	Ecosystem    string `json:"ecosystem,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	// Source is the source package that an OS package was built from;
	// nil where the package manager does not tell.
	Source *SourcePackage `json:"source,omitempty"`
	// Vendor is the maintainer (dpkg, apk) or vendor (rpm).
	Vendor string `json:"vendor,omitempty"`
	// Licenses are SPDX identifiers or expressions where the package says so,
	// otherwise the package's own words.
	Licenses []string `json:"licenses,omitempty"`
	// Module is the label of an rpm module: name:stream:version:context.
	Module string `json:"module,omitempty"`
	// CPEs in 2.3 form, where known for sure.
	CPEs []string `json:"cpes,omitempty"`
	// Detector that found it.
	Detector string `json:"detector"`
	// Paths of the files that are the evidence, relative to the image's root.
	// A "!" separates an archive from a path inside it: app.jar!/lib/x.jar.
	Paths []string `json:"paths"`

	// Layer that introduced it, as index into Image.Layers.
	Layer int `json:"layer"`
	// DiffID and Step are those of that layer.
	DiffID Digest `json:"diffID,omitempty"`
	Step   string `json:"step,omitempty"`
	// Owner is the purl of the OS package that owns the evidence files;
	// empty for OS packages themselves and for files nobody owns.
	Owner string `json:"owner,omitempty"`
	// Removed is set in a BOM's history only.
	Removed *Removal `json:"removed,omitempty"`
}

// SourcePackage names the source that an OS package was built from.
type SourcePackage struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Removal says how a component of a lower layer went away.
type Removal struct {
	Layer  int    `json:"layer"`
	DiffID Digest `json:"diffID,omitempty"`
	Step   string `json:"step,omitempty"`
	// By is the purl of the other version that took its place; empty when it
	// was deleted.
	By string `json:"by,omitempty"`
}

// IsOS tells an OS package, found in the package manager's own database, from
// everything else.
func (c *Component) IsOS() bool {
	switch c.Detector {
	case "dpkg", "apk", "rpm":
		return true
	}
	return false
}
