// Package version orders the versions of packages the way their ecosystem
// does: a Debian version by Debian's rules, a PyPI version by PEP 440.
//
// Ecosystems are named as the OSV schema names them, with or without a suffix
// ("Debian", "Debian:12"); the suffix never changes the order.
package version

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/osv-scalibr/semantic"
)

// SemVer orders by semver.org 2.0.0, whatever the ecosystem: the order of OSV
// ranges of type SEMVER.
const SemVer = "SEMVER"

// MaxLength of a version in bytes. The longest of 870,000 real ones has fewer
// than 100; the cap keeps hostile ones from costing quadratic time.
const MaxLength = 256

var (
	// ErrUnsupported says that no order is known for an ecosystem.
	ErrUnsupported = errors.New("no version order is known for this ecosystem")
	// ErrInvalid says that a text is no version of its ecosystem.
	ErrInvalid = errors.New("not a version")
)

// Version is a parsed version of one ecosystem; parse once to compare often.
// The zero value is not a version.
type Version struct {
	text   string
	family string
	parsed semantic.Version
}

// Parse reads text as a version of ecosystem. It is lenient, as the package
// managers are: most texts have some place in the order.
// The error is ErrUnsupported or ErrInvalid.
func Parse(ecosystem, text string) (Version, error) {
	family := family(ecosystem)
	if family == "" {
		return Version{}, fmt.Errorf("ecosystem %q: %w", clip(ecosystem), ErrUnsupported)
	}
	if text == "" {
		return Version{}, fmt.Errorf("empty text: %w", ErrInvalid)
	}
	if len(text) > MaxLength {
		return Version{}, fmt.Errorf("%q is longer than %d bytes: %w", clip(text), MaxLength, ErrInvalid)
	}
	parsed, err := semantic.Parse(canonical(family, text), family)
	if err != nil {
		return Version{}, fmt.Errorf("%q as a version of %s: %w", clip(text), clip(ecosystem), ErrInvalid)
	}
	return Version{text: text, family: family, parsed: parsed}, nil
}

// Compare is -1, 0 or +1 as v is before, at or after w in the order of their
// ecosystem, which must be the same.
func (v Version) Compare(w Version) (int, error) {
	if v.parsed == nil || v.family != w.family {
		return 0, fmt.Errorf("comparing %q and %q: versions of different ecosystems", v.text, w.text)
	}
	if v.text == w.text {
		return 0, nil
	}
	c, err := v.parsed.Compare(w.parsed)
	if err != nil {
		return 0, fmt.Errorf("comparing %q and %q: %w", v.text, w.text, ErrInvalid)
	}
	return c, nil
}

// String is the text that was parsed.
func (v Version) String() string { return v.text }

// Compare orders two texts; see Parse and Version.Compare.
func Compare(ecosystem, a, b string) (int, error) {
	v, err := Parse(ecosystem, a)
	if err != nil {
		return 0, err
	}
	w, err := Parse(ecosystem, b)
	if err != nil {
		return 0, err
	}
	return v.Compare(w)
}

// Supported says whether the versions of ecosystem can be ordered.
func Supported(ecosystem string) bool { return family(ecosystem) != "" }

// canonical mends what osv-scalibr/semantic reads otherwise than the native
// tools, as TestNative found out.
func canonical(family, text string) string {
	if family == "RubyGems" {
		// Gem::Version: a hyphen starts a pre-release.
		return strings.ReplaceAll(text, "-", ".pre.")
	}
	return text
}

// family is the ecosystem under which osv-scalibr/semantic knows the order, or
// "". Distributions share the order of their package manager. Left out, because
// their order is another one or not written down: Arch Linux, Android, FreeBSD,
// opam, OSS-Fuzz, GIT.
func family(ecosystem string) string {
	name, _, _ := strings.Cut(ecosystem, ":")
	switch name {
	case "Debian", "Ubuntu", "Echo":
		return "Debian"
	case "AlmaLinux", "Amazon Linux", "Azure Linux", "CBL-Mariner", "CentOS", "Fedora", "Mageia", "Oracle Linux",
		"Photon OS", "Red Hat", "Rocky Linux", "SUSE", "openEuler", "openSUSE":
		return "Red Hat"
	case "Alpine", "Alpaquita", "BellSoft Hardened Containers", "Chainguard", "MinimOS", "Wolfi":
		return "Alpine"
	case SemVer, "Bioconductor", "Bitnami", "ConanCenter", "Docker Hardened Images", "GHC", "GitHub Actions", "Go",
		"Hex", "Julia", "Kubernetes", "Linux", "SwiftURL", "VSCode", "crates.io", "npm":
		return "npm"
	case "CRAN", "Hackage", "Maven", "NuGet", "Packagist", "Pub", "PyPI", "RubyGems":
		return name
	}
	return ""
}

// clip keeps hostile input short in error messages.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
