package plimsoll

// BOM is the bill of materials of one image: what a container made from it
// would really see, what lower layers still carry, and what could not be read.
type BOM struct {
	Image  Image   `json:"image"`
	Distro *Distro `json:"distro,omitempty"`
	// Components, ordered by layer, then purl, then first path.
	Components []Component `json:"components"`
	// History are components of lower layers that were later deleted or
	// replaced by another version. Ordered like Components.
	History []Component `json:"history,omitempty"`
	// Gaps, ordered by layer, then path.
	Gaps []Gap `json:"gaps,omitempty"`
}

// GapKind says what sort of thing is not known.
type GapKind string

const (
	// Unreadable: a file or archive is damaged, encrypted or not what its name says.
	Unreadable GapKind = "unreadable"
	// Unsupported: a known format or distribution that is not supported.
	Unsupported GapKind = "unsupported"
	// Limited: a limit of the operator's was reached.
	Limited GapKind = "limit"
	// Unassessed: components or images that no advisory feed covers.
	Unassessed GapKind = "unassessed"
)

// NoLayer is a Gap's Layer when it concerns the image as a whole.
const NoLayer = -1

// Gap is something that was not read or not assessed. A file that could not be
// read is never a clean file: gaps are part of every report and of the exit
// status.
type Gap struct {
	Kind GapKind `json:"kind"`
	// Layer is an index into Image.Layers, or NoLayer.
	Layer  int    `json:"layer"`
	DiffID Digest `json:"diffID,omitempty"`
	// Path of the file, if it is about one.
	Path     string `json:"path,omitempty"`
	Detector string `json:"detector,omitempty"`
	// Reason in words, without the path.
	Reason string `json:"reason"`
}
