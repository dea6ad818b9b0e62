package image

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// parsePlatform reads os/architecture[/variant].
func parsePlatform(s string) (plimsoll.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return plimsoll.Platform{}, plimsoll.WithHint(
			fmt.Errorf("platform %s: want OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT", quote(s)),
			"write it like linux/amd64 or linux/arm/v7")
	}
	p := plimsoll.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// normal gives the names of the OCI image specification to what people and
// old engines write.
func normal(p plimsoll.Platform) plimsoll.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i686", "x86":
		p.Architecture = "386"
	case "armhf", "armel":
		if p.Variant == "" {
			p.Variant = map[string]string{"armhf": "v7", "armel": "v6"}[p.Architecture]
		}
		p.Architecture = "arm"
	}
	return p
}

// level is a variant as a number; what a variant left out stands for depends
// on the architecture. 0 where it is no number.
func level(p plimsoll.Platform) int {
	if p.Variant == "" {
		switch p.Architecture {
		case "arm":
			return 7
		case "arm64":
			return 8
		}
		return 1
	}
	n, err := strconv.Atoi(strings.TrimPrefix(p.Variant, "v"))
	if err != nil || n < 1 || n > 99 {
		return 0
	}
	return n
}

// fit says how well an image built for has serves who wants want; 0 is not at
// all. A processor runs what was built for lower variants of its architecture.
func fit(want, has plimsoll.Platform) int {
	want, has = normal(want), normal(has)
	if want.OS != has.OS || want.Architecture != has.Architecture {
		return 0
	}
	w, h := level(want), level(has)
	switch {
	case want.Variant == has.Variant || w == h && w > 0:
		return 1000
	case w > 0 && h > 0 && h < w:
		return 500 + h
	case want.Variant == "":
		return 1 // nobody asked for a variant: any is better than none
	}
	return 0
}

// quote shows what came from outside, short and without control characters.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

// list joins at most a few names for an error.
func list(names []string) string {
	const most = 20
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
