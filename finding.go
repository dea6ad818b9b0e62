package plimsoll

// Level is a severity in one word; the order of the constants is from worst
// to least.
type Level string

const (
	Critical   Level = "critical"
	High       Level = "high"
	Medium     Level = "medium"
	Low        Level = "low"
	Negligible Level = "negligible"
	// Unknown: no database gave a rating. It is not the same as low.
	Unknown Level = "unknown"
)

// Rank orders levels, the worst first: 0 for Critical, 5 for Unknown.
func (l Level) Rank() int {
	for i, other := range []Level{Critical, High, Medium, Low, Negligible} {
		if l == other {
			return i
		}
	}
	return 5
}

// Finding is one known vulnerability in one component.
type Finding struct {
	// ID under which the vulnerability is best known: the CVE where there is
	// one, otherwise the advisory's own.
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"`
	// Advisories that say so, by their own ids.
	Advisories []string `json:"advisories"`
	Level      Level    `json:"severity"`
	// Score is the CVSS base score, 0 when only a word or nothing is known.
	Score   float64 `json:"score,omitempty"`
	Vector  string  `json:"vector,omitempty"`
	Summary string  `json:"summary,omitempty"`
	// Fixed is the lowest version that repairs it on the component's line;
	// empty when none is known.
	Fixed string `json:"fixed,omitempty"`
	URL   string `json:"url,omitempty"`

	// Component, as in BOM.Components.
	PURL    string `json:"purl"`
	Package string `json:"package"`
	// Installed is the version that was compared: the source package's, where
	// the advisory speaks of source packages.
	Installed string   `json:"installed"`
	Paths     []string `json:"paths,omitempty"`
	Layer     int      `json:"layer"`
	DiffID    Digest   `json:"diffID,omitempty"`
	Step      string   `json:"step,omitempty"`
}
