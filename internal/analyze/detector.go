// Package analyze reads a layer once, with all detectors, and merges the
// reports of an image's layers into its bill of materials.
package analyze

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// Detector finds components in files of one kind. It is used by several layers
// at once and keeps nothing between files.
type Detector interface {
	// Name as it stands in Component.Detector.
	Name() string
	// Version changes whenever the same bytes give another result: it is part
	// of the cache's key.
	Version() int
	// Wants is asked of every file. It looks at the name first and must cost
	// next to nothing. Head may be nil, when only the name is known; the
	// answer is then "perhaps".
	Wants(f *plimsoll.File) bool
	// Detect reads one file. An error means that the file could not be read;
	// it becomes a Gap. Trouble with a part of it goes to Found.Gaps.
	Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error)
}

// Key names everything that a layer's report depends on but its content: the
// format, the detectors with their versions, and the limits that leave gaps.
func Key(detectors []Detector, l plimsoll.Limits) string {
	var b strings.Builder
	fmt.Fprintf(&b, "report/%d nesting/%d file/%d spool/%d entries/%d ratio/%d", reportVersion, l.Nesting, l.FileSize, l.Spool, l.Entries, l.Ratio)
	for _, d := range detectors {
		fmt.Fprintf(&b, " %s/%d", d.Name(), d.Version())
	}
	return b.String()
}
